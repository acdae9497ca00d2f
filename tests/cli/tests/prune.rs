//! What `docker image prune` frees.

use serde_json::Value;
use testkit::{Compression, Daemon, Image, Options};

fn load(daemon: &Daemon, tag: &str) {
    let image = Image::busybox(tag).layer(&[("etc/name", 0o644, tag)]);
    let archive = image.docker_archive(Compression::None);
    daemon.cli(["load"]).stdin(archive).run().ok();
}

/// What all images take, in bytes.
fn taken(daemon: &Daemon) -> i64 {
    let usage = daemon.api("GET", "/v1.51/system/df?type=image", None);
    let usage = usage.is(200).json();
    usage["LayersSize"].as_i64().expect("a number")
}

#[test]
fn only_what_nobody_else_needs_counts_as_freed() {
    let daemon = Daemon::start(Options::default());
    let base = taken(&daemon);
    load(&daemon, "one");
    load(&daemon, "two");
    let before = taken(&daemon);
    assert!(
        before - base < base / 2,
        "the base is shared: {base}, {before}"
    );
    daemon.run_d("user", ["busybox", "sleep", "1000"]);
    let filters = "%7B%22dangling%22:%7B%22false%22:true%7D%7D";
    let pruned = daemon.api("POST", &format!("/images/prune?filters={filters}"), None);
    let pruned = pruned.is(200).json();
    let gone = pruned["ImagesDeleted"].as_array().expect("an array");
    let gone = gone.iter().filter_map(|item| item["Untagged"].as_str());
    let mut gone: Vec<_> = gone.collect();
    gone.sort_unstable();
    assert_eq!(gone, ["one:latest", "two:latest"]);
    assert_eq!(pruned["SpaceReclaimed"], Value::from(before - base));
    assert_eq!(taken(&daemon), base);
    daemon.remove(&["user"]);
}
