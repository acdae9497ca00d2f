//! Runtimes: what a container was started with stays, whatever becomes of the configuration.

mod race;
mod restarts;
mod stays;
mod told;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::{Daemon, PATIENCE, eventually, run_command};

const RUNC: &str = "/usr/sbin/runc";

fn is_dockerd() -> bool {
    testkit::flavour() == testkit::Flavour::Dockerd
}

fn program(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    path.to_str().expect("UTF-8").to_owned()
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

/// The one wrapper of a runtime that has these words, with what must not change of it.
#[track_caller]
fn wrapper(daemon: &Daemon, runtime: &str, words: &str) -> (PathBuf, u64, String) {
    let prefix = format!("{runtime}.");
    let mut found = wrappers(daemon);
    found.retain(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(path).expect("readable");
        name.starts_with(&prefix) && text.contains(words)
    });
    let [path] = &found[..] else {
        panic!("not one wrapper of {runtime}: {found:?}")
    };
    let data = std::fs::metadata(path).expect("there");
    assert_eq!(data.mode() & 0o777, 0o700);
    let text = std::fs::read_to_string(path).expect("readable");
    (path.clone(), data.ino(), text)
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
