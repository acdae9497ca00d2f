//! A hundred containers with restart policies and health checks, over the deaths of the daemon and
//! of its containerd.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::{Daemon, Flavour, Leaks, Options, PATIENCE, eventually, flavour, run_command};

const EACH: usize = 20;
/// How many at a time a client works on.
const AT_ONCE: usize = 10;

/// A kind of container, and what is to become of those of its kind.
struct Kind {
    name: &'static str,
    policy: Value,
    script: &'static str,
    health: Value,
}

fn kinds() -> [Kind; 5] {
    let kind = |name, policy, script| Kind {
        name,
        policy,
        script,
        health: Value::Null,
    };
    let probe = json!({"Test": ["CMD", "true"], "Interval": 5_000_000_000_u64});
    [
        Kind {
            health: probe,
            ..kind("always", json!({"Name": "always"}), "exec sleep 1000")
        },
        kind(
            "wanted",
            json!({"Name": "unless-stopped"}),
            "exec sleep 1000",
        ),
        kind(
            "stopped",
            json!({"Name": "unless-stopped"}),
            "exec sleep 1000",
        ),
        kind(
            "given-up",
            json!({"Name": "on-failure", "MaximumRetryCount": 1}),
            "exit 5",
        ),
        kind("plain", json!({"Name": "no"}), "exec sleep 1000"),
    ]
}

fn names(kind: &str) -> impl Iterator<Item = String> + '_ {
    (0..EACH).map(move |n| format!("{kind}-{n}"))
}

/// Does the same to many, some at a time.
fn to_all(names: &[String], work: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for some in names.chunks(names.len().div_ceil(AT_ONCE)) {
            let work = &work;
            scope.spawn(move || some.iter().for_each(|name| work(name)));
        }
    });
}

fn make(daemon: &Daemon, kind: &Kind, name: &str) {
    let mut body = json!({
        "Image": "busybox",
        "Cmd": ["sh", "-c", kind.script],
        "HostConfig": {"RestartPolicy": kind.policy},
    });
    if !kind.health.is_null() {
        body["Healthcheck"] = kind.health.clone();
    }
    let target = format!("/containers/create?name={name}");
    daemon.api("POST", &target, Some(&body)).is(201);
    let target = format!("/containers/{name}/start");
    daemon.api("POST", &target, None).is(204);
}

/// Status, PID and exit code of each.
fn states(daemon: &Daemon) -> BTreeMap<String, (String, i64, i64)> {
    let list = daemon
        .api("GET", "/containers/json?all=1", None)
        .is(200)
        .json();
    let names = list.as_array().expect("a list").iter();
    names
        .map(|item| {
            let name = item["Names"][0]
                .as_str()
                .expect("a name")
                .trim_start_matches('/');
            let state = daemon.inspect(name)["State"].clone();
            let number = |of: &str| state[of].as_i64().expect("a number");
            let status = state["Status"].as_str().expect("a status").to_owned();
            (name.to_owned(), (status, number("Pid"), number("ExitCode")))
        })
        .collect()
}

#[track_caller]
fn end_inits(daemon: &Daemon, names: &[String]) {
    let pids = names
        .iter()
        .map(|name| daemon.inspect(name)["State"]["Pid"].to_string());
    let mut kill = daemon.sandbox().command("kill");
    kill.arg("-9").args(pids);
    run_command(kill).ok();
}

/// All are as their policies want them.
#[track_caller]
fn are_as_wanted(daemon: &Daemon, ended: &[String]) {
    eventually("all are as they should be", 2 * PATIENCE, || {
        let states = states(daemon);
        assert_eq!(states.len(), 5 * EACH);
        let wrong = states.iter().find(|(name, (status, pid, code))| {
            let right = match name.split('-').next() {
                Some("stopped") => status == "exited" && *code == 137,
                Some("given") => status == "exited" && *code == 5,
                Some("plain") if ended.contains(name) => status == "exited" && *code == 137,
                _ => status == "running" && *pid > 0,
            };
            !right
        });
        wrong.is_none().then_some(())
    });
}

#[test]
fn a_hundred_with_policies_and_health_checks_outlive_berthd_and_containerd() {
    if flavour() == Flavour::Dockerd {
        return; // It kills them.
    }
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let all: Vec<String> = kinds().iter().flat_map(|kind| names(kind.name)).collect();
    for kind in kinds() {
        to_all(&names(kind.name).collect::<Vec<_>>(), |name| {
            make(&daemon, &kind, name)
        });
    }
    to_all(&names("stopped").collect::<Vec<_>>(), |name| {
        let target = format!("/containers/{name}/stop?t=0");
        daemon.api("POST", &target, None).is(204);
    });
    are_as_wanted(&daemon, &[]);
    let told = states(&daemon);
    // Some end while nobody looks.
    let some = |kind: &'static str| names(kind).take(5);
    let restarted: Vec<_> = some("always").chain(some("wanted")).collect();
    let ended: Vec<_> = some("plain").collect();
    let pids: Vec<_> = restarted.iter().chain(&ended).cloned().collect();
    let doomed: Vec<String> = pids.iter().map(|name| told[name].1.to_string()).collect();
    daemon.kill9();
    let mut kill = daemon.sandbox().command("kill");
    kill.arg("-9").args(doomed);
    run_command(kill).ok();
    daemon.boot();
    are_as_wanted(&daemon, &ended);
    let after = states(&daemon);
    for (name, state) in &told {
        if restarted.contains(name) {
            assert_ne!(after[name].1, state.1, "{name} has been started again");
        } else if !ended.contains(name) {
            assert_eq!(&after[name], state, "{name} has not been touched");
        }
    }
    let old = daemon.kill9_containerd();
    end_inits(&daemon, &restarted);
    eventually("another containerd runs", PATIENCE, || {
        (daemon.containerd_pid() != old).then_some(())
    });
    are_as_wanted(&daemon, &ended);
    let healthy = "/containers/json?filters=%7B%22health%22%3A%5B%22healthy%22%5D%7D";
    eventually("their health is known again", PATIENCE, || {
        let list = daemon.api("GET", healthy, None).is(200).json();
        (list.as_array().map(Vec::len) == Some(EACH)).then_some(())
    });
    to_all(&all, |name| {
        let target = format!("/containers/{name}?force=1");
        daemon.api("DELETE", &target, None).is(204);
    });
    before.settle(&daemon, PATIENCE);
}

#[test]
fn one_that_is_restarted_again_and_again_outlives_containerd() {
    let daemon = Daemon::start(Options::default());
    if daemon.is_old_dockerd() {
        return;
    }
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    // Ends as soon as it runs: in any moment one of these is about to be started.
    let names: Vec<String> = (0..4).map(|n| format!("loops-{n}")).collect();
    for name in &names {
        daemon.run_d(
            name,
            [
                "--restart",
                "always",
                "busybox",
                "sh",
                "-c",
                "usleep 100000; exit 1",
            ],
        );
    }
    let count = |name: &str| {
        daemon.inspect(name)["RestartCount"]
            .as_i64()
            .expect("a number")
    };
    for _ in 0..2 {
        let counts: Vec<i64> = names.iter().map(|name| count(name)).collect();
        let old = daemon.kill9_containerd();
        eventually("another containerd runs", PATIENCE, || {
            (daemon.containerd_pid() != old).then_some(())
        });
        for (name, before) in names.iter().zip(counts) {
            eventually("it is started again", PATIENCE, || {
                let state = daemon.inspect(name)["State"].clone();
                assert_ne!(state["Status"], "exited", "given up: {state}");
                (count(name) > before).then_some(())
            });
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    daemon.remove(&names);
    before.settle(&daemon, PATIENCE);
}
