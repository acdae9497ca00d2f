//! Docker's Engine API over the engine: the only crate that knows HTTP.
//!
//! A request comes in over a [connection](connection), has its version taken off and gated, finds
//! its handler in the [table of routes](routes) and is answered by it. One endpoint is one file
//! that mirrors its path. A handler reads parameters as dockerd reads them, calls the engine
//! once and words the answer; what an answer of the newest API version looks like is known to
//! `berth-wire`, which also gates it down for older clients.
//!
//! **Architecture Invariant:** the table from kinds of failure to HTTP statuses is
//! `status.rs`, and there is no other.
//!
//! **Architecture Invariant:** nothing here changes anything. A handler's future is dropped when
//! its client goes away; changes are the engine's and go on.

mod absent;
mod accept;
mod auth;
mod body;
mod connection;
mod containers;
mod context;
mod distribution;
mod error;
mod exec;
mod framing;
mod hijack;
mod images;
mod listener;
mod networks;
mod pattern;
mod query;
mod reply;
mod routes;
mod server;
mod status;
mod stream;
mod system;
mod time;
mod version;
mod volumes;

pub use error::{Error, Result};
pub use listener::{Listener, Secure};
pub use server::serve;
