use std::io;
use std::path::{Path, PathBuf};

use berth_errdefs::{Classify, Kind};

/// What can go wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such record.
    #[error("no record at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The record's bytes are not the JSON that was expected: cut short, garbled, or of another
    /// shape.
    #[error("record {} is damaged: {reason}", path.display())]
    Corrupt {
        /// The record's file.
        path: PathBuf,
        /// The decoder's words.
        reason: String,
    },
    /// The value cannot be told in JSON (a map with keys that are no strings, for instance).
    #[error("cannot encode record {}: {reason}", path.display())]
    Encode {
        /// The file it was meant for.
        path: PathBuf,
        /// The encoder's words.
        reason: String,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, a bare verb: `write`, `rename`, …
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Not an identifier of 64 lower-case hexadecimal digits. Checked before any path is made.
    #[error("invalid ID {0:?}: must be 64 lower-case hexadecimal digits")]
    InvalidId(String),
    /// Not a plain file name. Checked before any path is made.
    #[error("invalid record name {0:?}")]
    InvalidName(String),
}

/// The result of an operation on records.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: wraps the operating system's error with what was being done to what.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Whether the disk (or the quota) is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } => Kind::NotFound,
            Self::InvalidId(_) | Self::InvalidName(_) => Kind::InvalidArgument,
            Self::Corrupt { .. } | Self::Encode { .. } | Self::Io { .. } => Kind::Internal,
        }
    }
}
