//! What a container was started with stays, whatever becomes of the configuration.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Daemon, Options};

use super::*;

/// What a shell would make something else of.
const ODD: [&str; 4] = [
    "--odd=a b",
    "it's \"$HOME\" `id` \\",
    "",
    "$(touch /owned);*&|\n\t'",
];

/// A second runtime: a copy of runc behind a program that writes down its arguments (each in angle
/// brackets, a line of `%` after each call) and drops those that are none of runc's.
fn recorder(dir: &Path) -> String {
    let copy = dir.join("second runtime");
    std::fs::copy(RUNC, &copy).expect("runc is installed");
    let text = format!(
        "#!/bin/sh\nout=\nfor a; do out=\"$out<$a>\"; done\nprintf '%s\\n%%\\n' \"$out\" >>'{record}'\n\
         while [ \"$1\" != -- ]; do shift; done; shift\nexec '{copy}' \"$@\"\n",
        record = record(dir).display(),
        copy = copy.display(),
    );
    program(&dir.join("recorder's \"$0\""), &text)
}

fn record(dir: &Path) -> PathBuf {
    dir.join("calls")
}

/// The calls of the recorder since the last time, but for those for its features.
fn calls(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(record(dir)).unwrap_or_default();
    let _ = std::fs::write(record(dir), "");
    let calls = text.split("\n%\n");
    let calls = calls.filter(|call| !call.is_empty() && !call.ends_with("<features>"));
    calls.map(str::to_owned).collect()
}

/// How the recorder writes down arguments.
fn written(args: &[&str]) -> String {
    args.iter().map(|arg| format!("<{arg}>")).collect()
}

/// Each container of a trio comes to its end in another way.
#[track_caller]
fn all_ends(daemon: &Daemon, [stopped, killed, removed]: [&str; 3]) {
    daemon.docker(["stop", stopped]).ok();
    assert_eq!(
        daemon.format(stopped, "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 3"
    );
    daemon.docker(["kill", killed]).ok();
    assert_eq!(
        daemon.format(killed, "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
    daemon.docker(["rm", "-f", removed]).ok();
    daemon
        .api("GET", &format!("/containers/{removed}/json"), None)
        .is(404);
}

/// Three containers under the runtime `odd`, the first of which got it as the default.
#[track_caller]
fn trio(daemon: &Daemon) -> [&'static str; 3] {
    let names = ["stopped", "killed", "removed"];
    daemon.run_d(names[0], ["busybox", "sh", "-c", SLEEP]);
    for name in &names[1..] {
        daemon.run_d(name, ["--runtime", "odd", "busybox", "sh", "-c", SLEEP]);
    }
    for name in names {
        assert_eq!(
            daemon.format(name, "{{.HostConfig.Runtime}}"),
            "odd",
            "bound at create"
        );
    }
    names
}

/// What becomes of the configuration while containers run, and whether they can be started again.
fn changes(runtime: &str) -> [(&'static str, Value, bool); 4] {
    let with = |args: Value| json!({"odd": {"path": runtime, "runtimeArgs": args}});
    let args: Vec<_> = ODD.iter().copied().chain(["--"]).collect();
    [
        (
            "the args change",
            json!({"live-restore": true, "runtimes": with(json!(["other args", "--"]))}),
            true,
        ),
        // A runtime without them is the binary itself, which the recorder cannot be.
        (
            "the args go",
            json!({"live-restore": true, "runtimes": {"odd": {"path": RUNC}}}),
            true,
        ),
        ("the runtime goes", json!({"live-restore": true}), false),
        (
            "the default changes",
            json!({"live-restore": true, "default-runtime": "io.containerd.runc.v2", "runtimes": with(json!(args))}),
            true,
        ),
    ]
}

#[test]
fn a_container_stays_with_the_runtime_that_it_was_started_with() {
    if is_dockerd() {
        return; // It removes wrappers at its start.
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = recorder(dir.path());
    let args: Vec<_> = ODD.iter().copied().chain(["--"]).collect();
    let base = json!({
        "live-restore": true,
        "default-runtime": "odd",
        "runtimes": {"odd": {"path": runtime, "runtimeArgs": args}},
    });
    let daemon = Daemon::start(Options {
        config: base.clone(),
        ..Options::default()
    });
    for (what, config, can_start) in changes(&runtime) {
        eprintln!("-- {what}");
        reload(&daemon, base.clone());
        let names = trio(&daemon);
        let script = wrapper(&daemon, "odd", ODD[0]);
        let started = calls(dir.path());
        assert!(
            started.iter().all(|call| call.starts_with(&written(&args))),
            "{started:?}"
        );
        let check = || {
            for name in names {
                is_manageable(&daemon, name);
            }
            // exec, pause and resume, three times.
            let calls = calls(dir.path());
            assert!(calls.len() >= 9, "{what}: {calls:?}");
            assert!(
                calls.iter().all(|call| call.starts_with(&written(&args))),
                "{what}: {calls:?}"
            );
            is_untouched(&script);
        };
        reload(&daemon, config);
        check();
        daemon.restart();
        check();
        daemon.kill9();
        daemon.boot();
        check();
        all_ends(&daemon, names);
        is_untouched(&script);
        calls(dir.path());
        // The name was bound; what it means is looked up at each start.
        let again = daemon.docker(["start", names[0]]);
        if can_start {
            again.ok();
            daemon.docker(["exec", names[0], "true"]).ok();
            let calls = calls(dir.path());
            let new: &[&str] = match what {
                "the args change" => &["other args", "--"],
                "the args go" => &[],
                _ => &args,
            };
            assert_eq!(calls.is_empty(), new.is_empty(), "{what}: {calls:?}");
            assert!(
                calls
                    .iter()
                    .rev()
                    .take(2)
                    .all(|call| call.starts_with(&written(new))),
                "{what}: {calls:?}"
            );
        } else {
            assert_eq!(again.code, 1, "{again}");
            let start = daemon
                .api("POST", &format!("/containers/{}/start", names[0]), None)
                .is(400);
            assert_eq!(start.message(), "unknown or invalid runtime name: odd");
            assert_eq!(
                daemon.format(names[0], "{{.State.Status}} {{.State.Error}}"),
                "exited unknown or invalid runtime name: odd"
            );
        }
        daemon.docker(["rm", "-f", names[0], names[1]]).ok();
        calls(dir.path());
    }
    assert!(!daemon.sandbox().state().join("owned").exists() && !Path::new("/owned").exists());
}

#[test]
fn at_the_start_only_wrappers_go_that_nobody_needs() {
    if is_dockerd() {
        return; // It removes them all.
    }
    let dir = tempfile::tempdir().unwrap();
    let with = |names: &[&str]| {
        let runtimes = names.iter().map(|&name| {
            let runtime = json!({"path": RUNC, "runtimeArgs": ["--log-format", "json"]});
            (name.to_owned(), runtime)
        });
        json!({"live-restore": true, "runtimes": Value::Object(runtimes.collect())})
    };
    let daemon = Daemon::start(Options {
        config: with(&["used", "idle", "kept"]),
        ..Options::default()
    });
    daemon.run_d("user", ["--runtime", "used", "busybox", "sh", "-c", SLEEP]);
    daemon
        .docker(["run", "--rm", "--runtime", "idle", "busybox", "true"])
        .ok();
    let foreign = daemon.data_root().join("runtimes/from-dockerd");
    program(&foreign, "#!/bin/sh\n");
    let used = wrapper(&daemon, "used", "json");
    let (idle, kept) = (
        wrapper(&daemon, "idle", "json"),
        wrapper(&daemon, "kept", "json"),
    );
    reload(&daemon, with(&["kept"]));
    // Never by a reload.
    for script in [&used, &idle, &kept] {
        is_untouched(script);
    }
    for round in ["stop", "kill -9"] {
        match round {
            "stop" => daemon.restart(),
            _ => {
                daemon.kill9();
                daemon.boot();
            }
        }
        is_untouched(&used);
        is_untouched(&kept);
        assert_eq!(
            wrappers(&daemon).len(),
            2,
            "{round}: {:?}",
            wrappers(&daemon)
        );
        is_manageable(&daemon, "user");
    }
    // Killed while it stops a container: containerd's record goes last, and tells.
    daemon.docker(["stop", "user"]).ok();
    is_untouched(&used);
    daemon.restart();
    assert_eq!(wrappers(&daemon), [kept.0]);
    daemon
        .docker(["start", "user"])
        .exits(1)
        .err_has("unknown or invalid runtime name: used");
    drop(dir);
}

#[test]
fn a_start_never_uses_a_missing_script() {
    if is_dockerd() {
        return;
    }
    let config =
        json!({"runtimes": {"odd": {"path": "runc", "runtimeArgs": ["--log-format", "json"]}}});
    let daemon = Daemon::start(Options {
        config,
        ..Options::default()
    });
    std::fs::remove_dir_all(daemon.data_root().join("runtimes")).expect("there");
    daemon
        .docker([
            "run",
            "--rm",
            "--runtime",
            "odd",
            "busybox",
            "echo",
            "written again",
        ])
        .ok()
        .out_is("written again");
    assert_eq!(wrappers(&daemon).len(), 1);
}

#[test]
fn crun_is_a_runtime_too() {
    let Some(crun) = ["/usr/bin/crun", "/usr/local/bin/crun"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return eprintln!("skipped: crun is not installed");
    };
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    if hybrid && !testkit::has_unified_cgroups() {
        return eprintln!("skipped: crun refuses hosts with hybrid cgroups");
    }
    let config =
        json!({"runtimes": {"crun": {"path": crun, "runtimeArgs": ["--log-level", "error"]}}});
    let daemon = Daemon::start(Options {
        config,
        ..Options::default()
    });
    daemon.run_d(
        "under-crun",
        ["--runtime", "crun", "busybox", "sh", "-c", SLEEP],
    );
    is_manageable(&daemon, "under-crun");
    reload(&daemon, json!({}));
    is_manageable(&daemon, "under-crun");
    daemon.docker(["rm", "-f", "under-crun"]).ok();
}
