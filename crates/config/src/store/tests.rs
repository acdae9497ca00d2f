use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::Map;
use crate::{Outcome, Support};

const FACTS: Facts = Facts {
    unified_cgroups: false,
    systemd: false,
};

/// A store with its file and its state in a directory of its own.
struct Fixture {
    dir: tempfile::TempDir,
    store: ConfigStore,
}

impl Fixture {
    fn open(text: &str) -> Fixture {
        Fixture::with_flags(json!({}), text)
    }

    fn with_flags(flags: serde_json::Value, text: &str) -> Fixture {
        // In memory: beside others that write to the disk, each of thousands of replaced files waits.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.unwrap();
        let file = dir.path().join("daemon.json");
        fs::write(&file, text).unwrap();
        let mut flags: Map = serde_json::from_value(flags).unwrap();
        flags.insert("data-root".into(), json!(dir.path().join("data")));
        let sources = Sources {
            flags,
            file,
            file_required: true,
            ..Sources::default()
        };
        let store = ConfigStore::open(sources, FACTS).unwrap();
        Fixture { dir, store }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("daemon.json")
    }

    fn reload(&self, text: &str) -> Result<Reloaded> {
        fs::write(self.file(), text).unwrap();
        self.store.reload()
    }

    fn scripts(&self) -> Vec<PathBuf> {
        let dir = fs::read_dir(self.dir.path().join("data/runtimes"));
        let paths = dir.map(|dir| dir.map(|entry| entry.unwrap().path()).collect());
        paths.unwrap_or_default()
    }
}

#[test]
fn a_reload_applies_what_can_change_and_names_the_rest() {
    let fixture = Fixture::open(
        r#"{"labels":["a=1"],"mtu":1400,"live-restore":true,"raw-logs":true,"default-shm-size":"64m"}"#,
    );
    let before = fixture.store.capture();
    let text = r#"{"labels":["a=2"],"mtu":1300,"debug":true,"default-shm-size":67108864}"#;
    let outcome = fixture.reload(text).unwrap();
    assert_eq!(
        outcome.keys(Outcome::Applied),
        ["debug", "labels", "live-restore"]
    );
    assert_eq!(outcome.keys(Outcome::NeedsRestart), ["mtu"]);
    // The flag that is there, and a size that is written otherwise.
    assert_eq!(
        outcome.keys(Outcome::Unchanged),
        ["data-root", "default-shm-size"]
    );
    assert_eq!(
        outcome.changes.len(),
        7,
        "raw-logs has no effect: {outcome:?}"
    );
    let after = fixture.store.capture();
    assert_eq!(after.labels, ["a=2"]);
    assert!(after.user.debug && !after.user.live_restore);
    assert_eq!((after.bridge.mtu, before.bridge.mtu), (1400, 1400));
    // Who captured before goes on with what it captured.
    assert_eq!(before.labels, ["a=1"]);
    // What takes a restart is told again until it is there.
    assert_eq!(
        fixture.store.reload().unwrap().keys(Outcome::NeedsRestart),
        ["mtu"]
    );
}

/// For each honoured option a value that is not its default, with what it cannot be without.
fn samples() -> Vec<(&'static str, serde_json::Value, serde_json::Value)> {
    let runtime = json!({"runtimes": {"r": {"path": "/r"}}});
    let none = || json!({});
    let plain = |key, value| (key, value, none());
    let mut samples: Vec<_> = [
        ("hosts", json!(["unix:///x"])),
        ("exec-root", json!("/x")),
        ("pidfile", json!("/x")),
        ("group", json!("x")),
        ("containerd", json!("/x")),
        ("containerd-namespace", json!("x")),
        ("log-level", json!("warn")),
        ("log-format", json!("json")),
        ("bridge", json!("x")),
        ("bip", json!("10.1.0.1/24")),
        ("bip6", json!("fd00::1/64")),
        ("fixed-cidr", json!("10.1.0.0/24")),
        ("fixed-cidr-v6", json!("fd00::/64")),
        ("default-gateway", json!("10.1.0.1")),
        ("default-gateway-v6", json!("fd00::1")),
        ("mtu", json!(1300)),
        ("ip", json!("127.0.0.1")),
        ("bridge-accept-fwmark", json!("1")),
        ("host-gateway-ips", json!(["192.0.2.1"])),
        ("dns", json!(["192.0.2.1"])),
        ("dns-opts", json!(["ndots:1"])),
        ("dns-search", json!(["x"])),
        (
            "default-address-pools",
            json!([{"base": "10.1.0.0/16", "size": 24}]),
        ),
        (
            "default-network-opts",
            json!({"bridge": {"com.docker.network.driver.mtu": "1300"}}),
        ),
        ("storage-driver", json!("native")),
        ("features", json!({"cdi": false})),
        ("labels", json!(["a=b"])),
        ("registry-mirrors", json!(["https://x"])),
        ("insecure-registries", json!(["x"])),
        ("max-concurrent-downloads", json!(7)),
        ("max-concurrent-uploads", json!(7)),
        ("max-download-attempts", json!(7)),
        ("http-proxy", json!("http://x")),
        ("https-proxy", json!("http://x")),
        ("no-proxy", json!("x")),
        ("shutdown-timeout", json!(7)),
        ("default-stop-timeout", json!(7)),
        ("exec-opts", json!(["native.cgroupdriver=cgroupfs"])),
        ("cgroup-parent", json!("/x")),
        ("default-ipc-mode", json!("shareable")),
        ("default-cgroupns-mode", json!("host")),
        ("default-shm-size", json!("1m")),
        (
            "default-ulimits",
            json!({"core": {"Name": "core", "Soft": 1, "Hard": 1}}),
        ),
        ("init-path", json!("/x")),
        ("seccomp-profile", json!("unconfined")),
        ("log-driver", json!("local")),
        ("log-opts", json!({"max-size": "1m"})),
        ("oom-score-adjust", json!(7)),
        ("cdi-spec-dirs", json!(["/x"])),
        ("runtimes", runtime["runtimes"].clone()),
    ]
    .map(|(key, value)| plain(key, value))
    .into();
    samples.push(("default-runtime", json!("r"), runtime));
    samples.push((
        "storage-opts",
        json!(["address=/x"]),
        json!({"storage-driver": "x"}),
    ));
    samples
}

#[test]
fn each_option_is_live_with_a_reload_or_waits_for_a_restart() {
    let samples = samples();
    // Certificates and proxies given together have tests of their own; the fixture needs the root.
    let elsewhere = ["data-root", "proxies", "tls", "tlsverify"];
    let elsewhere = |key: &str| elsewhere.contains(&key) || crate::tls::FILES.contains(&key);
    let honoured = OPTIONS
        .iter()
        .filter(|opt| opt.support == Support::Honoured);
    for opt in honoured.filter(|opt| !elsewhere(opt.key)) {
        let sample = samples.iter().find(|(key, ..)| *key == opt.key);
        let switched = |before: &Map| json!(!before[opt.key].as_bool().unwrap());
        let user = |live: &Live| -> Map {
            serde_json::from_value(serde_json::to_value(&live.user).unwrap()).unwrap()
        };
        let (base, value) = match sample {
            Some((_, value, base)) => (base.clone(), Some(value.clone())),
            None => (json!({}), None),
        };
        let fixture = Fixture::open(&base.to_string());
        let before = user(&fixture.store.capture());
        let mut file = base;
        file[opt.key] = value.unwrap_or_else(|| switched(&before));
        let outcome = fixture.reload(&file.to_string()).unwrap();
        let wanted = match opt.reloadable {
            true => Outcome::Applied,
            false => Outcome::NeedsRestart,
        };
        assert_eq!(outcome.keys(wanted), [opt.key], "{outcome:?}");
        let after = user(&fixture.store.capture());
        let changed = before.get(opt.key) != after.get(opt.key);
        assert_eq!(changed, opt.reloadable, "{}", opt.key);
    }
}

#[test]
fn a_reload_is_told_line_by_line() {
    let fixture = Fixture::open(r#"{"labels":["a=1"],"mtu":1400,"debug":true,"raw-logs":true}"#);
    let outcome = fixture.reload(r#"{"mtu":1300,"debug":true}"#).unwrap();
    let lines: Vec<_> = outcome.changes.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0], format!("{:<26} unchanged", "data-root"));
    assert_eq!(
        lines[1..]
            .iter()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>(),
        [
            "debug unchanged",
            "raw-logs no effect timestamps are always full and nothing is ever coloured",
            "mtu needs restart 1400 -> 1300",
            "labels applied [a=1] -> []",
        ]
    );
}

#[test]
fn a_file_that_an_option_names_counts_with_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("profile.json");
    fs::write(&profile, "{}").unwrap();
    let text = json!({"seccomp-profile": profile}).to_string();
    let fixture = Fixture::open(&text);
    fs::write(&profile, "{\"x\":1}").unwrap();
    let outcome = fixture.reload(&text).unwrap();
    assert_eq!(outcome.keys(Outcome::Applied), ["seccomp-profile"]);
    assert!(
        outcome
            .changes
            .iter()
            .any(|change| change.to_string().ends_with("(new content)"))
    );
    assert_eq!(
        fixture.store.capture().seccomp.as_deref(),
        Some("{\"x\":1}")
    );
}

#[test]
fn a_key_that_goes_resets_to_flag_or_default() {
    let fixture = Fixture::with_flags(
        json!({"debug": true, "runtimes": {"flag": {"path": "/f"}}}),
        r#"{"shutdown-timeout":3,"default-ipc-mode":"shareable","features":{"x":true},
            "max-concurrent-downloads":9,"default-runtime":"flag","default-stop-timeout":2,
            "default-cgroupns-mode":"private","default-shm-size":"1m","log-level":"warn"}"#,
    );
    assert!(fixture.store.capture().ipc_shareable);
    fixture.reload("{}").unwrap();
    let live = fixture.store.capture();
    let defaults = Live::derive(crate::Config::default(), FACTS).unwrap();
    assert_eq!(live.shutdown_timeout, defaults.shutdown_timeout);
    assert_eq!(live.pulls, defaults.pulls);
    assert_eq!(live.shm_size, defaults.shm_size);
    assert_eq!(live.user.features, defaults.user.features);
    assert_eq!(live.user.default_stop_timeout, None);
    assert_eq!(live.user.log_level, defaults.user.log_level);
    assert!(!live.ipc_shareable && !live.cgroupns_private);
    assert_eq!(live.runtimes.default_runtime().name, "runc");
    assert!(live.user.debug, "a flag survives");
    assert_eq!(live.runtimes.get("flag").unwrap().path, "/f");
    // Flags' runtimes stay when the file gains some.
    fixture
        .reload(r#"{"runtimes":{"file":{"path":"/g"}}}"#)
        .unwrap();
    let live = fixture.store.capture();
    assert_eq!(live.runtimes.get("flag").unwrap().path, "/f");
    assert_eq!(live.runtimes.get("file").unwrap().path, "/g");
}

#[test]
fn a_file_that_goes_takes_its_values_with_it() {
    let mut fixture = Fixture::open(r#"{"labels":["a=1"]}"#);
    fixture.store.sources.file_required = false;
    fs::remove_file(fixture.file()).unwrap();
    let outcome = fixture.store.reload().unwrap();
    assert_eq!(outcome.keys(Outcome::Applied), ["labels"]);
    assert!(fixture.store.capture().labels.is_empty());
}

/// Replaces the file by what `make` puts at its path, and expects the reload to fail like this.
#[track_caller]
fn fails(fixture: &Fixture, why: &str, make: impl FnOnce(&Path)) {
    let before = fixture.store.current.load_full();
    let _ = fs::remove_file(fixture.file());
    make(&fixture.file());
    let message = fixture.store.reload().unwrap_err().to_string();
    assert!(
        message.contains(why) && !message.contains('\n'),
        "{why}: {message}"
    );
    assert!(Arc::ptr_eq(&before, &fixture.store.current.load()), "{why}");
    assert_eq!(fixture.scripts(), [] as [PathBuf; 0], "{why}");
    let _ = fs::remove_dir_all(fixture.file());
}

#[test]
fn a_file_that_is_none_changes_nothing() {
    let fixture = Fixture::open(r#"{"labels":["a=1"]}"#);
    fails(&fixture, "no such file or directory", |_| {});
    fails(&fixture, "is a directory", |path| {
        fs::create_dir(path).unwrap()
    });
    // Root may read whatever has a mode; this nobody can.
    fails(&fixture, "open ", |path| {
        std::os::unix::fs::symlink(path, path).unwrap()
    });
    fails(&fixture, "larger than 4 MiB", |path| {
        fs::File::create(path).unwrap().set_len(100 << 20).unwrap();
    });
    fails(&fixture, "not a regular file", |path| {
        let made = std::process::Command::new("mkfifo")
            .arg(path)
            .status()
            .unwrap();
        assert!(made.success());
    });
}

#[test]
fn a_bad_text_changes_nothing() {
    let fixture = Fixture::with_flags(json!({"debug": true}), r#"{"labels":["a=1"]}"#);
    // What comes before the fault is right, new, and would leave a script.
    let start = r#""labels":["b=1"],"runtimes":{"x":{"path":"/x","runtimeArgs":["y"]}}"#;
    for (rest, why) in [
        ("", "EOF while parsing an object at line 1 column"),
        (",\n \"mtu\" 3}", "expected `:` at line 2 column 8"),
        (
            r#","nope":1}"#,
            "don't match any configuration option: nope",
        ),
        (
            r#","debug":false}"#,
            "debug: (from flag: true, from file: false)",
        ),
        (r#","mtu":-1}"#, "invalid default MTU: -1"),
        (
            r#","default-runtime":"gone"}"#,
            "specified default runtime 'gone' does not exist",
        ),
        (
            r#","shutdown-timeout":"soon"}"#,
            "invalid value for shutdown-timeout",
        ),
        (
            r#","userns-remap":"default"}"#,
            "\"userns-remap\" is not supported",
        ),
        (
            r#","seccomp-profile":"/no/such"}"#,
            "opening seccomp profile (/no/such) failed",
        ),
        (
            r#","tls":true,"tlscacert":"/no/ca","tlscert":"/no/cert","tlskey":"/no/key"}"#,
            "invalid TLS configuration: could not read CA certificate \"/no/ca\": open /no/ca: no such file",
        ),
    ] {
        fails(&fixture, why, |path| {
            fs::write(path, format!("{{{start}{rest}")).unwrap()
        });
    }
    // And that it was the fault: without one the script is there.
    fixture.reload(&format!("{{{start}}}")).unwrap();
    assert_eq!(fixture.scripts().len(), 1);
}

#[test]
fn a_diff_changes_nothing() {
    let fixture = Fixture::open(r#"{"labels":["a=1"]}"#);
    let before = fixture.store.current.load_full();
    let other = fixture.dir.path().join("other.json");
    let text = r#"{"debug":true,"mtu":1300,"runtimes":{"x":{"path":"/x","runtimeArgs":["y"]}}}"#;
    fs::write(&other, text).unwrap();
    let diff = fixture.store.diff(&other).unwrap();
    assert_eq!(diff.keys(Outcome::Applied), ["debug", "labels", "runtimes"]);
    assert_eq!(diff.keys(Outcome::NeedsRestart), ["mtu"]);
    fs::write(&other, r#"{"debug":1}"#).unwrap();
    fixture.store.diff(&other).unwrap_err();
    assert!(Arc::ptr_eq(&before, &fixture.store.current.load()));
    assert!(fixture.scripts().is_empty(), "a dry run wrote a script");
}

#[test]
fn what_was_prepared_before_another_reload_is_not_committed() {
    let fixture = Fixture::open("{}");
    fs::write(fixture.file(), r#"{"labels":["old=1"]}"#).unwrap();
    let old = fixture.store.prepare().unwrap();
    fixture.reload(r#"{"labels":["new=1"]}"#).unwrap();
    assert!(fixture.store.commit(old).is_none());
    assert_eq!(fixture.store.capture().labels, ["new=1"]);
}

#[test]
fn a_capture_waits_for_nobody() {
    let fixture = Fixture::open(r#"{"labels":["a=1"]}"#);
    let _replacing = fixture.store.replacing.lock().unwrap();
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| fixture.store.capture());
        assert_eq!(capture.join().unwrap().labels, ["a=1"]);
    });
}

#[test]
fn captures_never_mix_two_configurations() {
    const RELOADS: u64 = 2_000;
    const READERS: usize = 8;
    let text = |n: u64| {
        format!(
            r#"{{"labels":["n={n}"],"shutdown-timeout":{n},"default-shm-size":{n},
                 "default-runtime":"r{n}","runtimes":{{"r{n}":{{"path":"/r{n}","runtimeArgs":["{n}"]}}}}}}"#
        )
    };
    let fixture = Fixture::open(&text(1));
    fixture.store.write_wrappers().unwrap();
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let saw_both = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut seen = [false; 3];
                while !done.load(Ordering::Acquire) {
                    let live = fixture.store.capture();
                    let n = live.user.shutdown_timeout;
                    if !std::mem::replace(&mut seen[n as usize], true) && seen[1] && seen[2] {
                        saw_both.fetch_add(1, Ordering::Relaxed);
                    }
                    assert_eq!(live.labels, [format!("n={n}")]);
                    assert_eq!((live.shm_size, live.user.default_shm_size.0), (n, n));
                    let runtime = live.runtimes.get("").unwrap();
                    assert_eq!(runtime.name, format!("r{n}"));
                    assert_eq!(live.runtimes.iter().count(), 3);
                    let script = &runtime.wrapper.as_ref().unwrap().path;
                    assert!(script.exists(), "a captured runtime has its script");
                    reads.fetch_add(1, Ordering::Relaxed);
                    // Eight that spin would leave the writer a fifth of two cores.
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
            });
        }
        let few = || {
            let blind = saw_both.load(Ordering::Relaxed) < READERS;
            blind || reads.load(Ordering::Relaxed) <= RELOADS
        };
        // A busy machine may let a reader wait for all that time.
        for n in (0..10 * RELOADS).take_while(|n| *n < RELOADS || few()) {
            let outcome = fixture.reload(&text(n % 2 + 1));
            if outcome.is_err() {
                done.store(true, Ordering::Release);
            }
            outcome.unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(saw_both.into_inner(), READERS);
    assert!(reads.into_inner() > RELOADS);
    assert_eq!(fixture.scripts().len(), 2, "each content has one script");
}
