//! A change of a container that runs, and the end of a run by itself.

use testkit::{Leaks, PATIENCE, eventually};

use super::*;

/// Ends with 3 when it is asked to.
const ASKED: &str = "trap 'exit 3' TERM; echo ready; while :; do usleep 20000; done";

#[test]
fn a_signal_cut_off_has_been_sent_or_not() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    for step in mortal.points_of("signal") {
        for (method, target, code) in [
            ("POST", "/containers/cut/stop?t=60", "3"),
            ("POST", "/containers/cut/kill", "137"),
            ("DELETE", "/containers/cut?force=1", "137"),
        ] {
            eprintln!("-- {step}, {target}");
            daemon.run_d("cut", ["busybox", "sh", "-c", ASKED]);
            daemon.wait_log("cut", "ready");
            mortal.dies(&step, method, target);
            if step == "signal:asked" {
                can_be_seen(daemon, "cut", "running");
                daemon.docker(["exec", "cut", "true"]).ok();
                daemon.docker(["stop", "cut"]).ok();
                assert_eq!(daemon.format("cut", "{{.State.ExitCode}}"), "3");
            } else {
                daemon.wait_status("cut", "exited");
                assert_eq!(daemon.format("cut", "{{.State.ExitCode}}"), code);
            }
            daemon.docker(["rm", "cut"]).ok();
            before.settle(daemon, PATIENCE);
        }
    }
}

#[test]
fn a_pause_cut_off_is_seen() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    for step in mortal.points_of("freeze") {
        eprintln!("-- {step}");
        daemon.run_d("cut", ["busybox", "sleep", "1000"]);
        mortal.dies(&step, "POST", "/containers/cut/pause");
        can_be_seen(daemon, "cut", "paused");
        daemon.docker(["unpause", "cut"]).ok();
        daemon.docker(["exec", "cut", "true"]).ok();
        daemon.docker(["pause", "cut"]).ok();
        mortal.dies(&step, "POST", "/containers/cut/unpause");
        can_be_seen(daemon, "cut", "running");
        daemon.docker(["exec", "cut", "true"]).ok();
        daemon.docker(["rm", "-f", "cut"]).ok();
        before.settle(daemon, PATIENCE);
    }
}

#[test]
fn a_commit_cut_off_leaves_nothing_frozen_and_nothing_held() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    // More than waits between who packs and who stores it.
    let script = "head -c 8000000 /dev/urandom >/large; echo ready; sleep 1000";
    for step in mortal.points_of("commit") {
        eprintln!("-- {step}");
        daemon.run_d("cut", ["busybox", "sh", "-c", script]);
        daemon.wait_log("cut", "ready");
        mortal.dies(&step, "POST", "/commit?container=cut&pause=1");
        daemon.wait_status("cut", "running");
        daemon.docker(["exec", "cut", "true"]).ok();
        // What somebody froze for longer stays so.
        daemon.docker(["pause", "cut"]).ok();
        daemon.kill9();
        daemon.boot();
        can_be_seen(daemon, "cut", "paused");
        daemon.docker(["rm", "-f", "cut"]).ok();
        before.settle(daemon, PATIENCE);
        daemon.docker(["image", "prune", "-f"]).ok();
    }
}

#[test]
fn a_rename_or_an_update_cut_off_has_happened_or_not() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    daemon.run_d("cut", ["busybox", "sleep", "1000"]);
    for step in mortal.points_of("rename") {
        eprintln!("-- {step}");
        mortal.dies(&step, "POST", "/containers/cut/rename?name=other");
        can_be_seen(daemon, "other", "running");
        is_gone(daemon, "cut");
        daemon.docker(["rename", "other", "cut"]).ok();
    }
    for step in mortal.points_of("update") {
        eprintln!("-- {step}");
        let shares = || daemon.format("cut", "{{.HostConfig.CpuShares}}");
        daemon.docker(["update", "--cpu-shares", "300", "cut"]).ok();
        let body = json!({"CpuShares": 700});
        let update = daemon.request("POST", "/containers/cut/update");
        mortal.dies_in(&step, update.json(&body));
        can_be_seen(daemon, "cut", "running");
        let written = step != "update:told";
        assert_eq!(shares(), if written { "700" } else { "300" });
        daemon.docker(["update", "--cpu-shares", "800", "cut"]).ok();
        assert_eq!(shares(), "800");
    }
    daemon.docker(["rm", "-f", "cut"]).ok();
    before.settle(daemon, PATIENCE);
}

#[test]
fn joining_and_leaving_a_network_cut_off_can_be_done_again() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    // Of a name that comes before the default bridge's: what joins it has its ports there.
    daemon.docker(["network", "create", "a"]).ok();
    let before = Leaks::count(daemon);
    let body = json!({"Container": "cut"});
    for step in mortal.points_of("rewire") {
        eprintln!("-- {step}");
        daemon
            .cli(["run", "-d", "--name", "cut"])
            .args(HTTPD)
            .run()
            .ok();
        page_is_there(daemon);
        let alone = Leaks::count(daemon);
        let is_in = || daemon.inspect("cut")["NetworkSettings"]["Networks"]["a"].is_object();
        let written = step == "rewire:saved";
        let connect = daemon.request("POST", "/networks/a/connect");
        mortal.dies_in(&step, connect.json(&body));
        can_be_seen(daemon, "cut", "running");
        assert_eq!(is_in(), written);
        page_is_there(daemon);
        if !written {
            alone.settle(daemon, PATIENCE);
            daemon.docker(["network", "connect", "a", "cut"]).ok();
        }
        let address = ["exec", "cut", "ip", "-4", "addr", "show", "eth1"];
        daemon.docker(address).ok().out_has("inet ");
        if step != "rewire:noted" {
            let disconnect = daemon.request("POST", "/networks/a/disconnect");
            mortal.dies_in(&step, disconnect.json(&body));
            can_be_seen(daemon, "cut", "running");
            assert_eq!(is_in(), !written);
            page_is_there(daemon);
        }
        if is_in() {
            daemon.docker(["network", "disconnect", "a", "cut"]).ok();
        }
        alone.settle(daemon, PATIENCE);
        daemon.docker(["exec", "cut", "true"]).ok();
        daemon.docker(["rm", "-f", "cut"]).ok();
        before.settle(daemon, PATIENCE);
    }
    daemon.docker(["network", "rm", "a"]).ok();
}

#[test]
fn an_exec_cut_off_leaves_its_container_in_order() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    daemon.run_d("cut", ["busybox", "sleep", "1000"]);
    daemon.docker(["exec", "cut", "true"]).ok();
    let alone = Leaks::count(daemon);
    for step in mortal.points_of("exec") {
        eprintln!("-- {step}");
        mortal.doom(&step);
        daemon.docker(["exec", "cut", "echo", "said"]);
        mortal.is_reborn(&step);
        can_be_seen(daemon, "cut", "running");
        assert_eq!(daemon.inspect("cut")["ExecIDs"], Value::Null);
        alone.settle(daemon, PATIENCE);
        daemon
            .docker(["exec", "cut", "echo", "on"])
            .ok()
            .out_is("on");
    }
    daemon.docker(["rm", "-f", "cut"]).ok();
    before.settle(daemon, PATIENCE);
}

#[test]
fn a_health_check_cut_off_is_made_again() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let health = ["--health-cmd", "true", "--health-interval", "200ms"];
    let run = daemon.cli(["run", "-d", "--name", "cut"]).args(health);
    run.args(["busybox", "sleep", "1000"]).run().ok();
    for step in mortal.points_of("probe") {
        eprintln!("-- {step}");
        mortal.doom(&step);
        mortal.is_reborn(&step);
        can_be_seen(daemon, "cut", "running");
        eventually("it is found healthy", PATIENCE, || {
            (daemon.format("cut", "{{.State.Health.Status}}") == "healthy").then_some(())
        });
    }
    daemon.docker(["rm", "-f", "cut"]).ok();
    before.settle(daemon, PATIENCE);
}

#[test]
fn an_exit_that_nobody_wrote_down_is_known_exactly() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let script = "echo ready; while [ ! -e /go ]; do usleep 20000; done; echo last; exit 6";
    for step in mortal.points_of("exit") {
        eprintln!("-- {step}");
        daemon.run_d("cut", ["busybox", "sh", "-c", script]);
        daemon.wait_log("cut", "ready");
        let started = moment(daemon, "StartedAt");
        mortal.doom(&step);
        daemon.docker(["exec", "cut", "touch", "/go"]);
        mortal.is_dead(&step);
        let dead = jiff::Timestamp::now();
        daemon.boot();
        daemon.wait_status("cut", "exited");
        assert_eq!(daemon.format("cut", "{{.State.ExitCode}}"), "6");
        let finished = moment(daemon, "FinishedAt");
        assert!(
            started < finished && finished < dead,
            "{started} {finished} {dead}"
        );
        assert_eq!(moment(daemon, "StartedAt"), started);
        can_be_seen(daemon, "cut", "exited");
        daemon.docker(["rm", "cut"]).ok();
        before.settle(daemon, PATIENCE);
    }
}

#[track_caller]
fn moment(daemon: &Daemon, of: &str) -> jiff::Timestamp {
    let told = daemon.inspect("cut")["State"][of].clone();
    told.as_str().and_then(|t| t.parse().ok()).expect("a time")
}

#[test]
fn a_restart_by_policy_cut_off_comes_all_the_same() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let script = "[ -e /ran ] && exec sleep 1000; touch /ran; exit 5";
    for step in mortal.points_of("restart") {
        for policy in ["always", "on-failure:3", "unless-stopped"] {
            eprintln!("-- {step}, {policy}");
            let create = daemon.cli(["create", "--name", "cut", "--restart", policy]);
            create.args(["busybox", "sh", "-c", script]).run().ok();
            mortal.dies(&step, "POST", "/containers/cut/start");
            daemon.wait_status("cut", "running");
            daemon.docker(["exec", "cut", "true"]).ok();
            daemon.docker(["stop", "-t", "0", "cut"]).ok();
            daemon.docker(["rm", "cut"]).ok();
            before.settle(daemon, PATIENCE);
        }
    }
}
