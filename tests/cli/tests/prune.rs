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

#[test]
fn filters_say_which_of_them() {
    let daemon = Daemon::start(Options {
        without_image: true,
        ..Options::default()
    });
    let import = |args: &[&str]| {
        let import = daemon.cli(["import"]).args(args);
        import.stdin([0; 1024]).run().ok().out().to_owned()
    };
    let prune = |args: &[&str]| {
        let prune = daemon.cli(["image", "prune", "-f"]).args(args);
        prune.run().ok();
        let list = daemon.docker([
            "images",
            "--no-trunc",
            "--format",
            "{{.Repository}} {{.ID}}",
        ]);
        let list = list.ok().stdout;
        let shown = list.lines().map(|line| match line.split_once(' ') {
            Some(("<none>", id)) => id.to_owned(),
            Some((name, _)) => name.to_owned(),
            None => panic!("{line}"),
        });
        let mut shown: Vec<String> = shown.collect();
        shown.sort();
        shown
    };
    load(&daemon, "old");
    import(&["-", "new"]);
    import(&["-c", "LABEL keep=yes", "-", "kept"]);
    let dangling = import(&["-c", "LABEL a=b", "-"]);
    let all = ["kept", "new", "old", &dangling];
    // Dangling ones alone, and none that is that old, or so labelled.
    assert_eq!(prune(&["--filter", "until=1h"]), all);
    assert_eq!(prune(&["--filter", "label=a=c"]), all);
    assert_eq!(prune(&["--filter", "label!=a=b"]), all);
    assert_eq!(
        prune(&["--filter", "label!=keep", "--filter", "label=a"]),
        all[..3]
    );
    assert_eq!(prune(&["-a", "--filter", "until=1h"]), all[..2]);
    assert_eq!(prune(&["-a", "--filter", "label!=keep=yes"]), all[..1]);
    assert_eq!(prune(&["-a", "--filter", "label=keep=no"]), all[..1]);
    for (filter, words) in [
        (
            "until=soon",
            "failed to parse value as time or duration: \"soon\"",
        ),
        ("colour=red", "invalid filter 'colour'"),
    ] {
        let prune = ["image", "prune", "-af", "--filter", filter];
        daemon.docker(prune).exits(1).err_has(words);
    }
    assert_eq!(prune(&["-a"]), Vec::<String>::new());
}
