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
    #[error("{what} {}: {}", path.display(), words(*errno))]
    Path {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The container's root file system cannot be mounted.
    #[error("cannot mount the container's file system: {what}: {}", words(*errno))]
    Mount {
        /// What was tried.
        what: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The container does not run any more.
    #[error("the container's process has ended")]
    Ended,
    /// An archive that leads out of where it is unpacked, or overwrites what it must not.
    #[error("{0}")]
    Refused(String),
    /// The archive cannot be read or written: it is broken, or who reads or writes it is gone.
    #[error("{0}")]
    Stream(#[from] std::io::Error),
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
            _ => None,
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

/// The kernel's error as Go's programs, and so Docker's, say it.
fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}
