//! The crate's error type: what went wrong between us and containerd.

use berth_errdefs::{Classify, Kind};
use tonic::Code;

/// A failed exchange with containerd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd answered the call with an error.
    #[error("{message}")]
    Rpc {
        /// The method, e.g. `Tasks.Create`.
        method: &'static str,
        /// What containerd's gRPC code means.
        kind: Kind,
        /// The object exists already (`AlreadyExists`), which many callers take as success.
        exists: bool,
        /// containerd's own words.
        message: String,
    },
    /// The connection to containerd could not be made or broke during the call.
    #[error("containerd is not reachable: {0}")]
    Unreachable(String),
    /// containerd did not answer in time.
    #[error("containerd did not answer {method} within {seconds} s")]
    Timeout {
        /// The method, e.g. `Tasks.Create`.
        method: &'static str,
        /// The limit that passed, in seconds.
        seconds: u64,
    },
    /// containerd answered something that makes no sense.
    #[error("{method}: unexpected answer from containerd: {what}")]
    Protocol {
        /// The method, e.g. `Tasks.Create`.
        method: &'static str,
        /// What was wrong with the answer.
        what: String,
    },
    /// A local file or FIFO failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, e.g. `open FIFO /run/…`.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Classifies a gRPC status that `method` answered. Only the code is used:
    /// containerd's `details` are empty.
    pub(crate) fn from_status(method: &'static str, status: tonic::Status) -> Error {
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::InvalidArgument | Code::OutOfRange => Kind::InvalidArgument,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Kind::Conflict,
            Code::Unavailable => return Error::Unreachable(status.message().to_owned()),
            Code::Unimplemented => Kind::NotImplemented,
            Code::PermissionDenied => Kind::Forbidden,
            Code::Unauthenticated => Kind::Unauthorized,
            // tonic reports a connection that broke under a call as Unknown or Cancelled with a transport
            // source; hyper, one that broke before the call was sent, in these words. containerd's own
            // are "context canceled".
            Code::Unknown | Code::Cancelled
                if std::error::Error::source(&status).is_some()
                    || status.message() == "operation was canceled" =>
            {
                return Error::Unreachable(status.message().to_owned());
            }
            Code::Cancelled => Kind::Cancelled,
            Code::DeadlineExceeded => Kind::DeadlineExceeded,
            _ => Kind::Internal,
        };
        Error::Rpc {
            method,
            kind,
            exists: status.code() == Code::AlreadyExists,
            message: status.message().to_owned(),
        }
    }

    /// True when containerd says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Kind::NotFound
    }

    /// True when containerd says that the object exists already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::Rpc { exists: true, .. })
    }

    /// True when containerd says that there is no room on its disk. gRPC has no code for that.
    pub fn is_out_of_space(&self) -> bool {
        let full = ["no space left on device", "disk quota exceeded"];
        matches!(self, Error::Rpc { message, .. } if full.iter().any(|words| message.contains(words)))
    }

    /// True when containerd itself is away, so that the call is worth repeating once it is back.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Error::Unreachable(_))
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Rpc { kind, .. } => *kind,
            Error::Unreachable(_) => Kind::Unavailable,
            Error::Timeout { .. } => Kind::DeadlineExceeded,
            Error::Protocol { .. } | Error::Io { .. } => Kind::Internal,
        }
    }
}
