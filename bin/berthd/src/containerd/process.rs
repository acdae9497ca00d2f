//! The process of the daemon's own containerd, held by pidfd: its number is never trusted twice.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

/// Gives containerd the soft limit of open files that we were started with.
const WITH_LIMIT: &str = "ulimit -S -n \"$1\"; shift; exec \"$@\"";

/// A running containerd, our child or not.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    child: Option<Child>,
}

impl Process {
    /// Starts `binary`. It gets a process group of its own, so that a Ctrl-C for the daemon is
    /// not for it, and writes to a file, so that it does not end with the daemon's pipes.
    pub(super) fn spawn(
        binary: &Path,
        config: &Path,
        open_files: Option<u64>,
        log: File,
    ) -> io::Result<Process> {
        let limit = open_files.map_or("unlimited".to_owned(), |files| files.to_string());
        let child = Command::new("/bin/sh")
            .args(["-c", WITH_LIMIT, "sh", &limit])
            .arg(binary)
            .arg("--config")
            .arg(config)
            .current_dir("/")
            .process_group(0)
            // It must not speak to systemd in our name.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = Pid::from_child(&child);
        // Nobody has waited for it, so the number is still its.
        let pidfd = ready(pidfd_open(pid, PidfdFlags::empty())?)?;
        Ok(Process {
            pid,
            pidfd,
            child: Some(child),
        })
    }

    /// The process that `pidfile` names, if it is a containerd with this configuration.
    pub(super) fn adopt(pidfile: &Path, config: &Path) -> Option<Process> {
        let text = std::fs::read_to_string(pidfile).ok()?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after the pidfd was opened: what is seen is what is held, or it has ended.
        if !runs_with(pid, config) {
            return None;
        }
        Some(Process {
            pid,
            pidfd: ready(pidfd).ok()?,
            child: None,
        })
    }

    /// Its number, for people.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits until it has ended, and tells how, where that can be known.
    pub(super) async fn ended(&mut self) -> String {
        if let Err(error) = self.pidfd.readable().await {
            return format!("it cannot be waited for: {error}");
        }
        match self.child.as_mut().map(Child::wait) {
            Some(Ok(status)) => status.to_string(),
            // An earlier daemon's child: how it ended is not told to us.
            _ => "unknown".to_owned(),
        }
    }

    /// Asks it to end and waits; after `limit` it is killed.
    pub(super) async fn stop(&mut self, limit: Duration) {
        for signal in [Signal::TERM, Signal::KILL] {
            if pidfd_send_signal(self.pidfd.get_ref(), signal).is_err() {
                // It has ended already.
                break;
            }
            if timeout(limit, self.ended()).await.is_ok() {
                return;
            }
            tracing::warn!(pid = self.pid(), "containerd does not stop");
        }
        let _ = timeout(limit, self.ended()).await;
    }
}

/// An open file that can be waited for.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; an OwnedFd's does not"
)]
pub(super) fn ready(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Whether the process was started with `--config <config>`.
pub(super) fn runs_with(pid: Pid, config: &Path) -> bool {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let Ok(line) = std::fs::read(path) else {
        return false;
    };
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let config = config.as_os_str().as_encoded_bytes();
    words
        .windows(2)
        .any(|pair| pair == [b"--config".as_slice(), config])
}

/// Looks a program up in `$PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}
