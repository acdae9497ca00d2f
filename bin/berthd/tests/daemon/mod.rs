//! A daemon for tests, in a directory and a network namespace of its own.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub const BERTHD: &str = env!("CARGO_BIN_EXE_berthd");
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon in a directory and a network namespace of its own.
pub struct Daemon {
    pub dir: tempfile::TempDir,
    pub child: Child,
    notified: UnixDatagram,
}

impl Daemon {
    pub fn start(args: &[&str]) -> Daemon {
        Daemon::start_in(tempfile::tempdir().unwrap(), &[], args)
    }

    /// Starts it, under another command where one is given, and waits for its READY=1.
    pub fn start_in(dir: tempfile::TempDir, under: &[&str], args: &[&str]) -> Daemon {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until systemd would have been told this; the whole message.
    #[track_caller]
    pub fn expect(&self, state: &str) -> String {
        let mut buffer = [0; 512];
        loop {
            let Ok(size) = self.notified.recv(&mut buffer) else {
                panic!("no {state}; the log:\n{}", self.log());
            };
            let message = String::from_utf8_lossy(&buffer[..size]);
            if message.lines().any(|line| line == state) {
                return message.into_owned();
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
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

    pub fn containerd(&self) -> i32 {
        let text = fs::read_to_string(self.path("exec/containerd/containerd.pid")).unwrap();
        text.parse().unwrap()
    }

    #[track_caller]
    pub fn ping(&self) {
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

    /// Runs the docker CLI in the daemon's network, with flags before the command's words.
    #[track_caller]
    pub fn docker_at(&self, flags: &[&str], words: &[&str]) -> Output {
        let net = format!("--net=/proc/{}/ns/net", self.child.id());
        let mut command = Command::new("nsenter");
        command
            .args([&net, "timeout", "60", "docker"])
            .args(flags)
            .args(words);
        for name in [
            "DOCKER_HOST",
            "DOCKER_CONTEXT",
            "DOCKER_TLS_VERIFY",
            "DOCKER_CERT_PATH",
        ] {
            command.env_remove(name);
        }
        command
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What the docker CLI prints.
    #[track_caller]
    pub fn docker(&self, words: &[&str]) -> String {
        let host = format!("unix://{}", self.path("sock").display());
        let output = self.docker_at(&["-H", &host], words);
        assert!(
            output.status.success(),
            "{words:?}: {output:?}\n{}",
            self.log()
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// `berthd config …`: its exit status and what it printed.
    pub fn config(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(BERTHD);
        command
            .arg("config")
            .args(words)
            .arg("--exec-root")
            .arg(self.path("exec"));
        let Output {
            status,
            stdout,
            stderr,
        } = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    /// Replaces the configuration file.
    pub fn configure(&self, text: &str) {
        fs::write(self.path("daemon.json"), text).unwrap();
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
