//! The beginning of a container and the beginning of a run.

use testkit::{Leaks, PATIENCE};

use super::*;

#[test]
fn a_create_cut_off_at_any_step_is_whole_or_nothing() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let body = json!({"Image": "busybox", "Cmd": ["echo", "whole"], "Volumes": {"/v": {}}});
    for step in mortal.points_of("create") {
        eprintln!("-- {step}");
        let target = "/containers/create?name=cut";
        mortal.dies_in(&step, daemon.request("POST", target).json(&body));
        let recorded = !["create:snapshot", "create:volumes"].contains(&step.as_str());
        if recorded {
            can_be_seen(daemon, "cut", "created");
            daemon.docker(["start", "-a", "cut"]).ok().out_is("whole");
            daemon.docker(["rm", "-v", "cut"]).ok();
        } else {
            is_gone(daemon, "cut");
            daemon.docker(["create", "--name", "cut", "busybox"]).ok();
            daemon.docker(["rm", "cut"]).ok();
        }
        daemon.docker(["volume", "ls", "-q"]).ok().out_is("");
        before.settle(daemon, PATIENCE);
    }
}

#[test]
fn a_start_cut_off_at_any_step_leaves_nothing_that_runs() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    for step in mortal.points_of("start") {
        eprintln!("-- {step}");
        let create = daemon.cli(["create", "--name", "cut", "-v", "/v"]);
        create.args(HTTPD).run().ok();
        let made = Leaks::count(daemon);
        mortal.dies(&step, "POST", "/containers/cut/start");
        can_be_seen(daemon, "cut", "created");
        made.settle(daemon, PATIENCE);
        daemon.docker(["start", "cut"]).ok();
        page_is_there(daemon);
        // The same with a container that has run before.
        daemon.docker(["stop", "-t", "0", "cut"]).ok();
        mortal.dies(&step, "POST", "/containers/cut/start");
        can_be_seen(daemon, "cut", "exited");
        assert_eq!(daemon.format("cut", "{{.State.ExitCode}}"), "137");
        made.settle(daemon, PATIENCE);
        daemon.docker(["rm", "-v", "cut"]).ok();
        before.settle(daemon, PATIENCE);
    }
}

#[test]
fn a_run_that_has_begun_goes_on() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    for step in mortal.points_of("run") {
        eprintln!("-- {step}");
        daemon
            .cli(["create", "--name", "cut"])
            .args(HTTPD)
            .run()
            .ok();
        mortal.dies(&step, "POST", "/containers/cut/start");
        can_be_seen(daemon, "cut", "running");
        page_is_there(daemon);
        daemon.docker(["exec", "cut", "true"]).ok();
        daemon.docker(["stop", "-t", "0", "cut"]).ok();
        daemon.docker(["rm", "cut"]).ok();
        before.settle(daemon, PATIENCE);
    }
}

#[test]
fn a_network_cut_off_at_any_step_is_there_or_not() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let body = json!({"Name": "mine"});
    let connected = ["run", "--rm", "--network", "mine", "busybox", "true"];
    for step in mortal.points_of("network") {
        eprintln!("-- {step}");
        let removal = ["network:unmade", "network:removed"].contains(&step.as_str());
        if removal {
            daemon.docker(["network", "create", "mine"]).ok();
            mortal.dies(&step, "DELETE", "/networks/mine");
        } else {
            mortal.dies_in(
                &step,
                daemon.request("POST", "/networks/create").json(&body),
            );
        }
        let there = ["network:saved", "network:unmade"].contains(&step.as_str());
        let seen = daemon.api("GET", "/networks/mine", None).status;
        assert_eq!(seen, if there { 200 } else { 404 });
        if !there {
            before.settle(daemon, PATIENCE);
            daemon.docker(["network", "create", "mine"]).ok();
        }
        daemon.docker(connected).ok();
        daemon.docker(["network", "rm", "mine"]).ok();
        before.settle(daemon, PATIENCE);
    }
}
