use std::path::Path;

use jiff::Timestamp;

use crate::{LogConfig, ReadOptions, Reader, Result, Stream, Subject};

/// One run's log.
#[derive(Clone, Debug)]
pub struct Logger {}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines that `mode=non-blocking` dropped because the buffer was full.
    pub dropped: u64,
    /// Bytes of records that could not be written (disk full, I/O error).
    pub lost: u64,
}

impl Logger {
    /// Opens the log at `path` (see [`crate::log_path`]); appends when it exists. Blocks for the opening of a file.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::InvalidOption`] (a bad tag template or regular expression).
    pub fn open(config: &LogConfig, path: &Path, subject: &Subject<'_>) -> Result<Self> {
        unimplemented!()
    }

    /// Logs what was read from the container at `time`; waits while the buffer is full (blocking mode).
    pub async fn write(&self, stream: Stream, chunk: &[u8], time: Timestamp) {
        unimplemented!()
    }

    /// All output was handed over: writes unterminated lines, waits until all is in the file, ends the followers.
    ///
    /// # Errors
    /// [`crate::Error::CloseTimeout`].
    pub async fn close(&self, time: Timestamp) -> Result<()> {
        unimplemented!()
    }

    /// Reads this log, what was handed over before this call included.
    ///
    /// # Errors
    /// [`crate::Error::ReadUnsupported`].
    pub fn read(&self, options: ReadOptions) -> Result<Reader> {
        unimplemented!()
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }
}
