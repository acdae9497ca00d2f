//! containerd through handles: [`Client`] → [`Container`] → [`Task`] → [`Process`],
//! beside the content store, images, snapshots, leases and diffs.
//!
//! A handle retains what containerd told us, so that no operation asks again for
//! what is already known; each method documents the RPCs it makes. This is the only
//! crate that knows gRPC: nothing of tonic or prost appears in its public interface.

mod client;
mod content;
mod diff;
mod image;
mod lease;
mod snapshot;
mod error;

pub use client::{Client, Endpoint};
pub use error::{Error, Result};
pub use content::{BlobInfo, Committed, Content, Descriptor, FRAME, Labels, Opened, Writer};
pub use diff::Diffs;
pub use image::{ImageRecord, ImageRecords};
pub use lease::Leases;
pub use snapshot::{Mount, SnapshotInfo, SnapshotKind, Snapshots};
