//! Runtimes: what a container was started with stays, whatever becomes of the configuration.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Daemon, Options, PATIENCE, eventually, run_command};

const RUNC: &str = "/usr/sbin/runc";
/// What a shell would make something else of.
const ODD: [&str; 4] = [
    "--odd=a b",
    "it's \"$HOME\" `id` \\",
    "",
    "$(touch /owned);*&|\n\t'",
];

fn is_dockerd() -> bool {
    testkit::flavour() == testkit::Flavour::Dockerd
}

fn program(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    path.to_str().expect("UTF-8").to_owned()
}

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

/// Replaces the configuration file, sends SIGHUP, and waits until it is live.
#[track_caller]
fn reload(daemon: &Daemon, mut config: Value) {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let label = format!("serial={}", SERIAL.fetch_add(1, Ordering::Relaxed));
    config["labels"] = json!([label]);
    daemon.write("daemon.json", config.to_string());
    hang_up(daemon);
    eventually("the configuration is live", PATIENCE, || {
        (info(daemon)["Labels"] == json!([label])).then_some(())
    });
}

#[track_caller]
fn hang_up(daemon: &Daemon) {
    let mut kill = std::process::Command::new("kill");
    kill.arg("-HUP").arg(daemon.pid().to_string());
    run_command(kill).ok();
}

#[track_caller]
fn info(daemon: &Daemon) -> Value {
    daemon.api("GET", "/info", None).is(200).json()
}

fn wrappers(daemon: &Daemon) -> Vec<PathBuf> {
    let dir = std::fs::read_dir(daemon.data_root().join("runtimes"));
    let mut all: Vec<_> = dir
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    all.sort();
    all
}

/// The one wrapper of a runtime, with what must not change of it.
#[track_caller]
fn wrapper(daemon: &Daemon, runtime: &str) -> (PathBuf, u64, String) {
    let prefix = format!("{runtime}.");
    let all = wrappers(daemon);
    let mut ours = all.iter().filter(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(&prefix)
    });
    let path = ours
        .next()
        .unwrap_or_else(|| panic!("no wrapper of {runtime}: {all:?}"));
    let data = std::fs::metadata(path).expect("there");
    assert_eq!(data.mode() & 0o777, 0o700);
    (
        path.clone(),
        data.ino(),
        std::fs::read_to_string(path).expect("readable"),
    )
}

#[track_caller]
fn is_untouched((path, inode, content): &(PathBuf, u64, String)) {
    let data =
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(data.ino(), *inode, "{} is another file", path.display());
    assert_eq!(&std::fs::read_to_string(path).expect("readable"), content);
}

const SLEEP: &str = "trap 'exit 3' TERM; while :; do usleep 20000; done";

/// Exec, pause and resume go the way that the container was started.
#[track_caller]
fn is_manageable(daemon: &Daemon, name: &str) {
    daemon
        .docker(["exec", name, "echo", "inside"])
        .ok()
        .out_is("inside");
    daemon.docker(["pause", name]).ok();
    assert_eq!(daemon.format(name, "{{.State.Status}}"), "paused");
    daemon.docker(["unpause", name]).ok();
    assert_eq!(daemon.format(name, "{{.State.Status}}"), "running");
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
        let script = wrapper(&daemon, "odd");
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
    let used = wrapper(&daemon, "used");
    let (idle, kept) = (wrapper(&daemon, "idle"), wrapper(&daemon, "kept"));
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
fn runtimes_that_cannot_be_used_are_told() {
    if is_dockerd() {
        return; // 20.10 has other words.
    }
    let missing = json!({"path": "/no/such/runtime", "runtimeArgs": ["--debug"]});
    let config = json!({"runtimes": {
        "missing": missing,
        "misspelt": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryNam": "/x"}},
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
        ("misspelt", "runtime misspelt: unknown option: BinaryNam"),
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
    assert!(
        begin_reload.elapsed() < Duration::from_secs(3),
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

#[test]
fn reloads_are_seen_whole_while_containers_start() {
    if is_dockerd() {
        return;
    }
    let config = |letter: &str| {
        let runtime = |args: &str| json!({"path": RUNC, "runtimeArgs": ["--log-format", args]});
        let args = if letter == "a" {
            ["json", "text"]
        } else {
            ["text", "json"]
        };
        let mut runtimes = json!({"first": runtime(args[0]), "second": runtime(args[1])});
        runtimes[format!("only-{letter}")] = runtime("json");
        let default = if letter == "a" { "first" } else { "second" };
        json!({"labels": [format!("letter={letter}")], "default-runtime": default, "runtimes": runtimes})
    };
    let configs = [config("a"), config("b")];
    let daemon = Daemon::start(Options {
        config: configs[0].clone(),
        ..Options::default()
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    let (over, reloads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (reads, starts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let going = || !over.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while going() {
                    is_one_of(&info(&daemon), &configs);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while going() {
                    started(&daemon);
                    starts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // A failure of any must end the others.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while Instant::now() < deadline {
                let next = &configs[(reloads.fetch_add(1, Ordering::Relaxed) + 1) % 2];
                daemon.write("daemon.json", next.to_string());
                hang_up(&daemon);
                eventually("the reload is live", PATIENCE, || {
                    (info(&daemon)["Labels"] == next["labels"]).then_some(())
                });
            }
        }));
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let (reloads, reads, starts) = (
        reloads.into_inner(),
        reads.into_inner(),
        starts.into_inner(),
    );
    eprintln!("{reloads} reloads, {reads} reads, {starts} starts");
    assert!(
        reloads > 50 && reads > 500 && starts > 10,
        "{reloads} reloads, {reads} reads, {starts} starts"
    );
    daemon.docker(["ps", "-aq"]).ok().out_is("");
    // Six contents, and as many scripts however often they took turns.
    assert_eq!(wrappers(&daemon).len(), 6, "{:?}", wrappers(&daemon));
}

/// All that `/info` tells is from the same configuration.
#[track_caller]
fn is_one_of(info: &Value, configs: &[Value; 2]) {
    let of = configs
        .iter()
        .find(|config| config["labels"] == info["Labels"]);
    let of = of.unwrap_or_else(|| panic!("labels of neither: {}", info["Labels"]));
    assert_eq!(info["DefaultRuntime"], of["default-runtime"]);
    let mut shown = info["Runtimes"].clone();
    for stock in ["runc", "io.containerd.runc.v2"] {
        shown
            .as_object_mut()
            .expect("an object")
            .remove(stock)
            .expect("a stock runtime");
    }
    for runtime in shown.as_object_mut().expect("an object").values_mut() {
        runtime.as_object_mut().expect("an object").remove("status");
    }
    assert_eq!(shown, of["runtimes"]);
}

/// A container is made under the default, started, and removed; each answers as it should.
#[track_caller]
fn started(daemon: &Daemon) {
    let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}});
    let id = daemon
        .api("POST", "/containers/create", Some(&body))
        .is(201)
        .json()["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    daemon
        .api("POST", &format!("/containers/{id}/start"), None)
        .is(204);
    daemon
        .api("DELETE", &format!("/containers/{id}?force=1"), None)
        .is(204);
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
