//! Volumes: the local driver, and which mounts a client asked for.
//!
//! ```text
//! -v, --mount, VOLUME ─▶ request ─▶ MountPoint ──▶ OCI mount
//!                                      │ source
//! volume create -o … ─▶ MountOptions ──┴─▶ mount(2) on <volumes>/<name>/_data ─▶ subpath
//! ```
//!
//! What is kept of a volume, and who uses it, is the engine's; here is what a volume may be called,
//! what its options mean, and what is done with the kernel for it. Everything that touches the
//! file system blocks.
//!
//! **Architecture Invariant:** no path that a client names leads out of a volume: subpaths are
//! resolved by the kernel beneath the volume, and what was found is pinned before it is used.

mod error;
mod mount;
mod name;
mod options;
mod point;
mod request;
mod size;
mod subpath;

pub use error::{Error, Result};
pub use mount::{mount, mounted_below, unmount};
pub use name::check_name;
pub use options::MountOptions;
pub use point::{Kind, MountPoint};
pub use request::{Request, VolumesFrom, clean, requests};
pub use size::disk_usage;
pub use subpath::{pin, unpin};

/// The driver that there is.
pub const DRIVER: &str = "local";

/// Docker's mark on volumes that nobody named.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// The folder of a volume's data in the volume's own.
pub const DATA: &str = "_data";
