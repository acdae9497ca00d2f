//! `docker events`.

use std::time::Duration;

use serde_json::Value;
use testkit::{Compression, Daemon, Image, Options, PATIENCE, shared, unique};

/// The daemon's clock in seconds, with nanoseconds.
fn now() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

fn past(since: &str, filters: &[String]) -> Vec<Value> {
    let until = now();
    let mut cli = shared().cli(["events", "--since", since, "--until", &until]);
    for filter in filters {
        cli = cli.args(["--filter", filter]);
    }
    let output = cli.args(["--format", "{{json .}}"]).run().ok();
    output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn actions(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| event["Action"].as_str().expect("an action").to_owned())
        .collect()
}

#[test]
fn the_life_of_a_container() {
    let (name, since) = (unique("life"), now());
    let id = shared().run_d(&name, ["-l", "k=v1", "busybox", "sleep", "1000"]);
    shared().docker(["kill", &name]).ok();
    shared().docker(["wait", &name]).ok();
    shared().docker(["rm", &name]).ok();
    let events = past(
        &since,
        &["type=container".into(), format!("container={name}")],
    );
    assert_eq!(
        actions(&events),
        ["create", "start", "kill", "die", "destroy"]
    );
    for event in &events {
        assert_eq!(event["Type"], "container");
        assert_eq!(event["Actor"]["ID"], id.as_str());
        assert_eq!(event["scope"], "local");
        let attributes = &event["Actor"]["Attributes"];
        assert_eq!(attributes["name"], name.as_str());
        assert_eq!(attributes["image"], "busybox");
        assert_eq!(attributes["k"], "v1");
        let nanos = event["timeNano"].as_i64().unwrap();
        assert_eq!(nanos / 1_000_000_000, event["time"].as_i64().unwrap());
    }
    assert_eq!(events[2]["Actor"]["Attributes"]["signal"], "9");
    assert_eq!(events[3]["Actor"]["Attributes"]["exitCode"], "137");
    let by = |filters: &[String]| actions(&past(&since, filters));
    let label = "label=k=v1".to_owned();
    assert_eq!(
        by(&["event=die".into(), label.clone(), format!("container={id}")]),
        ["die"]
    );
    let two = [
        "event=die".into(),
        "event=start".into(),
        format!("container={name}"),
    ];
    assert_eq!(by(&two), ["start", "die"]);
    let all = past(&since, &[]);
    assert!(all.iter().any(|event| event["Type"] == "network"
        && event["Action"] == "connect"
        && event["Actor"]["Attributes"]["container"] == id.as_str()));
    assert!(
        all.iter()
            .any(|event| event["Type"] == "network" && event["Action"] == "disconnect")
    );
}

#[test]
fn stop_restart_rename_attach_resize() {
    let (name, new, since) = (unique("more"), unique("renamed"), now());
    let id = shared().run_d(&name, ["-t", "busybox", "sleep", "1000"]);
    shared().docker(["restart", "-t", "0", &name]).ok();
    shared().docker(["rename", &name, &new]).ok();
    shared()
        .api(
            "POST",
            &format!("/containers/{new}/resize?h=40&w=132"),
            None,
        )
        .is(200);
    shared().docker(["stop", "-t", "0", &new]).ok();
    shared().docker(["rm", &new]).ok();
    let events = past(&since, &[format!("container={id}")]);
    let actions = actions(&events);
    // Signals of a stop with no time to wait differ between versions.
    let kept: Vec<_> = actions
        .iter()
        .map(String::as_str)
        .filter(|a| *a != "kill")
        .collect();
    let wanted = [
        "create", "start", "die", "stop", "start", "restart", "rename", "resize", "die", "stop",
        "destroy",
    ];
    assert_eq!(kept, wanted);
    let find = |action: &str| {
        events
            .iter()
            .find(|event| event["Action"] == action)
            .unwrap()
    };
    assert_eq!(
        find("rename")["Actor"]["Attributes"]["oldName"],
        format!("/{name}")
    );
    assert_eq!(find("resize")["Actor"]["Attributes"]["height"], "40");
}

#[test]
fn live() {
    let (name, since) = (unique("live"), now());
    let create = ["create", "--rm", "--name", &name, "busybox", "true"];
    shared().docker(create).ok();
    let filter = format!("container={name}");
    let args = ["events", "--since", &since, "--filter", &filter];
    let events = shared().cli(args).args(["--format", "{{.Action}}"]);
    let mut events = events.spawn();
    // Who is told of what was is told of all that follows.
    events.wait_for("create\n");
    shared().docker(["start", "-a", &name]).ok();
    for action in ["attach", "start", "die", "destroy"] {
        events.wait_for(&format!("{action}\n"));
    }
    // The headers come before there is anything to tell.
    let stream = shared().request("GET", "/events").open();
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("Content-Type"), Some("application/json"));
}

#[test]
fn until_ends_the_stream() {
    let until = std::time::SystemTime::now() + Duration::from_secs(2);
    let until = until
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .to_string();
    shared()
        .docker(["events", "--until", &until, "--filter", "container=nosuch"])
        .ok();
    shared()
        .docker([
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "--filter",
            "image=nosuch",
        ])
        .ok();
    let bad = shared().api("GET", "/events?since=yesterday", None);
    // 20.10 answers 500 to what is the client's fault.
    assert_eq!(
        bad.status,
        if shared().is_old_dockerd() { 500 } else { 400 }
    );
    if !shared().is_old_dockerd() {
        shared()
            .api("GET", "/events?filters={%22nosuch%22:[%22x%22]}", None)
            .is(400);
    }
}

#[test]
fn images() {
    let since = now();
    let image = Image::busybox("evented:1").layer(&[("evented", 0o644, "x")]);
    shared()
        .cli(["load"])
        .stdin(image.docker_archive(Compression::None))
        .run()
        .ok();
    shared().docker(["tag", "evented:1", "evented:2"]).ok();
    shared().docker(["rmi", "evented:1"]).ok();
    shared().docker(["rmi", "evented:2"]).ok();
    let all = past(&since, &["type=image".into()]);
    let ours: Vec<_> = all
        .iter()
        .filter(|event| {
            // An untag names the image by its ID.
            event.to_string().contains("evented") || event["Action"] != "tag"
        })
        .collect();
    let actions: Vec<_> = ours
        .iter()
        .map(|event| event["Action"].as_str().unwrap())
        .collect();
    for wanted in ["tag", "untag", "delete"] {
        assert!(actions.contains(&wanted), "{wanted}: {actions:?}");
    }
    assert!(all.iter().any(|event| event["Action"] == "load"), "{all:?}");
}

#[test]
fn of_an_exec_and_of_attach() {
    let (name, since) = (unique("exec"), now());
    let id = shared().run_d(&name, ["-l", "k=v", "busybox", "sleep", "1000"]);
    shared()
        .docker(["exec", &name, "sh", "-c", "exit 3"])
        .exits(3);
    // Told when the runtime has let go of it, too: later than its client.
    let filter = [format!("container={id}")];
    testkit::eventually("the exec's end is told", PATIENCE, || {
        let told = actions(&past(&since, &filter));
        told.iter().any(|action| action == "exec_die").then_some(())
    });
    shared().docker(["exec", &name, "nosuch"]);
    let events = past(&since, &filter);
    let actions = actions(&events);
    let wanted = [
        "create",
        "start",
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
        "exec_create: nosuch ",
        "exec_start: nosuch ",
    ];
    assert_eq!(actions, wanted);
    let attribute = |n: usize, name: &str| events[n]["Actor"]["Attributes"][name].clone();
    for n in 2..5 {
        assert_eq!(attribute(n, "execID"), attribute(2, "execID"));
        assert_eq!(
            (attribute(n, "k"), attribute(n, "name")),
            ("v".into(), name.as_str().into())
        );
    }
    assert_eq!(attribute(4, "exitCode"), "3");
    shared().remove(&[&name]);
}

/// More than the daemon remembers: each of them has a long command line.
fn flood(daemon: &Daemon, container: &str) {
    let body = serde_json::json!({"Cmd": ["echo", "x".repeat(100_000)]});
    for _ in 0..80 {
        let target = format!("/containers/{container}/exec");
        daemon.api("POST", &target, Some(&body)).is(201);
    }
}

#[test]
fn a_slow_reader_is_told_of_its_gap() {
    let daemon = Daemon::start(Options::default());
    if daemon.is_old_dockerd() {
        return;
    }
    daemon.run_d("target", ["busybox", "sleep", "1000"]);
    let mut slow = daemon.request("GET", "/events").open();
    let read = ["events", "--since", "1", "--format", "{{.Action}}"];
    let filters = ["--filter", "event=start", "--filter", "event=die"];
    let mut read = daemon.cli(read).args(filters).spawn();
    read.wait_for("start");
    flood(&daemon, "target");
    daemon.docker(["kill", "target"]).ok();
    // Who reads misses nothing; who does not is told what it missed, and goes on from there.
    read.wait_for("die");
    assert!(!read.stdout().contains("gap"));
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"die\"") {
        seen.extend(slow.next(PATIENCE).unwrap().expect("it goes on"));
    }
    let lines: Vec<Value> = seen
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let gaps: Vec<_> = lines
        .iter()
        .filter(|event| event["Action"] == "gap")
        .collect();
    assert_eq!(gaps.len(), 1, "{}", gaps.len());
    let attributes = &gaps[0]["Actor"]["Attributes"];
    assert_eq!(attributes["reason"], "slow-reader");
    let missed: usize = attributes["missed"].as_str().unwrap().parse().unwrap();
    let got = lines
        .iter()
        .filter(|event| event["Action"].as_str().unwrap().starts_with("exec_create"));
    assert_eq!(got.count() + missed, 80);
    assert!(lines.is_sorted_by_key(|event| event["timeNano"].as_i64()));
    // The docker CLI shows it like any event, whatever it filters by.
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.reason}} {{.Actor.Attributes.missed}}";
    let all = daemon.cli(["events", "--since", "1", "--until", &now()]);
    let all = all
        .args(["--filter", "event=die", "--format", format])
        .run()
        .ok();
    let lines: Vec<_> = all.stdout.lines().collect();
    assert!(
        matches!(lines[..], [gap, die] if gap.starts_with("daemon gap forgotten ") && die.starts_with("container die ")),
        "{all}"
    );
}
