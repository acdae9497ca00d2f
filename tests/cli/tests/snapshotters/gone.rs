//! Containers and images in a snapshotter that is not there any more.

use serde_json::{Value, json};
use testkit::{Daemon, Leaks, Options, PATIENCE, eventually};

use crate::proxy::Proxy;
use crate::{driver_of, is_dockerd, with_odd_proxy};

/// Ends the daemon at once and starts the next one with another configuration. What runs goes on.
fn becomes(daemon: &Daemon, config: &Value, driver: &str) {
    daemon.kill9();
    std::fs::write(daemon.config_file(), config.to_string()).unwrap();
    daemon.boot();
    assert_eq!(driver_of(daemon), driver);
}

fn of_all(daemon: &Daemon, format: &str) -> String {
    let ps = daemon.docker(["ps", "-a", "--format", format]).ok();
    let mut lines: Vec<_> = ps.out().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn what_is_in_a_snapshotter_that_is_gone_can_be_seen_and_removed() {
    if is_dockerd() {
        return;
    }
    let mut proxy = Proxy::listen();
    let address = format!("address={}", proxy.socket().display());
    let with_proxy = json!({"storage-driver": "over-there", "storage-opts": [address]});
    let daemon = Daemon::prepare(Options {
        config: with_proxy.clone(),
        ..Options::default()
    });
    proxy.serve(&daemon);
    daemon.boot();
    daemon.load_busybox();
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let run = [
        "run",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "echo logged; echo x >/f",
    ];
    daemon.docker(run).ok();
    daemon.docker(["commit", "one", "of-one"]).ok();
    daemon.docker(["tag", "of-one", "other"]).ok();
    daemon.docker(["create", "--name", "two", "busybox"]).ok();
    daemon.run_d("runs", ["busybox", "sleep", "1000"]);

    becomes(&daemon, &json!({}), "overlayfs");
    containers_are_seen(&daemon);
    images_are_used(&daemon);
    they_are_in_nobodys_way(&daemon);
    // The daemon's end changes nothing about that.
    becomes(&daemon, &json!({}), "overlayfs");
    assert_eq!(
        of_all(&daemon, "{{.Names}} {{.State}}"),
        "one dead\nruns running\ntwo dead"
    );
    for name in ["one", "runs"] {
        daemon.docker(["rm", "-f", name]).ok().out_is(name);
    }
    assert_eq!(of_all(&daemon, "{{.Names}}"), "two");
    let log = daemon.log();
    let warned = |line: &&str| line.contains("a container is removed without its snapshot");
    assert_eq!(log.lines().filter(warned).count(), 2, "{log}");

    // Once it is there again the rest goes, and what was left behind.
    becomes(&daemon, &with_proxy, "over-there");
    daemon.docker(["rm", "two"]).ok();
    let run = ["run", "--rm", "busybox", "echo", "as ever"];
    daemon.docker(run).ok().out_is("as ever");
    // But for processes: containerd is another one by now.
    eventually("nothing is left", PATIENCE, || {
        let left = Leaks {
            processes: before.processes.clone(),
            ..Leaks::count(&daemon)
        };
        (left.minus(&before) == Leaks::default()).then_some(())
    });
}

fn containers_are_seen(daemon: &Daemon) {
    assert_eq!(daemon.format("one", "{{.Driver}}"), "over-there");
    let all = of_all(daemon, "{{.Names}} {{.State}}");
    assert_eq!(all, "one exited\nruns running\ntwo created");
    daemon.docker(["logs", "one"]).ok().out_is("logged");
    daemon
        .docker(["exec", "runs", "echo", "on"])
        .ok()
        .out_is("on");
    let sizes = daemon.api("GET", "/containers/json?all=1&size=1", None);
    assert_eq!(sizes.is(200).json().as_array().map(Vec::len), Some(3));
    let df = daemon.api("GET", "/v1.51/system/df", None).is(200).json();
    assert_eq!(df["Containers"].as_array().map(Vec::len), Some(3), "{df}");
}

fn images_are_used(daemon: &Daemon) {
    let images = daemon.docker(["images", "--format", "{{.Repository}}"]);
    let mut names: Vec<_> = images.ok().out().lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["busybox", "of-one", "other"]);
    let driver = "{{.GraphDriver.Name}}";
    daemon
        .docker(["image", "inspect", "-f", driver, "of-one"])
        .ok();
    // Unpacked anew.
    let run = ["run", "--rm", "of-one", "cat", "/f"];
    daemon.docker(run).ok().out_is("x");
    daemon.docker(["rmi", "other", "of-one"]).ok();
}

/// What cannot be removed is told, stays, and holds up nothing else.
fn they_are_in_nobodys_way(daemon: &Daemon) {
    for _ in 0..2 {
        let refused = daemon.docker(["rm", "one"]).exits(1);
        let why = "cannot remove container \"one\": removing the snapshot: snapshotter not loaded: \
                   over-there: invalid argument: have containerd load it again, or force remove, \
                   which leaves the snapshot behind";
        assert!(refused.stderr.contains(why), "{refused}");
        assert_eq!(daemon.format("one", "{{.State.Status}}"), "dead");
    }
    for prune in ["container", "system"] {
        daemon.docker(["create", "--name", "new", "busybox"]).ok();
        let id = daemon.format("new", "{{.Id}}");
        // The system's prune fails at the build cache, which there is none of, after the containers.
        let pruned = daemon.docker([prune, "prune", "-f"]);
        assert!(pruned.stdout.contains(&id), "{pruned}");
        let all = of_all(daemon, "{{.Names}} {{.State}}");
        assert_eq!(all, "one dead\nruns running\ntwo dead");
    }
}

#[test]
fn a_proxy_whose_process_is_gone_holds_up_no_removal() {
    if is_dockerd() {
        return;
    }
    let (proxy, daemon) = with_odd_proxy();
    daemon.docker(["create", "--name", "box", "busybox"]).ok();
    daemon.stop();
    drop(proxy);
    std::fs::write(daemon.config_file(), "{}").unwrap();
    daemon.boot();
    assert_eq!(driver_of(&daemon), "overlayfs");
    // The start looks into it beside all else, and says that it could not.
    eventually("it is looked for", PATIENCE, || {
        let log = daemon.log();
        let told = |line: &str| line.contains("listing snapshots") && line.contains("odd");
        log.lines().any(told).then_some(())
    });
    let run = ["run", "--rm", "busybox", "echo", "works"];
    daemon.docker(run).ok().out_is("works");
    daemon.docker(["rm", "box"]).ok();
    assert_eq!(of_all(&daemon, "{{.Names}}"), "");
}
