use std::io;
use std::path::PathBuf;

use berth_errdefs::{Classify, Kind};

/// What can go wrong with control groups.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the kernel's could not be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A limit could not be set.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file says something else than it should.
    #[error("{}: not understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The process is in no cgroup of the container: it has ended, or never was the container's.
    #[error("process {pid} is in no control group of the container")]
    NotThere {
        /// The process.
        pid: u32,
    },
}

/// The result of looking at control groups.
pub type Result<T> = std::result::Result<T, Error>;

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotThere { .. } => Kind::NotFound,
            Self::Read { .. } | Self::Write { .. } | Self::Malformed { .. } => Kind::Internal,
        }
    }
}
