//! Commands with time limits, input, and all their output kept.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::PATIENCE;
use crate::feed::Feed;

/// What a finished command left. Its methods panic with all of it where a test's wish is not met.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 + signal where a signal ended it.
    pub code: i32,
    /// Standard output, as is.
    pub stdout_bytes: Vec<u8>,
    /// Standard output as text.
    pub stdout: String,
    /// Standard error as text.
    pub stderr: String,
}

impl Output {
    /// Fails the test unless the exit code is 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.exits(0)
    }

    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert_eq!(self.code, code, "exit code of {self}");
        self
    }

    /// Standard output without the white space around it.
    pub fn out(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard error without the white space around it.
    pub fn err(&self) -> &str {
        self.stderr.trim()
    }

    /// Fails the test unless standard error holds `text`.
    #[track_caller]
    pub fn err_has(self, text: &str) -> Output {
        assert!(
            self.stderr.contains(text),
            "no [{text}] on stderr of {self}"
        );
        self
    }

    /// Fails the test unless standard output holds `text`.
    #[track_caller]
    pub fn out_has(self, text: &str) -> Output {
        assert!(
            self.stdout.contains(text),
            "no [{text}] on stdout of {self}"
        );
        self
    }

    /// Fails the test unless standard output, trimmed, is `text`.
    #[track_caller]
    pub fn out_is(self, text: &str) -> Output {
        assert_eq!(self.out(), text, "stdout of {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output {
            command,
            code,
            stdout,
            stderr,
            ..
        } = self;
        write!(
            f,
            "{command}\n-- exit {code}\n-- stdout:\n{stdout}\n-- stderr:\n{stderr}"
        )
    }
}

/// Waits for a child with a time limit; `None` when the time is over.
pub(crate) fn wait_limited(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    let pid = Pid::from_child(child);
    if let Ok(Some(status)) = child.try_wait() {
        return Some(status);
    }
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a child not waited for is there");
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().expect("wait for a child")),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// A command line about to be run.
#[derive(Debug)]
pub struct Cli {
    command: Command,
    stdin: Option<Vec<u8>>,
    patience: Duration,
}

impl Cli {
    /// Wraps a command that is otherwise ready.
    pub fn new(command: Command) -> Cli {
        Cli {
            command,
            stdin: None,
            patience: PATIENCE,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Cli {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Cli {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Cli {
        self.command.env(name, value);
        self
    }

    /// What the command reads; without it standard input is `/dev/null`.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Cli {
        self.stdin = Some(bytes.into());
        self
    }

    /// A time limit other than [`PATIENCE`].
    pub fn patience(mut self, patience: Duration) -> Cli {
        self.patience = patience;
        self
    }

    fn line(&self) -> String {
        // The first words are nsenter's.
        let all: Vec<OsString> = std::iter::once(self.command.get_program().to_owned())
            .chain(self.command.get_args().map(OsStr::to_owned))
            .collect();
        let from = all
            .iter()
            .position(|word| word == "--")
            .map_or(0, |at| at + 1);
        let words: Vec<_> = all[from..]
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    /// Runs it to its end. Panics when the time is over.
    #[track_caller]
    pub fn run(mut self) -> Output {
        let input = self.stdin.take();
        let patience = self.patience;
        let mut running = self.start(input.is_some());
        let writer = input.and_then(|bytes| {
            let mut pipe = running.stdin.take()?;
            // A command that ends without reading its input is not an error here.
            Some(std::thread::spawn(move || drop(pipe.write_all(&bytes))))
        });
        let output = running.finish(patience);
        drop(writer);
        output
    }

    /// Starts it with a pipe as standard input.
    #[track_caller]
    pub fn spawn(self) -> Running {
        self.start(true)
    }

    fn start(mut self, piped: bool) -> Running {
        let line = self.line();
        let stdin = if piped { Stdio::piped() } else { Stdio::null() };
        let command = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let stdout = child.stdout.take().map(Feed::read).unwrap_or_default();
        let stderr = child.stderr.take().map(Feed::read).unwrap_or_default();
        let stdin = child.stdin.take();
        Running {
            line,
            child,
            stdin,
            stdout,
            stderr,
            seen: 0,
        }
    }
}

/// Runs a ready command with the usual time limit.
#[track_caller]
pub fn run_command(command: Command) -> Output {
    Cli::new(command).run()
}

/// A command that runs while the test goes on; killed when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Feed,
    stderr: Feed,
    seen: usize,
}

impl Running {
    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let pipe = self.stdin.as_mut().expect("its input is open");
        pipe.write_all(bytes.as_ref()).expect("it reads its input");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until `text` stands on its standard output, after what an earlier call found.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        match self.stdout.find(text, self.seen, PATIENCE) {
            Ok(after) => self.seen = after,
            Err(got) => {
                let stderr = String::from_utf8_lossy(&self.stderr.bytes()).into_owned();
                panic!(
                    "no [{text}] from {}:\n{got}\n-- stderr:\n{stderr}",
                    self.line
                )
            }
        }
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes()).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, with the usual time limit.
    #[track_caller]
    pub fn wait(self) -> Output {
        self.finish(PATIENCE)
    }

    /// Waits for its end; panics when `patience` is over.
    #[track_caller]
    pub fn finish(mut self, patience: Duration) -> Output {
        let status = wait_limited(&mut self.child, patience);
        // A grandchild may hold the pipes: what is there a moment later is taken.
        let grace = Duration::from_secs(if status.is_some() { 5 } else { 0 });
        self.stdout.ended(grace);
        self.stderr.ended(grace);
        let stdout_bytes = self.stdout.bytes();
        let stdout = String::from_utf8_lossy(&stdout_bytes).into_owned();
        let stderr = String::from_utf8_lossy(&self.stderr.bytes()).into_owned();
        let command = self.line.clone();
        let Some(status) = status else {
            panic!(
                "still running after {patience:?}: {command}\n-- stdout:\n{stdout}\n\
                 -- stderr:\n{stderr}"
            );
        };
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Output {
            command,
            code,
            stdout_bytes,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
