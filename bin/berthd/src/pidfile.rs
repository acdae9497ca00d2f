//! The daemon's pidfile.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::lock;

/// Why there is no pidfile; both are whole lines.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "failed to start daemon, ensure docker is not running or delete {path}: {why}",
        path = path.display()
    )]
    Held { path: PathBuf, why: String },
    #[error(
        "failed to write the pidfile {path}: {why}",
        path = path.display(), why = crate::listeners::plain(source)
    )]
    Io { path: PathBuf, source: io::Error },
}

/// The pidfile of this process; gone when dropped.
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    file: File,
}

impl Pidfile {
    /// Writes this process's number to `path`, unless a running process's stands there.
    pub(crate) fn write(path: &Path) -> Result<Pidfile, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(io)?;
        }
        // Locking a FIFO or a device would be no use, and opening one may hang.
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Err(io(io::Error::other("not a regular file")));
        }
        let Some(mut file) = lock::hold(path, 0o644).map_err(io)? else {
            let why = match std::fs::read_to_string(path)
                .ok()
                .and_then(|text| number(&text))
            {
                Some(pid) => format!("process with PID {pid} is still running"),
                None => "another daemon is starting".to_owned(),
            };
            return Err(Error::Held {
                path: path.to_owned(),
                why,
            });
        };
        let mut text = String::new();
        // What is no text is no number either.
        let _ = Read::by_ref(&mut file).take(64).read_to_string(&mut text);
        if let Some(pid) = number(&text)
            && pid != std::process::id()
            && is_running(pid)
        {
            let why = format!("process with PID {pid} is still running");
            return Err(Error::Held {
                path: path.to_owned(),
                why,
            });
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        write!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Pidfile {
            path: path.to_owned(),
            file,
        })
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if lock::is_at(&self.file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Whether a process of this number runs. One that ends, or has ended and waits for its parent,
/// has no program any more; a daemon can start while the kernel still clears up after another.
fn is_running(pid: u32) -> bool {
    match std::fs::read_link(format!("/proc/{pid}/exe")) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn it_holds_our_number_and_goes_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/berth.pid");
        let pidfile = Pidfile::write(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_place_where_none_can_be_is_told() {
        let message = Pidfile::write(Path::new("/proc/nope/pid")).unwrap_err();
        assert_eq!(
            message.to_string(),
            "failed to write the pidfile /proc/nope/pid: no such file or directory"
        );
    }

    #[test]
    fn a_running_process_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.pid");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        std::fs::write(&path, format!("{}\n", child.id())).unwrap();
        let message = Pidfile::write(&path).unwrap_err().to_string();
        let wanted = format!(
            "failed to start daemon, ensure docker is not running or delete {}: process with PID {} is still running",
            path.display(),
            child.id()
        );
        assert_eq!(message, wanted);
        child.kill().unwrap();
        // Not waited for yet: a zombie, which runs no more.
        while is_running(child.id()) {
            std::thread::yield_now();
        }
        let pidfile = Pidfile::write(&path).unwrap();
        child.wait().unwrap();
        // A second daemon finds it locked.
        let message = Pidfile::write(&path).unwrap_err().to_string();
        assert!(message.ends_with("is still running"), "{message}");
        drop(pidfile);
    }

    #[test]
    fn what_is_stale_or_no_number_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.pid");
        // Longer than ours, so that a rest would show.
        for text in ["", "junk, and quite a lot of it", "0", "4194304000", "-1"] {
            std::fs::write(&path, text).unwrap();
            let _pidfile = Pidfile::write(&path).unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                std::process::id().to_string()
            );
        }
    }

    #[test]
    fn another_ones_pidfile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.pid");
        let pidfile = Pidfile::write(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "1").unwrap();
        drop(pidfile);
        assert!(path.exists());
    }
}
