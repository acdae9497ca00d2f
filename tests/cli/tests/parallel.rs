//! Many containers at once, and nothing left of them.

use serde_json::json;
use testkit::{Daemon, Leaks, Options, PATIENCE};

#[test]
fn a_hundred_containers_run_and_go_away() {
    let daemon = Daemon::start(Options::default());
    // What a first container makes for all of them is no leak.
    daemon
        .docker(["run", "--rm", "-p", "8080:80", "busybox", "true"])
        .ok();
    let before = Leaks::count(&daemon);
    let ids = start(&daemon, 100);
    let running = daemon.docker(["ps", "-q", "-f", "label=parallel"]).ok();
    assert_eq!(running.stdout.lines().count(), 100);
    let mut addresses = std::collections::BTreeSet::new();
    for container in daemon
        .api("GET", "/containers/json", None)
        .is(200)
        .json()
        .as_array()
        .unwrap()
    {
        let address = container["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
            .as_str()
            .unwrap();
        assert!(addresses.insert(address.to_owned()), "{address} twice");
    }
    std::thread::scope(|scope| {
        for part in ids.chunks(13) {
            let daemon = &daemon;
            scope.spawn(move || {
                for id in part {
                    daemon
                        .api("DELETE", &format!("/containers/{id}?force=1"), None)
                        .is(204);
                }
            });
        }
    });
    daemon.docker(["ps", "-aq"]).ok().out_is("");
    before.settle(&daemon, PATIENCE);
}

/// Starts containers, eight at a time; every tenth publishes a port.
fn start(daemon: &Daemon, count: usize) -> Vec<String> {
    let numbers: Vec<_> = (0..count).collect();
    let mut ids = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = numbers
            .chunks(count.div_ceil(8))
            .map(|part| {
                scope.spawn(move || {
                    part.iter()
                        .map(|n| start_one(daemon, *n))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            ids.extend(thread.join().expect("the thread lives"));
        }
    });
    ids
}

fn start_one(daemon: &Daemon, n: usize) -> String {
    let ports = match n % 10 {
        0 => json!({"80/tcp": [{"HostPort": (9000 + n).to_string()}]}),
        _ => json!({}),
    };
    let body = json!({
        "Image": "busybox", "Cmd": ["sleep", "1000"], "Labels": {"parallel": n.to_string()},
        "HostConfig": {"PortBindings": ports},
    });
    let target = format!("/containers/create?name=p{n}");
    let created = daemon.api("POST", &target, Some(&body)).is(201).json();
    let id = created["Id"].as_str().expect("an ID").to_owned();
    daemon
        .api("POST", &format!("/containers/{id}/start"), None)
        .is(204);
    id
}

#[test]
fn the_whole_command_many_times_at_once() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let runs: Vec<_> = (0..30)
        .map(|n| {
            let script = format!("echo out {n}; exit {n}");
            daemon
                .cli(["run", "--rm", "busybox", "sh", "-c", &script])
                .spawn()
        })
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        run.wait().exits(n as i32).out_is(&format!("out {n}"));
    }
    before.settle(&daemon, PATIENCE);
}

#[test]
fn one_container_pulled_about_from_all_sides() {
    let daemon = Daemon::start(Options::default());
    daemon
        .docker(["create", "--name", "one", "busybox", "sleep", "1000"])
        .ok();
    let before = Leaks::count(&daemon);
    std::thread::scope(|scope| {
        for call in [
            "start",
            "stop?t=0",
            "restart?t=0",
            "kill",
            "rename?name=one",
        ] {
            let daemon = &daemon;
            scope.spawn(move || {
                for _ in 0..10 {
                    let answer = daemon.api("POST", &format!("/containers/one/{call}"), None);
                    assert!(
                        matches!(answer.status, 204 | 304 | 400 | 409 | 500),
                        "{call}: {}",
                        answer.text()
                    );
                    // It can be looked at all the time.
                    daemon.api("GET", "/containers/one/json", None).is(200);
                }
            });
        }
    });
    daemon.docker(["stop", "-t", "0", "one"]).ok();
    assert!(daemon.format("one", "{{.State.Status}}") != "running");
    before.settle(&daemon, PATIENCE);
    daemon.docker(["start", "one"]).ok();
    daemon.docker(["rm", "-f", "one"]).ok();
}

#[test]
fn a_name_is_given_to_one_of_many() {
    let daemon = Daemon::start(Options::default());
    let body = json!({"Image": "busybox", "Cmd": ["true"]});
    let mut statuses: Vec<u16> = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    daemon
                        .api("POST", "/containers/create?name=only", Some(&body))
                        .status
                })
            })
            .collect();
        statuses.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[test]
fn removal_races_with_the_end() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    for n in 0..10 {
        let name = format!("race{n}");
        daemon
            .docker([
                "run", "-d", "--rm", "--name", &name, "busybox", "usleep", "20000",
            ])
            .ok();
        // The daemon's own removal and ours: either may win, both are content.
        let output = daemon.docker(["rm", "-f", &name]);
        let lost = ["No such container", "is already in progress"];
        assert!(
            output.code == 0 || lost.iter().any(|text| output.stderr.contains(text)),
            "{output}"
        );
    }
    before.settle(&daemon, PATIENCE);
}
