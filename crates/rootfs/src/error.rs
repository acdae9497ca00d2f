//! What can go wrong in a container's tree.

use std::path::PathBuf;

use berth_errdefs::{Classify, Kind};
use rustix::io::Errno;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure in a container's tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed; the path is as seen from inside the container.
    #[error("{what} {}: {errno}", path.display())]
    Path {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The container's root file system cannot be mounted.
    #[error("cannot mount the container's file system: {what}: {errno}")]
    Mount {
        /// What was tried.
        what: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The container does not run any more.
    #[error("the container's process has ended")]
    Ended,
    /// The thread that puts mounts together could not do its work.
    #[error("{0}")]
    Thread(String),
}

impl Error {
    pub(crate) fn at(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Error {
        let path = path.into();
        move |errno| Error::Path { what, path, errno }
    }

    pub(crate) fn mount(what: impl Into<String>) -> impl FnOnce(Errno) -> Error {
        let what = what.into();
        move |errno| Error::Mount { what, errno }
    }

    /// What the kernel said, where it was asked.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Path { errno, .. } | Error::Mount { errno, .. } => Some(*errno),
            Error::Ended | Error::Thread(_) => None,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Path {
                errno: Errno::NOENT,
                ..
            } => Kind::NotFound,
            Error::Ended => Kind::Conflict,
            _ => Kind::Internal,
        }
    }
}
