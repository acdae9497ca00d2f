//! What containers write: the log drivers.
//!
//! ```text
//! FIFO ── Bytes ──▶ Splitter ── Line ──▶ Logger ──queue──▶ JsonFile ──▶ <id>-json.log, .1, .2 …
//!                                          │ Follow (new data, rotation, end)       │
//!                                          └────────────────────▶ Reader ◀──────────┘
//! ```
//!
//! A [`Line`] is a slice of the buffer that was read from the container, up to where its text is
//! escaped into the file's buffer: nothing is copied in between, so attach subscribers can have
//! clones of the same lines for the price of a reference count.
//!
//! Drivers: `json-file` (the default) and `none`.
//!
//! **Architecture Invariant:** a log that cannot be written never stops a container. A log that
//! is slow does, by backpressure, unless the user chose `mode=non-blocking`.

mod attributes;
mod decode;
mod encode;
mod error;
mod line;
mod logger;
mod options;
mod reader;
mod sizes;
mod splitter;

pub use attributes::{Attributes, Subject};
pub use error::{Error, Result};
pub use line::{Line, Stream};
pub use logger::{Logger, Stats};
pub use options::{DEFAULT_BUFFER, Driver, LogConfig, Mode, Options, validate};
pub use reader::{ReadOptions, Reader, log_path};
