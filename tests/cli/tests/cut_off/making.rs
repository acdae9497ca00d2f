//! The beginning of a container and the beginning of a run.

use serde_json::json;
use testkit::{Leaks, PATIENCE, Place, eventually};

use super::*;

#[test]
fn a_create_cut_off_at_any_step_is_whole_or_nothing() {
    let Some(mortal) = Mortal::start() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let body = json!({"Image": "busybox", "Cmd": ["echo", "whole"]});
    for (step, there) in [
        ("create:snapshot", false),
        ("create:config", true),
        ("create:record", true),
    ] {
        eprintln!("-- {step}");
        let target = "/containers/create?name=cut";
        mortal.dies_in(step, daemon.request("POST", target).json(&body));
        if there {
            can_be_seen(daemon, "cut", "created");
            daemon.docker(["start", "-a", "cut"]).ok().out_is("whole");
            daemon.docker(["rm", "cut"]).ok();
        } else {
            is_gone(daemon, "cut");
            daemon.docker(["create", "--name", "cut", "busybox"]).ok();
            daemon.docker(["rm", "cut"]).ok();
        }
        before.settle(daemon, PATIENCE);
    }
}

#[test]
fn a_start_cut_off_at_any_step_leaves_nothing_that_runs() {
    let Some(mortal) = Mortal::start() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let script = "mkdir -p /w; echo page >/w/i; exec httpd -f -p 80 -h /w";
    for step in ["start:prepared", "start:made", "start:started"] {
        eprintln!("-- {step}");
        let create = [
            "create", "--name", "cut", "-p", "8080:80", "busybox", "sh", "-c", script,
        ];
        daemon.docker(create).ok();
        let made = Leaks::count(daemon);
        mortal.dies(step, "POST", "/containers/cut/start");
        can_be_seen(daemon, "cut", "created");
        made.settle(daemon, PATIENCE);
        daemon.docker(["start", "cut"]).ok();
        let page = eventually("the port answers", PATIENCE, || {
            daemon.fetch(Place::Outside, "192.0.2.1:8080", "/i")
        });
        assert_eq!(page, "page\n");
        // The same with a container that has run before.
        daemon.docker(["stop", "-t", "0", "cut"]).ok();
        mortal.dies(step, "POST", "/containers/cut/start");
        can_be_seen(daemon, "cut", "exited");
        made.settle(daemon, PATIENCE);
        daemon.docker(["rm", "cut"]).ok();
        before.settle(daemon, PATIENCE);
    }
}
