//! containerd through handles: [`Client`] → [`Container`] → [`Task`] → [`Process`],
//! beside the content store, images, snapshots, leases and diffs.
//!
//! A handle retains what containerd told us, so that no operation asks again for
//! what is already known; each method documents the RPCs it makes. This is the only
//! crate that knows gRPC: nothing of tonic or prost appears in its public interface.

mod client;
mod container;
mod content;
mod diff;
mod error;
mod event;
mod image;
pub mod io;
mod lease;
mod process;
mod runtime;
mod snapshot;
mod snapshotter;
mod task;

pub use client::{Client, Endpoint};
pub use container::{Container, NewContainer, TaskInfo};
pub use content::{BlobInfo, Committed, Content, Descriptor, FRAME, Labels, Opened, Writer};
pub use diff::Diffs;
pub use error::{Error, Result};
pub use event::Event;
pub use image::{ImageRecord, ImageRecords};
pub use io::{FifoSet, Streams};
pub use lease::Leases;
pub use process::Process;
pub use runtime::{GenericOptions, RuncOptions, Runtime, RuntimeOptions};
pub use snapshot::{Mount, SnapshotInfo, SnapshotKind, Snapshots};
pub use snapshotter::Snapshotter;
pub use task::{ExitStatus, Status, Task};
