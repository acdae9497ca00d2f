//! The end of a run and the end of a container.

use testkit::{Daemon, Flavour, Leaks, Options, PATIENCE, eventually, run_command};

use super::*;

/// The step of a removal after which nothing is left.
const REMOVED: &str = "remove:record";

/// The others.
fn unfinished(mortal: &Mortal) -> Vec<String> {
    let mut points = mortal.points_of("remove");
    points.retain(|point| point != REMOVED);
    points
}

#[test]
fn a_removal_cut_off_at_any_step_leaves_a_dead_container() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    for ran in [true, false] {
        let verb = if ran { "run" } else { "create" };
        // The first removal, and the one of what that has left.
        let points = unfinished(&mortal);
        let pairs = points
            .iter()
            .flat_map(|first| points.iter().map(move |second| (first, second)));
        for (first, second) in pairs {
            eprintln!("-- {verb}, {first}, {second}");
            daemon
                .docker([verb, "--name", "cut", "busybox", "true"])
                .ok();
            for step in [first, second] {
                mortal.dies(step, "DELETE", "/containers/cut");
                can_be_seen(daemon, "cut", "dead");
                let start = daemon.api("POST", "/containers/cut/start", None).is(409);
                assert_eq!(
                    start.message(),
                    "container is marked for removal and cannot be started"
                );
                daemon.docker(["logs", "cut"]);
            }
            daemon.docker(["rm", "cut"]).ok();
            is_gone(daemon, "cut");
            daemon.api("DELETE", "/containers/cut", None).is(404);
        }
        // The name is free when all is gone, although nobody was told.
        daemon
            .docker([verb, "--name", "cut", "busybox", "true"])
            .ok();
        mortal.dies(REMOVED, "DELETE", "/containers/cut");
        is_gone(daemon, "cut");
    }
    before.settle(daemon, PATIENCE);
}

#[test]
fn the_end_of_a_run_cut_off_at_any_step_is_made_good() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    for step in &mortal.points_of("teardown") {
        eprintln!("-- {step}");
        let run = daemon.cli([
            "run",
            "-d",
            "--name",
            "cut",
            "--ipc",
            "shareable",
            "-v",
            "/v",
        ]);
        run.args(HTTPD).run().ok();
        mortal.dies(step, "POST", "/containers/cut/kill");
        can_be_seen(daemon, "cut", "exited");
        assert_eq!(daemon.format("cut", "{{.State.ExitCode}}"), "137");
        // Nothing of the run is in the way of the next one.
        daemon.docker(["start", "cut"]).ok();
        page_is_there(daemon);
        mortal.dies(step, "DELETE", "/containers/cut?force=1");
        can_be_seen(daemon, "cut", "exited");
        daemon.docker(["rm", "-v", "cut"]).ok();
        is_gone(daemon, "cut");
        before.settle(daemon, PATIENCE);
    }
}

#[test]
fn what_was_to_go_by_itself_goes_after_all() {
    let Some(mortal) = mortal() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Leaks::count(daemon);
    let ends = ["exit", "teardown", "remove"];
    for step in ends.iter().flat_map(|change| mortal.points_of(change)) {
        let step = step.as_str();
        eprintln!("-- {step}");
        daemon.run_d("by-itself", ["--rm", "busybox", "sleep", "1000"]);
        mortal.dies(step, "POST", "/containers/by-itself/kill");
        eventually("it is gone", PATIENCE, || {
            (daemon.api("GET", "/containers/by-itself/json", None).status == 404).then_some(())
        });
        before.settle(daemon, PATIENCE);
    }
    // One that never ran was not to go yet.
    daemon
        .docker(["create", "--rm", "--name", "later", "busybox", "true"])
        .ok();
    daemon.restart();
    can_be_seen(daemon, "later", "created");
    daemon.docker(["rm", "later"]).ok();
}

/// Stops or continues a process of the sandbox.
#[track_caller]
fn send(signal: &str, pid: i32) {
    let mut kill = std::process::Command::new("kill");
    kill.arg(signal).arg(pid.to_string());
    run_command(kill).ok();
}

#[test]
fn a_removal_under_way_is_told_and_blocks_nobody() {
    if testkit::flavour() == Flavour::Dockerd {
        return; // Its graph driver needs no containerd to remove.
    }
    let daemon = Daemon::start(Options::default());
    let before = Leaks::count(&daemon);
    daemon
        .docker(["run", "--name", "slow", "busybox", "true"])
        .ok();
    daemon.run_d("other", ["busybox", "sleep", "1000"]);
    let containerd = daemon.containerd_pid();
    send("-STOP", containerd);
    let mut removal = daemon.cli(["rm", "slow"]).spawn();
    eventually("the removal has begun", PATIENCE, || {
        (daemon.format("slow", "{{.State.Status}}") == "removing").then_some(())
    });
    for target in ["/containers/slow", "/containers/slow?force=1"] {
        let again = daemon.api("DELETE", target, None).is(409);
        assert_eq!(
            again.message(),
            "removal of container slow is already in progress"
        );
    }
    can_be_seen(&daemon, "slow", "removing");
    daemon.docker(["logs", "other"]).ok();
    daemon.docker(["rename", "other", "another"]).ok();
    daemon.api("GET", "/info", None).is(200);
    assert!(removal.running());
    send("-CONT", containerd);
    removal.wait().ok();
    is_gone(&daemon, "slow");
    daemon.docker(["rm", "-f", "another"]).ok();
    before.settle(&daemon, PATIENCE);
}

fn ctr(daemon: &Daemon, args: &[&str]) -> testkit::Output {
    let mut ctr = daemon.sandbox().command("ctr");
    ctr.arg("--address")
        .arg(daemon.containerd_socket())
        .args(["--namespace", "moby"])
        .args(args);
    run_command(ctr)
}

#[test]
fn containerd_has_forgotten_it() {
    if testkit::flavour() == Flavour::Dockerd {
        return;
    }
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let whole = daemon.run_d(
        "no-container",
        ["-p", "8080:80", "busybox", "sleep", "1000"],
    );
    let task = daemon.run_d("no-task", ["-p", "8081:80", "busybox", "sleep", "1000"]);
    daemon.kill9();
    for id in [&whole, &task] {
        ctr(&daemon, &["tasks", "rm", "--force", id]).ok();
    }
    ctr(&daemon, &["containers", "rm", "--keep-snapshot", &whole]).ok();
    daemon.boot();
    for name in ["no-container", "no-task"] {
        can_be_seen(&daemon, name, "exited");
        daemon.docker(["start", name]).ok();
        daemon.docker(["exec", name, "true"]).ok();
        daemon.docker(["rm", "-f", name]).ok();
        is_gone(&daemon, name);
    }
    before.settle(&daemon, PATIENCE);
}
