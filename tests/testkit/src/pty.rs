//! A real terminal for the docker CLI.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::PATIENCE;
use crate::command::wait_limited;
use crate::feed::Feed;

/// A command whose controlling terminal is a pseudo-terminal that the test holds.
#[derive(Debug)]
pub struct Pty {
    master: File,
    child: Child,
    feed: Feed,
    seen: usize,
}

impl Pty {
    /// Runs `program args…` (prepared by `prepare`, e.g. with an environment) on a new terminal of
    /// 24 × 80. `setsid` makes the terminal the controlling one, so that `^C` and resizes arrive.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Pty {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let slave = ioctl_tiocgptpeer(&master, flags).expect("the terminal's other side");
        let master = File::from(master);
        size(&master, 24, 80);
        let copy = |fd: &std::os::fd::OwnedFd| fd.try_clone().expect("dup");
        let child = command
            .stdin(copy(&slave))
            .stdout(copy(&slave))
            .stderr(copy(&slave))
            .spawn()
            .expect("the command starts");
        drop(slave);
        // The command holds the terminal's other side too: our reader would never see the end.
        drop(command);
        let feed = Feed::read(master.try_clone().expect("dup"));
        Pty {
            master,
            child,
            feed,
            seen: 0,
        }
    }

    /// Types.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.master
            .write_all(bytes.as_ref())
            .expect("the terminal takes input");
    }

    /// Changes the terminal's size; the kernel tells the foreground process (SIGWINCH).
    pub fn resize(&self, rows: u16, columns: u16) {
        size(&self.master, rows, columns);
    }

    /// Waits until `text` is on the screen after what an earlier call found.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        match self.feed.find(text, self.seen, PATIENCE) {
            Ok(after) => self.seen = after,
            Err(all) => panic!("no [{text}] on the terminal:\n{}", all.escape_debug()),
        }
    }

    /// Everything that was on the screen.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.feed.bytes()).into_owned()
    }

    /// Waits for the command's end and returns its exit code (128 + signal).
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let Some(status) = wait_limited(&mut self.child, PATIENCE) else {
            panic!(
                "still running on the terminal:\n{}",
                self.screen().escape_debug()
            );
        };
        self.feed.ended(Duration::from_secs(5));
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn size(master: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).expect("TIOCSWINSZ");
}
