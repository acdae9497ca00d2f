//! Why a request failed.

use berth_errdefs::{Classify, Kind};

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A request that failed: what the client is told, and what kind of failure it is.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::InvalidArgument, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    /// Something that Docker does and Berth does not do yet; `what` starts the sentence.
    pub(crate) fn unsupported(what: &str) -> Error {
        Error::new(
            Kind::NotImplemented,
            format!("{what} is not supported yet by Berth"),
        )
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<berth_engine::Error> for Error {
    fn from(error: berth_engine::Error) -> Error {
        Error::new(error.kind(), error.to_string())
    }
}

impl From<berth_images::Error> for Error {
    fn from(error: berth_images::Error) -> Error {
        Error::new(error.kind(), error.to_string())
    }
}

impl From<berth_registry::Error> for Error {
    fn from(error: berth_registry::Error) -> Error {
        Error::new(error.kind(), error.to_string())
    }
}
