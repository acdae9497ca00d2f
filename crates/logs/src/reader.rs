use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::{Line, LogConfig, Result};

/// Which lines to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// The last so many lines of the log, before any other choice, as dockerd does; `None`: all.
    pub tail: Option<u64>,
    /// Only lines of this time or later.
    pub since: Option<Timestamp>,
    /// Only lines of this time or earlier.
    pub until: Option<Timestamp>,
    /// Go on with what is written from now on, till the logger closes (or `until`).
    pub follow: bool,
}

/// A log's lines, oldest first.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Reads the log of a container that is not running, from its files. `follow` has no effect.
    ///
    /// # Errors
    /// [`crate::Error::ReadUnsupported`].
    pub fn open(config: &LogConfig, path: &Path, options: ReadOptions) -> Result<Self> {
        unimplemented!()
    }

    /// The next line; `None` at the end. An error ends the stream. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Line>> {
        unimplemented!()
    }
}

/// Where a container's log is: inspect's `LogPath` for the json-file driver.
#[must_use]
pub fn log_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}-json.log"))
}
