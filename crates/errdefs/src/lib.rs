//! What kind of failure an error is, apart from any protocol.
//!
//! Every crate has its own error enum and tells the [`Kind`] of each variant
//! through [`Classify`]. The only place that turns a kind into an HTTP status is
//! `berth-api`; the only place that turns a gRPC code into a kind is `berth-ctrd`.

use std::error::Error;

/// The kind of a failure: what a caller can do about it.
///
/// The names follow containerd's `errdefs`, which Docker's API errors also map to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller asked for something malformed or impossible.
    InvalidArgument,
    /// The named object does not exist.
    NotFound,
    /// The request contradicts the object's present state.
    Conflict,
    /// The object is already in the state that was asked for.
    NotModified,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The caller may not do this at all.
    Forbidden,
    /// Something that the request depends on cannot be reached now; trying again may help.
    Unavailable,
    /// Berth does not do this (yet).
    NotImplemented,
    /// The operation was cancelled before it finished.
    Cancelled,
    /// The operation's time limit passed.
    DeadlineExceeded,
    /// Everything else: a failure on our side or in what we depend on.
    Internal,
}

/// An error that tells its [`Kind`].
pub trait Classify: Error + Send + Sync + 'static {
    /// The kind of this failure.
    fn kind(&self) -> Kind;
}
