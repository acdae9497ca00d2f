//! One container: an actor that owns it, a snapshot that everybody reads.

pub(crate) mod actor;
pub(crate) mod force;
pub(crate) mod handle;
pub(crate) mod health;
pub(crate) mod prepare;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod restart;
pub(crate) mod start;
pub(crate) mod state;
mod step;
pub(crate) mod teardown;
