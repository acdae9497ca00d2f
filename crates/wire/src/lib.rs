//! Docker's JSON, in the shape of the newest API version.
//!
//! The types read as leniently as Go does (`null` is the zero value, unknown names are ignored, the
//! case of names does not matter) and write what dockerd writes, down to `null` against `[]`.
//! What older API versions want differently, [`gates`] changes afterwards in the written value.
//!
//! **Architecture Invariant:** nothing here knows of HTTP, of containerd or of this daemon; what a
//! client sent is all kept, so that what inspect shows, create takes.

mod container;
mod event;
mod exec;
mod filters;
pub mod gates;
mod image;
mod network;
mod object;
#[cfg(test)]
mod sample;
pub mod stdcopy;
mod system;
#[cfg(test)]
mod tests;
mod time;
mod version;
mod volume;

pub use container::*;
pub use event::{Actor, Event};
pub use exec::{ExecCreate, ExecInspect, ExecStart, ProcessConfig};
pub use filters::{Filters, InvalidFilter};
pub use image::*;
pub use network::*;
pub use system::*;
pub use time::{ZERO_TIME, parse_time, rfc3339_nano};
pub use version::ApiVersion;
pub use volume::{Volume, VolumeCreate, VolumeList, VolumeUsage, VolumesPruned};
