//! A change of a container cut off: whatever is left of one can be looked at and removed.
//!
//! The daemon dies between two steps: see `crates/fault/src/lib.rs`. A release cannot do that, so
//! with one these tests end early, and say so.

mod images;
mod living;
mod making;
mod removal;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Daemon, Mortal, Options};

/// Where the tests are that walk the points of a change. The points themselves they get from the
/// daemon: a new one is walked, or fails its test.
const WALKERS: [&str; 6] = [
    include_str!("images.rs"),
    include_str!("living.rs"),
    include_str!("making.rs"),
    include_str!("removal.rs"),
    include_str!("../pull_faults/steps.rs"),
    include_str!("../volumes/cut_off.rs"),
];

#[test]
fn every_point_is_walked() {
    let Some(mortal) = mortal() else {
        return;
    };
    for point in mortal.points() {
        let change = point.split(':').next().unwrap_or_default();
        let walk = format!("points_of({change:?})");
        assert!(
            WALKERS.iter().any(|test| test.contains(&walk)),
            "no test has the daemon die at {point}"
        );
    }
}

/// `None` for a daemon that has no points to die at.
fn mortal() -> Option<Mortal> {
    Mortal::start(Options::default())
}

/// Serves a page on the published port 8080 as long as it runs.
const HTTPD: [&str; 6] = [
    "-p",
    "8080:80",
    "busybox",
    "sh",
    "-c",
    "mkdir -p /w; echo page >/w/i; exec httpd -f -p 80 -h /w",
];

#[track_caller]
fn page_is_there(daemon: &Daemon) {
    let page = testkit::eventually("the port answers", testkit::PATIENCE, || {
        daemon.fetch(testkit::Place::Outside, "192.0.2.1:8080", "/i")
    });
    assert_eq!(page, "page\n");
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
