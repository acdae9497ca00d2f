//! The engine: container actors and everything that happens to a container.
//!
//! The public face is [`Engine`]. Reads (list, inspect, events, info) work on published
//! snapshots and never wait; changes are messages to the one actor that owns a container
//! and go on even when the caller has gone away.

mod archive;
mod attach;
mod autostart;
mod backlog;
mod changed;
mod commit;
mod container;
mod create;
mod disk_usage;
mod engine;
mod error;
mod events;
mod exec;
mod features;
mod files;
mod info;
mod inspect;
mod list;
mod logs;
mod mounts;
mod names;
mod network;
mod networks;
mod options;
mod prune;
mod recover;
mod runtimes;
mod shared;
mod shm;
mod signals;
mod stats;
mod stdio;
mod strays;
mod table;
mod top;
mod tree;
mod versions;
mod volumes;
mod wait;
mod wrappers;

use berth_fault as fault;

pub use archive::{ByteStream, ExtractOptions};
pub use attach::{Attachment, Flow, Input, Output};
pub use commit::CommitOptions;
pub use engine::{Engine, Setup};
pub use error::{Error, Result};
pub use events::{EventStream, Events};
pub use logs::{LogLine, LogStream};
pub use networks::kept_subnets;
pub use options::{
    AttachOptions, Changed, CreateOptions, DiskUsageOptions, ListOptions, LogOptions,
    RemoveOptions, StatsOptions, StopOptions, WaitCondition,
};
pub use runtimes::{check_runtimes, ignored_options};
pub use stats::StatsStream;
pub use stdio::Chunk;
pub use wait::Waiter;
