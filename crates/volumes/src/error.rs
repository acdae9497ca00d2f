use std::io;
use std::path::{Path, PathBuf};

use berth_errdefs::{Classify, Kind};

/// What can go wrong with volumes. The messages are dockerd's own where it has one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name, an option or a mount is malformed or contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// Berth does not do this yet; says what `is` or `are` not.
    #[error("{0} not supported yet")]
    Unsupported(String),
    /// The kernel did not mount a volume. Passwords are not told.
    #[error("failed to mount local volume: mount {device}:{}, {options}: {source}", target.display())]
    Mount {
        /// What was to be mounted.
        device: String,
        /// Where.
        target: PathBuf,
        /// `flags: 0x…` and `data: …`, as far as there are any.
        options: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A path in a volume is not there or may not be reached.
    #[error("cannot access path {}: {source}", path.display())]
    NotAccessible {
        /// The path.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A path in a volume leads out of it.
    #[error(
        "path concatenation escapes the base directory, base: {}, subpath: {}", base.display(), subpath.display()
    )]
    Escapes {
        /// The volume's directory.
        base: PathBuf,
        /// What was asked for in it.
        subpath: PathBuf,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, a bare verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// The result of an operation on volumes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::Invalid(message.into())
    }

    /// For `map_err`: the operating system's error with what was being done to what.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Invalid(_) | Error::NotAccessible { .. } | Error::Escapes { .. } => {
                Kind::InvalidArgument
            }
            Error::Unsupported(_) => Kind::NotImplemented,
            Error::Mount { .. } | Error::Io { .. } => Kind::Internal,
        }
    }
}
