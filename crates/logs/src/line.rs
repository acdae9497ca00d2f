use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;

use crate::Attributes;

/// Which of a container's streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output; everything, when the container has a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The stream's name in the log file and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a container's output, or a piece of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it came from.
    pub stream: Stream,
    /// When it was read from the container; all pieces of one long line carry the first's time.
    pub time: Timestamp,
    /// Whether this is a piece that does not end its line. Then `bytes` has no newline at its end;
    /// otherwise it has.
    pub partial: bool,
    /// The text as the container wrote it, its newline included. What was read back from a log
    /// file is UTF-8.
    pub bytes: Bytes,
    /// The labels and variables that the user asked to keep with each line (`docker logs
    /// --details`). Only what was read from a log file has them.
    pub attrs: Option<Attributes>,
}
