//! The engine's error: a message that the client prints and what kind of failure it is.

use berth_errdefs::{Classify, Kind};

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation. The message is contract: Docker's clients print it and some match on it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// An error of `kind` with Docker's wording.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }

    /// The caller asked for something malformed or impossible.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::InvalidArgument, message)
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    /// The request contradicts the object's state.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, message)
    }

    /// A failure on our side.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    /// Takes over a lower crate's error: its words and its kind.
    pub fn from_lower(error: impl Classify) -> Error {
        Error::new(error.kind(), error.to_string())
    }

    /// The same failure with `prefix: ` before its words.
    pub fn context(self, prefix: impl std::fmt::Display) -> Error {
        Error {
            kind: self.kind,
            message: format!("{prefix}: {}", self.message),
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        self.kind
    }
}
