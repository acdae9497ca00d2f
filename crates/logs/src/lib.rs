//! What containers write: the log drivers.
//!
//! ```text
//! FIFO ── chunk ──▶ Logger: Splitter ─▶ Encoder ─▶ buffer ──job──▶ Writer ──▶ <file>, .1, .2 …
//!                                                                    │ Position        │
//!                                                                    └────▶ Reader ◀───┘
//! ```
//!
//! Drivers: `json-file` (the default), `local` and `none`.
//!
//! The two drivers that keep something differ in the form of their records ([`format`]) and in what
//! their options mean when nothing is said; the rest is one.
//!
//! **Architecture Invariant:** a log that cannot be written never stops a container. A log that
//! is slow does, by backpressure, unless the user chose `mode=non-blocking`.

mod attributes;
mod cursor;
mod decode;
mod encode;
mod error;
mod files;
mod format;
mod gzip;
mod line;
mod local;
mod logger;
mod options;
mod reader;
mod sizes;
mod splitter;
mod tail;
mod writer;

pub use attributes::{Attributes, Subject};
pub use error::{Error, Result};
pub use line::{Line, Stream};
pub use logger::{Logger, Stats};
pub use options::{DEFAULT_BUFFER, Driver, LogConfig, Mode, Options, validate};
pub use reader::{ReadOptions, Reader, log_path};
pub use splitter::MAX_LINE;

#[cfg(test)]
mod tests;
