//! What runtimes are told, and what they tell.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Daemon, Options, PATIENCE, eventually, run_command};

use super::*;

#[test]
fn runtimes_that_cannot_be_used_are_told() {
    if is_dockerd() {
        return; // 20.10 has other words.
    }
    let missing = json!({"path": "/no/such/runtime", "runtimeArgs": ["--debug"]});
    let config = json!({"runtimes": {
        "missing": missing,
        "generic": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/etc/kata.toml"}},
        "shim": {"runtimeType": "/no/such/containerd-shim-x-v2"},
    }});
    let daemon = Daemon::start(Options {
        config,
        ..Options::default()
    });
    let create = |runtime: &str| {
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Runtime": runtime}});
        daemon.api("POST", "/containers/create", Some(&body))
    };
    for (runtime, message) in [
        ("nonsense", "unknown or invalid runtime name: nonsense"),
        (
            "/usr/sbin/runc",
            "unknown or invalid runtime name: /usr/sbin/runc",
        ),
        (
            ".io.containerd.runc.v2",
            "unknown or invalid runtime name: .io.containerd.runc.v2",
        ),
        (
            "missing",
            "error while looking up the specified runtime path: exec: \"/no/such/runtime\": \
             stat /no/such/runtime: no such file or directory",
        ),
    ] {
        assert_eq!(create(runtime).is(400).message(), message);
    }
    // A shim is containerd's to find; a failed start leaves nothing but its error.
    for runtime in ["io.containerd.kata.v2", "generic", "shim"] {
        let id = create(runtime).is(201).json()["Id"]
            .as_str()
            .unwrap()
            .to_owned();
        let start = daemon.api("POST", &format!("/containers/{id}/start"), None);
        assert!(
            (400..=500).contains(&start.status),
            "{runtime}: {}",
            start.status
        );
        let error = daemon.format(&id, "{{.State.Error}}");
        assert!(error.contains("shim"), "{runtime}: {error}");
        daemon.docker(["rm", &id]).ok();
    }
}

#[test]
fn a_shim_with_options_of_runcs_runs_what_they_say() {
    if is_dockerd() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("oci");
    std::fs::copy(RUNC, &copy).unwrap();
    let log = dir.path().join("log");
    let text = format!(
        "#!/bin/sh\necho \"$@\" >>'{}'\nexec '{}' \"$@\"\n",
        log.display(),
        copy.display()
    );
    let binary = program(&dir.path().join("logged"), &text);
    let root = dir.path().join("root");
    let config = json!({"runtimes": {"own": {
        "runtimeType": "io.containerd.runc.v2",
        "options": {"BinaryName": binary, "Root": root, "NoNewKeyring": true, "NoPivotRoot": true},
    }}});
    let daemon = Daemon::start(Options {
        config,
        ..Options::default()
    });
    daemon
        .docker(["run", "--rm", "--runtime", "own", "busybox", "echo", "own"])
        .ok()
        .out_is("own");
    let log = std::fs::read_to_string(log).expect("it was run");
    let create = log
        .lines()
        .find(|line| line.contains(" create "))
        .expect("create");
    assert!(
        create.starts_with(&format!("--root {}/moby ", root.display())),
        "{create}"
    );
    assert!(
        create.contains("--no-pivot") && create.contains("--no-new-keyring"),
        "{create}"
    );
}

#[test]
fn features_are_shown_and_a_runtime_that_hangs_hurts_nobody() {
    if is_dockerd() {
        return;
    }
    const KEY: &str = "org.opencontainers.runtime-spec.features";
    let dir = tempfile::tempdir().unwrap();
    let hangs = program(
        &dir.path().join("hangs"),
        &format!(
            "#!/bin/sh\n[ \"$1\" != features ] || {{ sleep 1000; exit; }}\nexec {RUNC} \"$@\"\n"
        ),
    );
    let tells = program(
        &dir.path().join("tells"),
        &format!(
            "#!/bin/sh\nshift\n[ \"$1\" != features ] || {{ echo '{{\"ociVersionMin\": \"7\"}}'; exit; }}\nexec {RUNC} \"$@\"\n"
        ),
    );
    let config = |more: bool| {
        let mut runtimes = json!({"hangs": {"path": hangs}});
        if more {
            runtimes["tells"] = json!({"path": tells, "runtimeArgs": ["x y"]});
        }
        json!({"default-runtime": "hangs", "runtimes": runtimes})
    };
    let begin = Instant::now();
    let daemon = Daemon::start(Options {
        config: config(false),
        ..Options::default()
    });
    let features = |name: &str| {
        let status = info(&daemon)["Runtimes"][name]["status"][KEY]
            .as_str()?
            .to_owned();
        Some(serde_json::from_str::<Value>(&status).expect("JSON text"))
    };
    let runc = eventually("runc's features are known", PATIENCE, || features("runc"));
    assert!(runc["ociVersionMin"].is_string(), "{runc}");
    let begin_reload = Instant::now();
    reload(&daemon, config(true));
    // What the one that hangs is given.
    assert!(
        begin_reload.elapsed() < Duration::from_secs(5),
        "a reload waits for no runtime"
    );
    let told = eventually("a new runtime's are", PATIENCE, || features("tells"));
    assert_eq!(told, json!({"ociVersionMin": "7"}));
    daemon
        .docker(["run", "--rm", "busybox", "echo", "it runs"])
        .ok()
        .out_is("it runs");
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(features("hangs"), None);
    let old = daemon.api("GET", "/v1.43/info", None).is(200).json();
    assert_eq!(
        old["Runtimes"]["runc"].get("status"),
        None,
        "since 1.44 only"
    );
    // What hangs is ended.
    eventually("nothing of it is left", PATIENCE, || {
        let mut pgrep = daemon.sandbox().command("pgrep");
        pgrep.args(["-f", "^sleep 1000$"]);
        (run_command(pgrep).code == 1).then_some(())
    });
}
