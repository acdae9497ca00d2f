use std::io;
use std::path::{Path, PathBuf};

use berth_errdefs::{Classify, Kind};

/// What can go wrong with logs. The messages are dockerd's own where it has one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such driver: neither built in nor a plugin.
    #[error("error looking up logging plugin {0}: plugin \"{0}\" not found")]
    UnknownDriver(String),
    /// A log option's name or value is wrong; the text is dockerd's.
    #[error("{0}")]
    InvalidOption(String),
    /// The container's driver keeps nothing that could be read (`none`).
    #[error("configured logging driver does not support reading")]
    ReadUnsupported,
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, a bare verb.
        action: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The writer has ended; what was handed to it after that is not in the log.
    #[error("logger is closed")]
    Closed,
    /// The lines handed over were not all written within the time limit.
    #[error("timed out writing the last log lines")]
    CloseTimeout,
}

/// The result of an operation on logs.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: wraps the operating system's error with what was being done to what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            // dockerd answers 400 to a create with an unknown driver or option.
            Self::UnknownDriver(_) | Self::InvalidOption(_) => Kind::InvalidArgument,
            Self::ReadUnsupported => Kind::NotImplemented,
            Self::Closed => Kind::Unavailable,
            Self::CloseTimeout => Kind::DeadlineExceeded,
            Self::Io { .. } => Kind::Internal,
        }
    }
}
