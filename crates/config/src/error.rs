//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use berth_errdefs::{Classify, Kind};

/// A configuration that cannot be used; each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be used.
    #[error("unable to configure the Docker daemon with file {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A file could not be read.
    #[error("{what}: {message}", message = plain(source))]
    Io {
        /// What was done, in dockerd's words: `open /etc/docker/daemon.json`.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not the JSON text of an object.
    #[error("{0}")]
    Syntax(String),
    /// The file has keys that no option has.
    #[error("the following directives don't match any configuration option: {}", .0.join(", "))]
    UnknownKeys(Vec<String>),
    /// Options were given both ways.
    #[error(
        "the following directives are specified both as a flag and in the configuration file: {}",
        .0.join(", ")
    )]
    Conflicts(Vec<String>),
    /// An option of dockerd's that Berth does not honour.
    #[error("the option \"{key}\" is not supported: {why}")]
    Unsupported {
        /// The option's key in the file.
        key: &'static str,
        /// Why not, or what to do.
        why: String,
    },
    /// A value that its option does not take; the message is whole.
    #[error("{0}")]
    Invalid(String),
    /// The file is wrong in itself.
    #[error("configuration validation from file failed ({0})")]
    FromFile(Box<Error>),
    /// The file's and the flags' values do not go together.
    #[error("merged configuration validation from file and command line flags failed ({0})")]
    Merged(Box<Error>),
    /// A client asked for a runtime that is not there.
    #[error("unknown or invalid runtime name: {0}")]
    UnknownRuntime(String),
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::Invalid(message.into())
    }

    /// True when a configuration file that nobody asked for is simply not there.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::File { source, .. } => source.kind(),
            Error::FromFile(source) | Error::Merged(source) => source.kind(),
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::PermissionDenied => Kind::Forbidden,
                _ => Kind::Internal,
            },
            Error::Unsupported { .. } => Kind::NotImplemented,
            _ => Kind::InvalidArgument,
        }
    }
}

/// The system's words without Rust's `(os error 2)`, in lower case as Go has them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
