//! Clients that hang up in the middle of a request leave whole changes behind, or none.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;
use testkit::{Compression, Daemon, Image, Leaks, Options, PATIENCE, eventually, shared, unique};

/// Sends a request and hangs up at once.
fn hang_up(daemon: &Daemon, method: &str, target: &str, body: &str) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon listens");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("it reads");
}

#[test]
fn during_create_and_start() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    let body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"]}).to_string();
    for n in 0..10 {
        hang_up(
            &daemon,
            "POST",
            &format!("/containers/create?name=h{n}"),
            &body,
        );
    }
    for n in 10..20 {
        let name = format!("h{n}");
        daemon
            .docker(["create", "--name", &name, "busybox", "sleep", "1000"])
            .ok();
        hang_up(&daemon, "POST", &format!("/containers/{name}/start"), "");
    }
    // Each is whole or not there, and can be started, or is running, and can be removed.
    for n in 0..20 {
        let target = format!("/containers/h{n}");
        let seen = eventually("it is no longer starting", PATIENCE, || {
            let answer = daemon.api("GET", &format!("{target}/json"), None);
            match answer.status {
                404 => Some(false),
                _ => ["created", "running", "exited"]
                    .iter()
                    .any(|s| answer.json()["State"]["Status"] == *s)
                    .then_some(true),
            }
        });
        if seen {
            let started = daemon.api("POST", &format!("{target}/start"), None);
            assert!(matches!(started.status, 204 | 304), "{}", started.text());
        }
    }
    let ids = daemon.docker(["ps", "-aq"]).ok();
    let ids: Vec<_> = ids.stdout.lines().collect();
    assert!(ids.len() >= 10, "{ids:?}");
    daemon.remove(&ids);
    before.settle(&daemon, PATIENCE);
}

#[test]
fn during_remove() {
    let daemon = Daemon::start(Options::default());
    daemon.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = Leaks::count(&daemon);
    for n in 0..6 {
        let name = format!("r{n}");
        daemon.run_d(&name, ["busybox", "sleep", "1000"]);
        hang_up(
            &daemon,
            "DELETE",
            &format!("/containers/{name}?force=1"),
            "",
        );
    }
    for n in 0..6 {
        let name = format!("r{n}");
        eventually("it is gone, or can be removed", PATIENCE, || {
            let answer = daemon.api("DELETE", &format!("/containers/{name}?force=1"), None);
            (answer.status == 404).then_some(())
        });
    }
    before.settle(&daemon, PATIENCE);
}

#[test]
fn of_streams_frees_them() {
    let daemon = Daemon::start(Options::default());
    daemon.run_d(
        "talks",
        [
            "busybox",
            "sh",
            "-c",
            "while :; do echo x; usleep 20000; done",
        ],
    );
    let descriptors = || {
        let dir = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        dir.count()
    };
    daemon.docker(["logs", "talks"]).ok();
    let before = descriptors();
    for _ in 0..10 {
        let logs = daemon
            .request("GET", "/containers/talks/logs?stdout=1&follow=1")
            .open();
        let events = daemon.request("GET", "/events").open();
        let wait = daemon.request("POST", "/containers/talks/wait").open();
        let attach = daemon
            .request("POST", "/containers/talks/attach?stream=1&stdout=1")
            .upgrade()
            .open();
        drop((logs, events, wait, attach));
    }
    if daemon.is_old_dockerd() {
        return; // It leaves the closing of some to its garbage collector.
    }
    eventually("their descriptors are closed", PATIENCE, || {
        (descriptors() <= before + 3).then_some(())
    });
    daemon.docker(["rm", "-f", "talks"]).ok();
}

#[test]
fn in_the_middle_of_a_load() {
    let archive = Image::busybox("half:1")
        .layer(&[("half", 0o644, "x")])
        .docker_archive(Compression::None);
    let mut stream = UnixStream::connect(shared().socket()).unwrap();
    let head = format!(
        "POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        archive.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&archive[..archive.len() / 3]).unwrap();
    drop(stream);
    // Nothing of it is there; a whole one is loaded.
    shared().api("GET", "/images/half:1/json", None).is(404);
    shared()
        .cli(["load"])
        .stdin(archive)
        .run()
        .ok()
        .out_is("Loaded image: half:1");
    shared().docker(["rmi", "half:1"]).ok();
}

#[test]
fn in_the_middle_of_a_body() {
    let name = unique("cut");
    let mut stream = UnixStream::connect(shared().socket()).unwrap();
    let head = format!(
        "POST /containers/create?name={name} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{{\"Image\":\"busybox\""
    );
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    shared()
        .api("GET", &format!("/containers/{name}/json"), None)
        .is(404);
    shared().docker(["create", "--name", &name, "busybox"]).ok();
    shared().remove(&[&name]);
}

#[test]
fn a_slow_client_holds_up_nobody() {
    // A request that never ends, and readers that never read.
    let mut slow = UnixStream::connect(shared().socket()).unwrap();
    slow.write_all(b"GET /containers/json HT").unwrap();
    let name = unique("flood");
    shared().run_d(
        &name,
        [
            "busybox",
            "sh",
            "-c",
            "yes 0123456789 | head -c 8000000; sleep 1000",
        ],
    );
    let target = format!("/containers/{name}/logs?stdout=1&follow=1");
    let stuck = shared().request("GET", &target).open();
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        shared().api("GET", "/containers/json", None).is(200);
    }
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    drop((slow, stuck));
    shared().remove(&[&name]);
}
