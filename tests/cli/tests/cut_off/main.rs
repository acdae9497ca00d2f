//! A change of a container cut off: whatever is left of one can be looked at and removed.
//!
//! The daemon dies between two steps: see `crates/engine/src/fault.rs`. A release cannot do that, so
//! with one these tests end early, and say so.

mod making;
mod removal;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Daemon, Flavour, Options, PATIENCE, Request};

/// A daemon that can be told where to die.
struct Mortal {
    daemon: Daemon,
    faults: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mortal {
    /// `None` for a daemon that has no such points.
    fn start() -> Option<Mortal> {
        if testkit::flavour() == Flavour::Dockerd {
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let faults = dir.path().join("faults");
        let env = vec![("BERTH_FAULTS".to_owned(), faults.display().to_string())];
        let daemon = Daemon::start(Options {
            env,
            ..Options::default()
        });
        let mortal = Mortal {
            daemon,
            faults,
            _dir: dir,
        };
        mortal
            .daemon
            .docker(["run", "--rm", "busybox", "true"])
            .ok();
        let given = std::env::var("BERTHD").unwrap_or_default();
        if !cfg!(debug_assertions) || given.contains("release") {
            eprintln!("skipped: a release has no points to die at");
            return None;
        }
        Some(mortal)
    }

    /// Sends a request during which the daemon dies at `step`, and starts it again.
    #[track_caller]
    fn dies(&self, step: &str, method: &str, target: &str) {
        self.dies_in(step, self.daemon.request(method, target));
    }

    #[track_caller]
    fn dies_in(&self, step: &str, request: Request) {
        std::fs::write(&self.faults, step).expect("written");
        let answer = request.try_open();
        if let Ok(mut answer) = answer {
            let _ = answer.rest(PATIENCE);
        }
        self.is_reborn(step);
    }

    #[track_caller]
    fn is_reborn(&self, step: &str) {
        let status = self.daemon.ended(Duration::from_secs(20));
        assert!(!status.success(), "{step}: {status}");
        std::fs::remove_file(&self.faults).expect("there");
        self.daemon.boot();
    }
}

/// Every way to look at it works, and in no time.
#[track_caller]
fn can_be_seen(daemon: &Daemon, name: &str, status: &str) {
    let begin = Instant::now();
    let old = daemon
        .api(
            "GET",
            &format!("/v1.51/containers/{name}/json?size=1"),
            None,
        )
        .is(200)
        .json();
    assert_eq!(old["State"]["Status"], status);
    assert_eq!(old["State"]["Dead"], status == "dead");
    assert_eq!(
        old["GraphDriver"],
        json!({"Name": "overlayfs", "Data": Value::Null})
    );
    assert!(old["SizeRw"].is_i64(), "{}", old["SizeRw"]);
    let new = daemon
        .api("GET", &format!("/v1.52/containers/{name}/json"), None)
        .is(200)
        .json();
    assert_eq!(new.get("GraphDriver"), None);
    assert_eq!(new["Storage"]["RootFS"]["Snapshot"]["Name"], "overlayfs");
    let list = daemon
        .docker(["ps", "-a", "--size", "--format", "{{.Names}} {{.State}}"])
        .ok();
    assert!(
        list.stdout
            .lines()
            .any(|line| line == format!("{name} {status}")),
        "{list}"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[track_caller]
fn is_gone(daemon: &Daemon, name: &str) {
    let answer = daemon
        .api("GET", &format!("/containers/{name}/json"), None)
        .is(404);
    assert_eq!(answer.message(), format!("No such container: {name}"));
}
