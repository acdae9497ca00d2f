//! A daemon from its start to its end, with a containerd of its own: signals, systemd, restarts.
//! Without a bridge, and without containers: those are in `tests/cli`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::{Daemon, PATIENCE};
use rustix::process::Signal;

fn is_running(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

#[test]
fn it_serves_and_ends_on_sigterm_leaving_nothing() {
    let mut daemon = Daemon::start(&[]);
    daemon.ping();
    assert_eq!(
        fs::read_to_string(daemon.path("pid")).unwrap(),
        daemon.child.id().to_string()
    );
    let containerd = daemon.containerd();
    daemon.signal(Signal::TERM);
    daemon.expect("STOPPING=1");
    assert!(daemon.ended().success(), "{}", daemon.log());
    assert!(!is_running(containerd));
    for gone in [
        "pid",
        "sock",
        "exec/containerd/containerd.sock",
        "exec/containerd/containerd.pid",
    ] {
        assert!(!daemon.path(gone).exists(), "{gone}");
    }
}

#[test]
fn a_second_sigterm_forces() {
    let mut daemon = Daemon::start(&[]);
    // A request under way, which the first one waits for.
    let mut slow = UnixStream::connect(daemon.path("sock")).unwrap();
    slow.write_all(b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 99\r\n\r\nx")
        .unwrap();
    // One after it is answered: so the daemon has taken the first one in.
    daemon.ping();
    daemon.signal(Signal::TERM);
    daemon.expect("STOPPING=1");
    assert!(
        daemon.child.try_wait().unwrap().is_none(),
        "it did not wait"
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(128 + 15), "{}", daemon.log());
    assert!(daemon.log().contains("forcing shutdown"));
}

#[test]
fn a_killed_daemon_leaves_its_containerd_to_the_next() {
    let mut daemon = Daemon::start(&[]);
    let containerd = daemon.containerd();
    daemon.signal(Signal::KILL);
    daemon.ended();
    assert!(is_running(containerd));
    // The directory lives on; the process is the next daemon's.
    let dir = std::mem::replace(&mut daemon.dir, tempfile::tempdir().unwrap());
    let next = Daemon::start_in(dir, &[], &[]);
    next.ping();
    assert_eq!(next.containerd(), containerd);
    let mut next = next;
    next.signal(Signal::INT);
    assert!(next.ended().success());
    assert!(!is_running(containerd));
}

#[test]
fn systemd_passes_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let listen = socket.display().to_string();
    let under = [
        "systemd-socket-activate",
        "--setenv=NOTIFY_SOCKET",
        "--fdname=api",
        "--listen",
        &listen,
    ];
    // It starts the daemon at the first connection, which is answered when all is up.
    let client = std::thread::spawn(move || {
        let since = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(since.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let mut daemon = Daemon::start_in(dir, &under, &["--host", "fd://api"]);
    assert!(client.join().unwrap().ends_with("OK"));
    daemon.ping();
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success(), "{}", daemon.log());
    assert!(daemon.path("sock").exists(), "the socket is systemd's");
}

#[test]
fn containerd_serves_metrics_where_asked() {
    let daemon = Daemon::start(&["--containerd-metrics-address", "127.0.0.1:1338"]);
    let text = fs::read_to_string(daemon.path("exec/containerd/containerd.toml")).unwrap();
    assert!(text.contains("[metrics]\n  address = \"127.0.0.1:1338\"\n  grpc_histogram = true\n"));
    // Under `unshare` there is one process: its network is the daemon's.
    let net = format!("--net=/proc/{}/ns/net", daemon.child.id());
    let up = Command::new("nsenter")
        .args([&net, "ip", "link", "set", "lo", "up"])
        .status()
        .unwrap();
    assert!(up.success());
    let output = Command::new("nsenter")
        .args([&net, "curl", "-sf", "http://127.0.0.1:1338/v1/metrics"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("grpc_server_started_total"));
}
