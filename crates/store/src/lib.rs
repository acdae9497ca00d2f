//! Atomic JSON records on disk.
//!
//! A record is one JSON object in one file. [`write_json`] replaces it in one step: whoever
//! reads sees the old record or the new one, never half of one, whatever happens in between
//! (a full disk, an I/O error, `kill -9`). [`Records`] is a directory of folders, one an
//! object, each with its records: `<root>/<id>/<file>`.
//!
//! The calls block. A record is a few KiB, so [`Durability::Renamed`] costs tens of
//! microseconds and may be called where it is needed; [`Durability::Synced`] waits for the disk
//! (milliseconds) and belongs on a blocking thread.
//!
//! **Architecture Invariant:** this crate knows nothing of what is in a record.

mod error;
mod json;
mod records;
mod removal;

pub use error::{Error, Result};
pub use json::{Durability, read_json, write_json};
pub use records::{Loaded, Quarantined, Records};

#[cfg(test)]
mod tests;
