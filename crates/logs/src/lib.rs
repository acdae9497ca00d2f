//! What containers write: the log drivers.
//!
//! ```text
//! FIFO ── chunk ──▶ Logger: Splitter ─▶ Encoder ─▶ buffer ──job──▶ Writer ──▶ <id>-json.log, .1, .2 …
//!                                                                    │ Position        │
//!                                                                    └────▶ Reader ◀───┘
//! ```
//!
//! Drivers: `json-file` (the default) and `none`.
//!
//! **Architecture Invariant:** a log that cannot be written never stops a container. A log that
//! is slow does, by backpressure, unless the user chose `mode=non-blocking`.

mod attributes;
mod cursor;
mod decode;
mod encode;
mod error;
mod files;
mod gzip;
mod line;
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
