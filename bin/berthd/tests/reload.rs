//! Reloads of a running daemon: by signal and by command, what they change, what they tell, and
//! that a bad file changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use daemon::Daemon;
use rustix::process::Signal;

/// The daemon's answers that a reload may change.
const SHOWN: &str = "{{json .Labels}} {{.Debug}} {{.LiveRestoreEnabled}} {{.DefaultRuntime}} \
                     {{range $name, $_ := .Runtimes}}{{$name}} {{end}}";

/// Words of each line that a command printed.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines();
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The attributes of the daemon's reload events so far, oldest first.
fn events(daemon: &Daemon) -> Vec<serde_json::Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let words = [
        "events",
        "--since",
        "1",
        "--until",
        &now,
        "--format",
        "{{json .}}",
    ];
    let filters = ["--filter", "type=daemon", "--filter", "event=reload"];
    let text = daemon.docker(&[&words[..], &filters].concat());
    let id = daemon.docker(&["info", "--format", "{{.ID}}"]);
    let mut events = Vec::new();
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&event["Type"], &event["Action"]),
            (&"daemon".into(), &"reload".into())
        );
        assert_eq!(event["Actor"]["ID"], id.as_str());
        events.push(event["Actor"]["Attributes"].clone());
    }
    events
}

#[test]
fn sighup_reloads_and_tells_systemd_log_and_events() {
    let daemon = Daemon::start(&["--add-runtime", "flag=/bin/flag"]);
    daemon.configure(
        r#"{"labels": ["b=2", "a=1"], "mtu": 1400, "debug": true, "live-restore": true,
            "default-runtime": "odd", "shutdown-timeout": 3,
            "runtimes": {"odd": {"path": "/bin/odd", "runtimeArgs": ["--x"]}}}"#,
    );
    daemon.signal(Signal::HUP);
    let told = daemon.expect("RELOADING=1");
    assert!(told.contains("MONOTONIC_USEC="), "{told}");
    daemon.expect("READY=1");
    assert_eq!(
        daemon.docker(&["info", "--format", SHOWN]),
        r#"["a=1","b=2"] true true odd flag io.containerd.runc.v2 odd runc"#
    );
    let log = daemon.log();
    let applied = "applied=debug,labels,live-restore,shutdown-timeout,default-runtime,runtimes";
    let said = format!(
        "msg=\"reloaded configuration\" {}",
        applied.replacen('=', "=\"", 1)
    );
    assert!(log.contains(&said), "{log}");
    assert!(log.contains("take a restart\" keys=mtu"), "{log}");
    assert!(log.contains("level=debug"), "the log level did not follow");
    let events = events(&daemon);
    assert_eq!(events.len(), 1);
    let host = daemon.docker(&["info", "--format", "{{.Name}}"]);
    for (key, value) in [
        ("name", host.as_str()),
        ("labels", r#"["a=1","b=2"]"#),
        ("debug", "true"),
        ("live-restore", "true"),
        ("default-runtime", "odd"),
        ("shutdown-timeout", "3"),
        ("runtimes", "flag:/bin/flag odd:/bin/odd"),
        ("max-concurrent-downloads", "3"),
    ] {
        assert_eq!(events[0][key], value, "{key}");
    }
    assert_eq!(events[0].get("error"), None);
    // What leaves the file resets; the flag's runtime stays.
    daemon.configure("{}");
    daemon.signal(Signal::HUP);
    daemon.expect("RELOADING=1");
    daemon.expect("READY=1");
    assert_eq!(
        daemon.docker(&["info", "--format", SHOWN]),
        "[] false false runc flag io.containerd.runc.v2 runc"
    );
}

#[test]
fn config_reload_waits_and_tells_key_by_key() {
    let daemon = Daemon::start(&[]);
    let socket = daemon.path("exec/berthd.sock");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    daemon.configure(
        r#"{"labels": ["a=1"], "mtu": 1400, "raw-logs": true, "icc": true,
            "runtimes": {"odd": {"Path": "/odd", "colour": 1}}}"#,
    );
    let (code, out, err) = daemon.config(&["reload"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines = lines(&out);
    for line in [
        "labels applied [] -> [a=1]",
        "mtu needs restart 0 -> 1400",
        "raw-logs no effect timestamps are always full and nothing is ever coloured",
        "icc unchanged",
        "hosts unchanged",
        "runtimes.odd.colour ignored",
    ] {
        assert!(
            lines.contains(&line.to_owned()),
            "no {line:?} in {lines:#?}"
        );
    }
    assert_eq!(
        daemon.docker(&["info", "--format", "{{json .Labels}}"]),
        r#"["a=1"]"#
    );
    let log = daemon.log();
    let warned = "options mean nothing\" keys=runtimes.odd.colour";
    assert!(log.contains(warned), "{log}");
    daemon.configure("{");
    let (code, out, err) = daemon.config(&["reload"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        format!(
            "unable to configure the Docker daemon with file {}: invalid JSON: EOF while parsing an object at line 1 column 1\n",
            daemon.path("daemon.json").display()
        )
    );
}

#[test]
fn config_diff_is_a_dry_run() {
    let daemon = Daemon::start(&["--label", "a=1"]);
    let other = daemon.path("other.json");
    fs::write(&other, r#"{"debug": true, "mtu": 1400}"#).unwrap();
    let before = daemon.docker(&["info", "--format", SHOWN]);
    let name = other.to_str().unwrap();
    let (code, out, err) = daemon.config(&["diff", "--config-file", name]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines = lines(&out);
    for line in [
        "debug to be applied false -> true",
        "mtu needs restart 0 -> 1400",
        "labels unchanged",
    ] {
        assert!(
            lines.contains(&line.to_owned()),
            "no {line:?} in {lines:#?}"
        );
    }
    // Without a file: the daemon's own, which says nothing new.
    let (code, out, _) = daemon.config(&["diff"]);
    assert_eq!(code, Some(0));
    assert!(
        out.lines().count() > 3 && out.lines().all(|line| line.ends_with(" unchanged")),
        "{out}"
    );
    fs::write(&other, r#"{"labels": ["a=2"]}"#).unwrap();
    let (code, out, err) = daemon.config(&["diff", "--config-file", name]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.ends_with("labels: (from flag: [a=1], from file: [a=2])\n"),
        "{err}"
    );
    assert_eq!(daemon.docker(&["info", "--format", SHOWN]), before);
    assert_eq!(events(&daemon), [] as [serde_json::Value; 0]);
}

#[test]
fn a_failed_reload_changes_nothing_and_says_so_once() {
    let daemon = Daemon::start(&["--debug"]);
    daemon.configure(r#"{"labels": ["a=1"], "default-shm-size": "1m"}"#);
    assert_eq!(daemon.config(&["reload"]).0, Some(0));
    daemon.expect("READY=1");
    let before = daemon.docker(&["info", "--format", SHOWN]);
    let file = daemon.path("daemon.json");
    let new = r#""labels": ["b=1"], "runtimes": {"x": {"path": "/x", "runtimeArgs": ["y"]}}"#;
    let text = |rest: &str| format!("{{{new}{rest}");
    // What the error says, and what makes it.
    type Fault<'f> = (&'f str, Box<dyn Fn() + 'f>);
    let faults: [Fault<'_>; 10] = [
        ("no such file or directory", Box::new(|| {})),
        (
            "is a directory",
            Box::new(|| fs::create_dir(&file).unwrap()),
        ),
        (
            "open ",
            Box::new(|| std::os::unix::fs::symlink(&file, &file).unwrap()),
        ),
        (
            "larger than 4 MiB",
            Box::new(|| fs::File::create(&file).unwrap().set_len(100 << 20).unwrap()),
        ),
        (
            "at line 1 column",
            Box::new(|| fs::write(&file, text("")).unwrap()),
        ),
        (
            "configuration option: nope",
            Box::new(|| fs::write(&file, text(r#","nope": 1}"#)).unwrap()),
        ),
        (
            "debug: (from flag: true",
            Box::new(|| fs::write(&file, text(r#","debug": false}"#)).unwrap()),
        ),
        (
            "invalid default MTU: -1",
            Box::new(|| fs::write(&file, text(r#","mtu": -1}"#)).unwrap()),
        ),
        // What only a part of the daemon can tell is wrong.
        (
            "failed to set log opts: invalid size: 'x'",
            Box::new(|| fs::write(&file, text(r#","log-opts": {"max-size": "x"}}"#)).unwrap()),
        ),
        (
            "invalid TLS configuration: could not read CA certificate",
            Box::new(|| {
                fs::write(&file, text(r#","tlsverify": true, "tlscacert": "/no"}"#)).unwrap()
            }),
        ),
    ];
    for (n, (why, make)) in faults.iter().enumerate() {
        let _ = fs::remove_file(&file);
        make();
        // Both ways in turn.
        if n % 2 == 0 {
            let (code, out, err) = daemon.config(&["reload"]);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{why}");
            assert!(err.contains(why), "{why}: {err}");
        } else {
            daemon.signal(Signal::HUP);
        }
        daemon.expect("RELOADING=1");
        daemon.expect("READY=1");
        assert_eq!(daemon.docker(&["info", "--format", SHOWN]), before, "{why}");
        assert!(
            !daemon.path("data/runtimes").exists(),
            "{why}: a script was written"
        );
        let events = events(&daemon);
        assert_eq!(events.len(), n + 2, "{why}");
        let told = events[n + 1]["error"].as_str().unwrap();
        assert!(told.contains(why), "{why}: {told}");
        let said = daemon
            .log()
            .lines()
            .filter(|line| line.contains("configuration not reloaded"))
            .count();
        assert_eq!(said, n + 1, "{why}: not said once");
        let _ = fs::remove_dir_all(&file);
    }
    daemon.configure(r#"{"labels": ["c=1"]}"#);
    assert_eq!(daemon.config(&["reload"]).0, Some(0));
    assert_eq!(
        daemon.docker(&["info", "--format", "{{json .Labels}}"]),
        r#"["c=1"]"#
    );
}

#[test]
fn without_a_daemon_there_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let output = std::process::Command::new(daemon::BERTHD)
        .args(["config", "reload", "--exec-root", root])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("cannot ask the daemon at {root}/berthd.sock: no such file or directory\n")
    );
}
