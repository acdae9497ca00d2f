//! What can be wrong with a request for a container, in Docker's own words.

use std::io;

use berth_errdefs::{Classify, Kind};

/// Why a specification cannot be built, or a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for something malformed or impossible. The text is dockerd's where
    /// dockerd has one.
    #[error("{0}")]
    Invalid(String),
    /// A change does not go together with what the container has, in dockerd's words.
    #[error("{0}")]
    Conflict(String),
    /// Berth does not do this yet. The text ends before "not supported yet": `links are`.
    #[error("{0} not supported yet")]
    Unsupported(String),
    /// A user or group is not in the image's account files. dockerd finds this out at start and
    /// calls it its own failure, not the request's.
    #[error("{0}")]
    Account(String),
    /// The host lacks something that the configuration needs, found when the specification is built.
    #[error("{0}")]
    Host(String),
    /// The root filesystem cannot be read without mounting it, or holds something unusable.
    #[error("{what}: {source}")]
    Rootfs {
        /// What was being read.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The snapshot's mounts are of a kind that only the kernel can read.
    #[error("cannot read the root filesystem without mounting it: {0}")]
    NeedsMount(String),
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Invalid`] with `message`.
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::Invalid(message.into())
    }

    /// An [`Error::Rootfs`] about `path`.
    pub(crate) fn rootfs(path: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::Rootfs {
            what: path.into(),
            source: source.into(),
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Invalid(_) => Kind::InvalidArgument,
            Error::Conflict(_) => Kind::Conflict,
            Error::Unsupported(_) => Kind::NotImplemented,
            Error::Account(_) | Error::Host(_) | Error::Rootfs { .. } | Error::NeedsMount(_) => {
                Kind::Internal
            }
        }
    }
}
