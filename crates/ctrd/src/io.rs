//! Standard streams over FIFOs: the shim holds one end, we the other.
//!
//! ```text
//! us: Sender ──> stdin FIFO ──> shim ──> process ──> shim ──> stdout FIFO ──> Receiver: us
//! ```
//!
//! The shim keeps both ends of the output FIFOs open while the process lives, so that our going
//! away (a crash, an upgrade) neither ends the process nor loses more than nothing: what it
//! writes waits in the FIFO until we open it again with [`FifoSet::open`].

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use tokio::net::unix::pipe;

use crate::{Error, Result};

/// The writing end of a process's standard input.
pub type Sender = pipe::Sender;
/// The reading end of what a process writes.
pub type Receiver = pipe::Receiver;

/// The paths of a process's FIFOs. With a terminal there is no stderr: the terminal has one
/// output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FifoSet {
    directory: PathBuf,
    name: String,
    stdin: bool,
    terminal: bool,
}

/// Our ends of a process's standard streams.
#[derive(Debug)]
pub struct Streams {
    /// Standard input, where the process has one.
    pub stdin: Option<Sender>,
    /// Standard output, or the terminal's output.
    pub stdout: Receiver,
    /// Standard error; `None` with a terminal.
    pub stderr: Option<Receiver>,
}

impl FifoSet {
    /// The FIFOs `<directory>/<name>-stdin`, `…-stdout` and `…-stderr`. Touches nothing.
    pub fn new(directory: &Path, name: &str, stdin: bool, terminal: bool) -> FifoSet {
        FifoSet {
            directory: directory.to_owned(),
            name: name.to_owned(),
            stdin,
            terminal,
        }
    }

    /// Makes the FIFOs and opens our ends. To be called before the task or process is made; read
    /// only after that, since a FIFO that nobody has opened for writing reads as ended.
    ///
    /// # Errors
    /// The system's, e.g. a full disk or no such directory.
    pub fn create(&self) -> Result<Streams> {
        for stream in self.streams() {
            let path = self.path(stream);
            let made = rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
            match made {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(failed("make FIFO", &path, errno.into())),
            }
        }
        self.open()
    }

    /// Opens our ends of FIFOs that exist, of a process that runs already.
    ///
    /// # Errors
    /// The system's; `NotFound` when the FIFOs are gone.
    pub fn open(&self) -> Result<Streams> {
        let receiver = |stream: &str| {
            let path = self.path(stream);
            pipe::OpenOptions::new()
                .open_receiver(&path)
                .map_err(|e| failed("open FIFO", &path, e))
        };
        let stdin = if self.stdin {
            let path = self.path("stdin");
            // Read-write, because opening a FIFO only to write fails until there is a reader.
            let opened = pipe::OpenOptions::new().read_write(true).open_sender(&path);
            Some(opened.map_err(|e| failed("open FIFO", &path, e))?)
        } else {
            None
        };
        let stderr = if self.terminal {
            None
        } else {
            Some(receiver("stderr")?)
        };
        Ok(Streams {
            stdin,
            stdout: receiver("stdout")?,
            stderr,
        })
    }

    /// Has whoever reads the output come to its end although nobody has written since it was opened.
    /// Who still writes is not disturbed, and what is there is read first.
    pub fn hang_up(&self) {
        for stream in self.streams().filter(|name| *name != "stdin") {
            // Not open for reading, it needs no end.
            let _ = pipe::OpenOptions::new().open_sender(self.path(stream));
        }
    }

    /// Removes the FIFOs; what is missing is no error.
    ///
    /// # Errors
    /// The first of the system's errors, after all were tried.
    pub fn remove(&self) -> Result<()> {
        let mut first = Ok(());
        for stream in self.streams() {
            let path = self.path(stream);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if first.is_ok() => first = Err(failed("remove FIFO", &path, e)),
                Err(_) => {}
            }
        }
        first
    }

    pub(crate) fn stdin_path(&self) -> String {
        if self.stdin {
            self.text("stdin")
        } else {
            String::new()
        }
    }

    pub(crate) fn stdout_path(&self) -> String {
        self.text("stdout")
    }

    pub(crate) fn stderr_path(&self) -> String {
        if self.terminal {
            String::new()
        } else {
            self.text("stderr")
        }
    }

    pub(crate) fn terminal(&self) -> bool {
        self.terminal
    }

    fn streams(&self) -> impl Iterator<Item = &'static str> {
        let (stdin, stderr) = (self.stdin, !self.terminal);
        [(stdin, "stdin"), (true, "stdout"), (stderr, "stderr")]
            .into_iter()
            .filter_map(|(wanted, stream)| wanted.then_some(stream))
    }

    fn path(&self, stream: &str) -> PathBuf {
        self.directory.join(format!("{}-{stream}", self.name))
    }

    fn text(&self, stream: &str) -> String {
        self.path(stream).to_string_lossy().into_owned()
    }
}

fn failed(what: &str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        what: format!("{what} {}", path.display()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn fifos_carry_data_and_are_removed() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let fifos = FifoSet::new(dir.path(), "init", true, false);
        let mut streams = fifos.create()?;
        let mut shim_out = pipe::OpenOptions::new().open_sender(dir.path().join("init-stdout"))?;
        shim_out.write_all(b"hello").await?;
        let mut got = [0; 5];
        streams.stdout.read_exact(&mut got).await?;
        assert_eq!(&got, b"hello");

        let mut shim_in = pipe::OpenOptions::new().open_receiver(dir.path().join("init-stdin"))?;
        let mut stdin = streams.stdin.take().ok_or("no stdin")?;
        stdin.write_all(b"typed").await?;
        drop(stdin);
        let mut all = Vec::new();
        shim_in.read_to_end(&mut all).await?;
        assert_eq!(all, b"typed");

        fifos.remove()?;
        fifos.remove()?;
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 0);
        Ok(())
    }

    #[tokio::test]
    async fn a_terminal_has_one_output() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let fifos = FifoSet::new(dir.path(), "init", false, true);
        let streams = fifos.create()?;
        assert!(streams.stdin.is_none() && streams.stderr.is_none());
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 1);
        assert!(fifos.stdin_path().is_empty() && fifos.stderr_path().is_empty());
        Ok(())
    }

    #[tokio::test]
    async fn a_reader_that_comes_after_the_last_writer_is_told_of_the_end()
    -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let fifos = FifoSet::new(dir.path(), "init", false, false);
        let mut streams = fifos.create()?;
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            streams.stdout.read_to_end(&mut got).await.map(|_| got)
        });
        // It may not have begun to wait yet.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        fifos.hang_up();
        let limit = std::time::Duration::from_secs(30);
        assert!(tokio::time::timeout(limit, reading).await???.is_empty());
        Ok(())
    }

    #[tokio::test]
    async fn reopening_keeps_what_was_written_meanwhile() -> Result<(), Box<dyn std::error::Error>>
    {
        let dir = tempfile::tempdir()?;
        let fifos = FifoSet::new(dir.path(), "init", false, true);
        let first = fifos.create()?;
        // The shim holds both ends.
        let path = dir.path().join("init-stdout");
        let mut shim = pipe::OpenOptions::new()
            .read_write(true)
            .open_sender(&path)?;
        drop(first);
        shim.write_all(b"while you were out").await?;
        let mut again = fifos.open()?;
        let mut got = [0; 18];
        again.stdout.read_exact(&mut got).await?;
        assert_eq!(&got, b"while you were out");
        Ok(())
    }
}
