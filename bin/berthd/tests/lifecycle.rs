//! A daemon from its start to its end, with a containerd of its own: signals, systemd, restarts.
//! Without a bridge, and without containers: those are in `tests/cli`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const BERTHD: &str = env!("CARGO_BIN_EXE_berthd");
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon in a directory and a network namespace of its own.
struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
    notified: UnixDatagram,
}

impl Daemon {
    fn start(args: &[&str]) -> Daemon {
        Daemon::start_in(tempfile::tempdir().unwrap(), &[], args)
    }

    /// Starts it, under another command where one is given, and waits for its READY=1.
    fn start_in(dir: tempfile::TempDir, under: &[&str], args: &[&str]) -> Daemon {
        let path = |name: &str| dir.path().join(name);
        let _ = fs::remove_file(path("notify"));
        let notified = UnixDatagram::bind(path("notify")).unwrap();
        notified.set_read_timeout(Some(PATIENCE)).unwrap();
        if !path("daemon.json").exists() {
            fs::write(path("daemon.json"), "{}").unwrap();
        }
        let mut words = vec!["unshare", "--net", "--"];
        words.extend(under);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(path("log"))
            .unwrap();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(BERTHD).arg("--bridge=none");
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--config-file", "daemon.json"),
        ] {
            command.arg(flag).arg(path(name));
        }
        if !args.iter().any(|arg| arg.starts_with("fd://")) {
            command
                .arg("-H")
                .arg(format!("unix://{}", path("sock").display()));
        }
        command
            .args(args)
            .env("NOTIFY_SOCKET", path("notify"))
            .stdin(Stdio::null());
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Daemon {
            dir,
            child,
            notified,
        };
        daemon.expect("READY=1");
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until systemd would have been told this.
    #[track_caller]
    fn expect(&self, state: &str) {
        let mut buffer = [0; 512];
        loop {
            let Ok(size) = self.notified.recv(&mut buffer) else {
                panic!("no {state}; the log:\n{}", self.log());
            };
            if String::from_utf8_lossy(&buffer[..size])
                .lines()
                .any(|line| line == state)
            {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "it does not end; the log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn containerd(&self) -> i32 {
        let text = fs::read_to_string(self.path("exec/containerd/containerd.pid")).unwrap();
        text.parse().unwrap()
    }

    #[track_caller]
    fn ping(&self) {
        let mut stream = UnixStream::connect(self.path("sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("OK"),
            "{answer}"
        );
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Whatever is left of its containerd has our directory in its command line.
        let config = self.path("exec/containerd/containerd.toml");
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let ours = line
                .split(|byte| *byte == 0)
                .any(|word| Path::new(std::str::from_utf8(word).unwrap_or("")) == config);
            let pid = entry
                .file_name()
                .to_string_lossy()
                .parse()
                .ok()
                .and_then(Pid::from_raw);
            if let (true, Some(pid)) = (ours, pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

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
fn sighup_reloads_and_a_bad_file_changes_nothing() {
    let daemon = Daemon::start(&[]);
    fs::write(
        daemon.path("daemon.json"),
        r#"{"labels": ["a=b"], "mtu": 1400}"#,
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    daemon.expect("RELOADING=1");
    daemon.expect("READY=1");
    let log = daemon.log();
    assert!(
        log.contains("msg=\"reloaded configuration\" applied=labels"),
        "{log}"
    );
    assert!(log.contains("take a restart\" keys=mtu"), "{log}");
    fs::write(daemon.path("daemon.json"), "{").unwrap();
    daemon.signal(Signal::HUP);
    daemon.expect("RELOADING=1");
    daemon.expect("READY=1");
    assert!(daemon.log().contains("configuration not reloaded"));
    daemon.ping();
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
