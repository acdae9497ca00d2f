//! What can go wrong between us and a registry, in dockerd's words.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use berth_errdefs::{Classify, Kind};

/// A failed exchange with a registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request did not get through, or its answer did not get back.
    #[error("{method} \"{url}\": {reason}")]
    Transport {
        /// `Get`, `Head` or `Post`, as Go's HTTP client writes them.
        method: &'static str,
        /// Where to, without query or credentials.
        url: String,
        /// Why not.
        reason: String,
        /// True when a time limit passed.
        timeout: bool,
    },
    /// The registry has no such manifest.
    #[error("manifest for {reference} not found: manifest unknown: {detail}")]
    ManifestUnknown {
        /// The image as Docker shows it, with tag or digest.
        reference: String,
        /// The registry's own words.
        detail: String,
    },
    /// The registry has no such repository.
    #[error("repository {repository} not found: name unknown: {detail}")]
    NameUnknown {
        /// The repository as Docker shows it.
        repository: String,
        /// The registry's own words.
        detail: String,
    },
    /// The registry has no such blob.
    #[error("blob {0} not found: blob unknown to registry")]
    BlobUnknown(String),
    /// The registry does not let us in; it does not say whether the repository exists.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require 'docker login': {detail}"
    )]
    Denied {
        /// The repository as Docker shows it.
        repository: String,
        /// The registry's own words.
        detail: String,
    },
    /// The registry takes nothing from us.
    #[error("push access denied, repository does not exist or may require authorization: {0}")]
    PushDenied(String),
    /// The credentials were refused.
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    /// Credentials that were to be tried are refused; dockerd's whole sentence.
    #[error("{0}")]
    LoginRefused(String),
    /// A search term that is none.
    #[error("{0}")]
    Term(String),
    /// The registry limits how often we may ask.
    #[error("toomanyrequests: {text}")]
    TooMany {
        /// The registry's own words.
        text: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// The registry answered something else than success.
    #[error("{0}")]
    Status(String),
    /// The registry itself failed; it may not the next time.
    #[error("{text}")]
    Server {
        /// What it said.
        text: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// The registry's answer makes no sense.
    #[error("{0}")]
    Protocol(String),
    /// What arrived is not what was asked for.
    #[error("{subject}: digest mismatch: expected {expected}, got {actual}")]
    Digest {
        /// What was fetched.
        subject: String,
        /// The digest asked for.
        expected: String,
        /// The digest of what arrived.
        actual: String,
    },
    /// The HTTP client could not be set up.
    #[error("HTTP client: {0}")]
    Setup(String),
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Transport { timeout: true, .. } => Kind::DeadlineExceeded,
            // dockerd answers 500 to an unreachable registry, and clients rely on the text alone.
            Error::Transport { .. } | Error::Status(_) | Error::Server { .. } => Kind::Internal,
            Error::Protocol(_) | Error::Digest { .. } | Error::Setup(_) => Kind::Internal,
            // dockerd answers 404 to both: the repository may well not exist.
            Error::ManifestUnknown { .. }
            | Error::NameUnknown { .. }
            | Error::BlobUnknown(_)
            | Error::Denied { .. } => Kind::NotFound,
            Error::Unauthorized(_) | Error::LoginRefused(_) => Kind::Unauthorized,
            Error::TooMany { .. } => Kind::Unavailable,
            Error::Term(_) => Kind::InvalidArgument,
            Error::PushDenied(_) => Kind::Forbidden,
        }
    }
}

impl Error {
    /// True when trying again may help: the connection or the registry broke, not the
    /// conversation.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Error::Transport { .. } | Error::TooMany { .. } | Error::Server { .. }
        )
    }

    /// How long the registry wants to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::TooMany { after, .. } | Error::Server { after, .. } => *after,
            _ => None,
        }
    }

    /// Puts an HTTP client's failure into the words of Go's HTTP client, which users search for.
    pub(crate) fn transport(method: &'static str, url: &reqwest::Url, e: &reqwest::Error) -> Error {
        Error::Transport {
            method,
            url: printable(url),
            reason: reason(url, e),
            timeout: e.is_timeout(),
        }
    }

    /// What Go's HTTP client says when no answer came in time.
    pub(crate) const NO_ANSWER: &str =
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)";

    /// The other end took longer than it may.
    pub(crate) fn slow(method: &'static str, url: &reqwest::Url, reason: String) -> Error {
        Error::Transport {
            method,
            url: printable(url),
            reason,
            timeout: true,
        }
    }

    /// True when nobody listens there at all, so that another protocol will not help.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Error::Transport { reason, .. } if reason.contains("connection refused"))
    }
}

/// The address without what may be secret in it: user, password, query.
pub(crate) fn printable(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn reason(url: &reqwest::Url, e: &reqwest::Error) -> String {
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    if let Some(cause) = io_cause(e) {
        match cause.kind() {
            io::ErrorKind::ConnectionRefused => {
                return format!("dial tcp {address}: connect: connection refused");
            }
            io::ErrorKind::HostUnreachable => {
                return format!("dial tcp {address}: connect: no route to host");
            }
            io::ErrorKind::NetworkUnreachable => {
                return format!("dial tcp {address}: connect: network is unreachable");
            }
            io::ErrorKind::ConnectionReset => {
                return format!("read tcp {address}: read: connection reset by peer");
            }
            io::ErrorKind::TimedOut => return format!("dial tcp {address}: i/o timeout"),
            io::ErrorKind::UnexpectedEof => return "unexpected EOF".to_owned(),
            _ => {}
        }
    }
    let root = root_cause(e);
    if root.contains("UnknownIssuer") || root.contains("CaUsedAsEndEntity") {
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
            .to_owned();
    }
    if root.contains("InvalidContentType") {
        return "http: server gave HTTP response to HTTPS client".to_owned();
    }
    if root.contains("lookup address information") {
        return format!("dial tcp: lookup {host}: no such host");
    }
    if e.is_timeout() && e.is_connect() {
        return format!("dial tcp {address}: i/o timeout");
    }
    if e.is_timeout() {
        return Error::NO_ANSWER.to_owned();
    }
    root
}

fn io_cause<'a>(e: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut at = Some(e);
    let mut found = None;
    while let Some(error) = at {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            found = Some(io);
        }
        at = error.source();
    }
    found
}

fn root_cause(e: &dyn StdError) -> String {
    let mut at = e;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
