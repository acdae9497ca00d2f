//! The engine: container actors and everything that happens to a container.
//!
//! The public face is [`Engine`]. Reads (list, inspect, events, info) work on published
//! snapshots and never wait; changes are messages to the one actor that owns a container
//! and go on even when the caller has gone away.

mod error;
mod facade;

pub use error::{Error, Result};
pub use facade::*;
