use std::path::Path;

use super::*;

const FACTS: Facts = Facts {
    unified_cgroups: false,
    systemd: false,
};

fn open(dir: &Path, text: &str) -> ConfigStore {
    let file = dir.join("daemon.json");
    std::fs::write(&file, text).unwrap();
    let sources = Sources {
        file,
        ..Sources::default()
    };
    ConfigStore::open(sources, FACTS).unwrap()
}

#[test]
fn a_reload_applies_what_can_change_and_names_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(
        dir.path(),
        r#"{"labels":["a=1"],"mtu":1400,"live-restore":true}"#,
    );
    let before = store.capture();
    std::fs::write(
        dir.path().join("daemon.json"),
        r#"{"labels":["a=2"],"mtu":1300,"debug":true}"#,
    )
    .unwrap();
    let outcome = store.reload().unwrap();
    assert_eq!(outcome.applied, ["debug", "labels", "live-restore"]);
    assert_eq!(outcome.needs_restart, ["mtu"]);
    let after = store.capture();
    assert_eq!(after.labels, ["a=2"]);
    assert!(after.user.debug && !after.user.live_restore);
    assert_eq!((after.bridge.mtu, before.bridge.mtu), (1400, 1400));
    // Who captured before goes on with what it captured.
    assert_eq!(before.labels, ["a=1"]);
    // What takes a restart is told again until it is there.
    assert_eq!(store.reload().unwrap().needs_restart, ["mtu"]);
}

#[test]
fn a_file_that_goes_takes_its_values_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), r#"{"labels":["a=1"]}"#);
    std::fs::remove_file(dir.path().join("daemon.json")).unwrap();
    assert_eq!(store.reload().unwrap().applied, ["labels"]);
    assert!(store.capture().labels.is_empty());
}

#[test]
fn a_failed_reload_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), r#"{"labels":["a=1"]}"#);
    let before = store.capture();
    for text in [
        "{",
        r#"{"labels":["b=1"],"nope":1}"#,
        r#"{"labels":["b=1"],"mtu":-1}"#,
        r#"{"labels":["b=1"],"default-runtime":"x"}"#,
        r#"{"labels":["b=1"],"tls":true}"#,
    ] {
        std::fs::write(dir.path().join("daemon.json"), text).unwrap();
        store.reload().unwrap_err();
        assert!(Arc::ptr_eq(&before, &store.capture()), "{text}");
    }
}

#[test]
fn captures_never_mix_two_configurations() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), r#"{"labels":["n=0"],"shutdown-timeout":10}"#);
    let path = dir.path().join("daemon.json");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, done) = (&store, &done);
        scope.spawn(move || {
            for n in 0..500 {
                let text = format!(
                    r#"{{"labels":["n={}"],"shutdown-timeout":{}}}"#,
                    n % 2,
                    10 + n % 2
                );
                std::fs::write(&path, text).unwrap();
                store.reload().unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let live = store.capture();
            let label = if live.user.shutdown_timeout == 10 {
                "n=0"
            } else {
                "n=1"
            };
            assert_eq!(
                (live.labels[0].as_str(), live.user.labels[0].as_str()),
                (label, label)
            );
        }
    });
}
