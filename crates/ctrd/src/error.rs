//! The crate's error type: what went wrong between us and containerd.

use berth_errdefs::{Classify, Kind};
use tonic::Code;

/// The longest message passed on, in bytes.
const LONGEST: usize = 16 << 10;
/// How much of a longer one is from its end, where the reason mostly stands.
const TAIL: usize = 4 << 10;

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
            message: shortened(status.message()),
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

    /// True when containerd has no snapshotter of the name that was asked for: it is neither built in
    /// nor configured any more, or did not come up. gRPC has no code for that.
    pub fn is_snapshotter_missing(&self) -> bool {
        matches!(self, Error::Rpc { kind: Kind::InvalidArgument, message, .. }
            if message.starts_with("snapshotter not loaded"))
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

/// A message without its middle where it is too long for those who read it.
fn shortened(message: &str) -> String {
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    let whole = |from: usize| (from..).find(|at| message.is_char_boundary(*at));
    let (head, tail) = (whole(LONGEST - TAIL), whole(message.len() - TAIL));
    let head = head.and_then(|end| message.get(..end)).unwrap_or_default();
    let tail = tail.and_then(|begin| message.get(begin..));
    format!("{head} […] {}", tail.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("short"), "short");
        let whole = "ä".repeat(LONGEST / 2);
        assert_eq!(shortened(&whole), whole);
        let long = format!("open x{}: file name too long", "ä".repeat(1 << 20));
        let short = shortened(&long);
        assert!(short.starts_with("open xä") && short.ends_with("ä: file name too long"));
        assert!(short.contains("ä […] ä") && short.len() <= LONGEST + 8);
    }
}
