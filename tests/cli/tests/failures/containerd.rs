//! containerd dies in the middle of each change.

use testkit::{Flavour, PATIENCE, eventually, flavour};

use super::runtimes::Broken;
use super::*;

/// The runtime hangs, so it is known what containerd was at when it died.
#[test]
fn containerd_dies_in_the_middle_of_each_change() {
    if flavour() == Flavour::Dockerd {
        return;
    }
    let broken = Broken::start();
    let daemon = &broken.daemon;
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(daemon);
    daemon.run_d("other", ["busybox", "sleep", "1000"]);
    let pid = daemon.format("other", "{{.State.Pid}}");
    for (verb, running, change) in [
        ("create", false, &["start", "cut"][..]),
        ("start", false, &["start", "cut"]),
        ("exec", true, &["exec", "cut", "true"]),
        ("kill", true, &["stop", "-t", "1", "cut"]),
        ("delete", true, &["stop", "-t", "0", "cut"]),
        ("delete", true, &["rm", "-f", "cut"]),
    ] {
        eprintln!("-- {verb}, {change:?}");
        match running {
            true => broken.run("cut"),
            false => broken.create("cut"),
        }
        broken.order(&format!("hang {verb}"));
        let client = daemon.cli(change).spawn();
        broken.has_struck();
        let old = daemon.kill9_containerd();
        // What is read, is read from what is known.
        daemon.docker(["ps", "-a"]).ok().out_has("cut");
        daemon.docker(["inspect", "cut"]).ok();
        broken.repair();
        broken.let_go();
        eventually("another containerd runs", PATIENCE, || {
            (daemon.containerd_pid() != old).then_some(())
        });
        // Whatever it answers, it answers.
        client.finish(LIMIT);
        let state = "{{.State.Status}} {{.State.Pid}}";
        assert_eq!(daemon.format("other", state), format!("running {pid}"));
        eventually("the daemon works again", PATIENCE, || {
            (daemon.docker(["run", "--rm", "busybox", "true"]).code == 0).then_some(())
        });
        daemon.docker(["exec", "other", "true"]).ok();
        eventually("it can be removed", PATIENCE, || {
            let answer = daemon.api("DELETE", "/containers/cut?force=1", None);
            (answer.status == 404).then_some(())
        });
    }
    daemon.docker(["rm", "-f", "other"]).ok();
    before.settle(daemon, PATIENCE);
}
