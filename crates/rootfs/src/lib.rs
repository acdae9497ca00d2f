//! Trees of containers: mounted out of sight, walked without leaving them, copied, packed and unpacked.
//!
//! A [`View`] is a container's root file system, with the mounts that count as its files, as one
//! detached mount tree: no mount table ever shows it, and it goes with its last descriptor,
//! however the daemon ends. Everything below works relative to descriptors and takes one
//! component at a time or has the kernel resolve inside the root (`openat2`), so nothing outside
//! is reached, also while the container changes the tree underneath.
//!
//! Everything here blocks.

mod assembly;
mod changes;
mod copy;
mod entry;
mod error;
mod member;
mod pack;
mod unpack;
mod upper;
mod view;
mod walk;

pub use assembly::{Base, Bind, Layer};
pub use changes::{Change, ChangeKind, Written, changes, pack_changes, upper_dir};
pub use copy::copy;
pub use entry::{Entry, Stat};
pub use error::{Error, Result};
pub use pack::{Naming, pack};
pub use unpack::{Unpacking, unpack};
pub use upper::{Upper, remove};
pub use view::View;
pub use walk::{Step, Walk};
