//! Restart policies: what is started again, when, how often, and what ends that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::{Daemon, Leaks, Options, PATIENCE, eventually, shared, unique};

/// How often each of these has happened to a container.
fn times<const N: usize>(daemon: &Daemon, name: &str, actions: [&str; N]) -> [usize; N] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    let until = now + Duration::from_millis(1);
    let filter = format!("%7B%22container%22%3A%5B%22{name}%22%5D%7D");
    let path = format!(
        "/events?since=0&until={}.{:09}&filters={filter}",
        until.as_secs(),
        until.subsec_nanos()
    );
    let text = daemon.api("GET", &path, None).is(200).text();
    actions.map(|action| {
        let wanted = format!("\"Action\":\"{action}\"");
        text.matches(&wanted).count()
    })
}

fn state(daemon: &Daemon, name: &str) -> String {
    daemon.format(
        name,
        "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}",
    )
}

#[test]
fn on_failure_gives_up_after_so_many_and_only_then_is_it_over() {
    let name = unique("failing");
    let args = ["--restart", "on-failure:2", "busybox", "sh", "-c", "exit 3"];
    shared().run_d(&name, args);
    // A wait sees the end of the last run only.
    shared().docker(["wait", &name]).ok().out_is("3");
    assert_eq!(state(shared(), &name), "exited 3 2");
    let told = times(shared(), &name, ["start", "die", "restart"]);
    assert_eq!(told, [3, 3, 0]);
    let policy =
        "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(shared().format(&name, policy), "on-failure:2");
    // A start by hand counts anew.
    shared().docker(["start", &name]).ok();
    shared().docker(["wait", &name]).ok().out_is("3");
    assert_eq!(state(shared(), &name), "exited 3 2");
    assert_eq!(times(shared(), &name, ["die"]), [6]);
    shared().remove(&[&name]);
}

#[test]
fn on_failure_leaves_success_alone() {
    let name = unique("success");
    shared().run_d(&name, ["--restart", "on-failure", "busybox", "true"]);
    shared().docker(["wait", &name]).ok().out_is("0");
    assert_eq!(state(shared(), &name), "exited 0 0");
    shared().remove(&[&name]);
}

#[test]
fn between_two_runs() {
    let name = unique("between");
    let id = shared().run_d(&name, ["--restart", "always", "busybox", "false"]);
    shared().wait_status(&name, "restarting");
    // The pauses have become long enough for what follows.
    eventually("it was restarted some times", PATIENCE, || {
        let view = shared().inspect(&name);
        let restarts = view["RestartCount"].as_i64().unwrap_or(0);
        (restarts >= 6 && view["State"]["Status"] == "restarting").then_some(())
    });
    let flags = "{{.State.Running}} {{.State.Restarting}} {{.State.Pid}} {{.State.ExitCode}}";
    assert_eq!(shared().format(&name, flags), "true true 0 1");
    let filter = format!("name={name}");
    let ps = ["ps", "-f", &filter, "--format", "{{.State}} {{.Status}}"];
    let ps = shared().docker(ps).ok();
    assert!(ps.out().starts_with("restarting Restarting (1) "), "{ps}");
    // Without a CLI for each: on a busy machine the pause could be over.
    let refused = |method: &str, what: &str| {
        let target = format!("/containers/{name}{what}");
        let exec = (what == "/exec").then(|| json!({"Cmd": ["true"]}));
        let answer = shared().api(method, &target, exec.as_ref());
        answer.is(409).message()
    };
    let message = format!("Container {id} is restarting, wait until the container is running");
    assert!(refused("POST", "/exec").contains(&message));
    refused("POST", "/attach?stream=1&stdout=1");
    assert!(refused("POST", "/pause").contains(&message));
    let words = "container is restarting: stop the container before removing or force remove";
    assert!(refused("DELETE", "").contains(words));
    let target = format!("/containers/{name}/start");
    shared().api("POST", &target, None).is(304);
    shared().docker(["stop", &name]).ok();
    let stopped = state(shared(), &name);
    assert!(stopped.starts_with("exited 1 "), "{stopped}");
    assert_eq!(times(shared(), &name, ["stop", "kill"]), [1, 0]);
    let restart = ["restart", &name];
    shared().docker(restart).ok();
    eventually("it is restarting again", PATIENCE, || {
        let view = shared().inspect(&name);
        let restarts = view["RestartCount"].as_i64().unwrap_or(0);
        (restarts >= 3 && view["State"]["Status"] == "restarting").then_some(())
    });
    shared().docker(["kill", &name]).ok();
    assert_eq!(shared().format(&name, "{{.State.Status}}"), "exited");
    shared().docker(["start", &name]).ok();
    shared().wait_status(&name, "restarting");
    shared().docker(["rm", "-f", &name]).ok();
    let target = format!("/containers/{name}/json");
    shared().api("GET", &target, None).is(404);
}

#[test]
fn what_a_user_ends_stays_ended_and_what_ends_by_itself_comes_back() {
    let name = unique("ended");
    let script = "trap 'exit 1' USR1; echo up; while :; do usleep 20000; done";
    let args = ["--restart", "always", "busybox", "sh", "-c", script];
    shared().run_d(&name, args);
    shared().wait_log(&name, "up");
    let pid = shared().format(&name, "{{.State.Pid}}");
    shared().docker(["exec", &name, "kill", "-USR1", "1"]).ok();
    eventually("it runs again", PATIENCE, || {
        (state(shared(), &name) == "running 0 1").then_some(())
    });
    assert_ne!(shared().format(&name, "{{.State.Pid}}"), pid);
    // It has run twice; the first of these starts finds it running.
    for (runs, end) in [
        (2, vec!["stop", "-t", "0", &name]),
        (3, vec!["kill", &name]),
        (4, vec!["kill", "-s", "USR1", &name]),
    ] {
        shared().docker(["start", &name]).ok();
        // Its trap is set: the log still has what earlier runs wrote.
        shared().wait_log(&name, &"up\n".repeat(runs));
        shared().docker(&end).ok();
        shared().docker(["wait", &name]).ok();
        assert_eq!(
            shared().format(&name, "{{.State.Status}}"),
            "exited",
            "{end:?}"
        );
    }
    shared().remove(&[&name]);
}

#[test]
fn policies_that_there_are_not() {
    let run = |args: &[&str]| {
        let cli = shared().cli(["run", "--name", "never"]).args(args);
        cli.args(["busybox", "true"]).run().exits(125)
    };
    run(&["--rm", "--restart", "always"]).err_has("conflicting options");
    run(&["--restart", "nosuch"]).err_has("invalid restart policy");
}

/// Kills these processes of the sandbox, and waits until they are gone.
fn kill_processes(daemon: &Daemon, pids: &[String]) {
    let mut kill = daemon.sandbox().command("kill");
    kill.arg("-9").args(pids);
    testkit::run_command(kill).ok();
    for pid in pids {
        let process = daemon.sandbox().proc().join(pid);
        eventually("the process is gone", PATIENCE, || {
            (!process.exists()).then_some(())
        });
    }
}

const POLICIES: [&str; 4] = ["no", "on-failure", "always", "unless-stopped"];

/// A container of each policy that runs, and one of each that a user has stopped.
fn one_of_each(daemon: &Daemon) {
    for policy in POLICIES {
        for name in [policy.to_owned(), format!("{policy}-stopped")] {
            let args = ["--restart", policy, "--stop-timeout", "0"];
            let cli = daemon.cli(["run", "-d", "--name", &name]).args(args);
            cli.args(["busybox", "sleep", "1000"]).run().ok();
        }
        let stopped = format!("{policy}-stopped");
        daemon.docker(["stop", &stopped]).ok();
    }
    let create = ["create", "--restart", "always", "--name", "made"];
    daemon.cli(create).args(["busybox", "true"]).run().ok();
}

/// Which of them run after the daemon has begun: those whose policy wants them to.
fn are_as_their_policies_say(daemon: &Daemon) {
    let wanted = [
        ("no", "exited"),
        ("no-stopped", "exited"),
        ("on-failure", "running"),
        // Ended by SIGKILL, which is a failure.
        ("on-failure-stopped", "running"),
        ("always", "running"),
        ("always-stopped", "running"),
        ("unless-stopped", "running"),
        ("unless-stopped-stopped", "exited"),
        // What never ran is not started.
        ("made", "created"),
    ];
    for (name, status) in wanted {
        daemon.wait_status(name, status);
    }
}

#[test]
fn each_policy_after_a_crash_of_the_daemon() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    one_of_each(&daemon);
    let pids: Vec<_> = POLICIES
        .iter()
        .map(|name| daemon.format(name, "{{.State.Pid}}"))
        .collect();
    daemon.kill9();
    kill_processes(&daemon, &pids);
    daemon.boot();
    are_as_their_policies_say(&daemon);
    // What ran on does so, and its policy still holds.
    let pid = |name: &str| daemon.format(name, "{{.State.Pid}}");
    let stays = pid("always");
    daemon.kill9();
    daemon.boot();
    assert_eq!(pid("always"), stays);
    kill_processes(&daemon, std::slice::from_ref(&stays));
    eventually("it is started again", PATIENCE, || {
        (state(&daemon, "always") == "running 0 1").then_some(())
    });
    let list = daemon.docker(["ps", "-aq"]).ok();
    daemon.remove(&list.stdout.lines().collect::<Vec<_>>());
    before.settle(&daemon, PATIENCE);
}

#[test]
fn each_policy_after_a_stop_of_the_daemon() {
    let daemon = Daemon::start(Options::default());
    one_of_each(&daemon);
    daemon.restart();
    are_as_their_policies_say(&daemon);
}

#[test]
fn a_crash_between_two_runs() {
    let daemon = Daemon::start(Options::default());
    let args = ["--restart", "always", "busybox", "false"];
    daemon.run_d("loop", args);
    eventually("it is between two runs", PATIENCE, || {
        let view = daemon.inspect("loop");
        let restarts = view["RestartCount"].as_i64().unwrap_or(0);
        (restarts >= 4 && view["State"]["Status"] == "restarting").then_some(())
    });
    daemon.kill9();
    daemon.boot();
    eventually("it is restarted again", PATIENCE, || {
        (times(&daemon, "loop", ["die"])[0] >= 2).then_some(())
    });
    daemon.docker(["rm", "-f", "loop"]).ok();
}

#[test]
fn with_live_restore_policies_go_on() {
    let daemon = Daemon::start(Options::default().args(["--live-restore"]));
    one_of_each(&daemon);
    let pid = daemon.format("always", "{{.State.Pid}}");
    daemon.restart();
    assert_eq!(daemon.format("always", "{{.State.Pid}}"), pid, "it ran on");
    assert_eq!(daemon.format("no", "{{.State.Status}}"), "running");
    kill_processes(&daemon, &[pid]);
    eventually("it is started again", PATIENCE, || {
        (state(&daemon, "always") == "running 0 1").then_some(())
    });
}
