//! Control groups of running containers, as the kernel shows them under `/sys/fs/cgroup` and
//! `/proc`: what a container uses, and which processes it has.
//!
//! Hosts differ: one hierarchy for all (v2), one for each controller (v1), or both (hybrid). Where
//! each controller is found is asked once ([`Host::detect`]); after that a container costs a fixed
//! number of small files and no RPC. What the files say is put into Docker's shape here, since
//! which of them there are, and what they mean, is the same question.
//!
//! Everything blocks, as file systems do; nothing panics, whatever the files hold.

mod error;
mod files;
mod group;
mod hierarchies;
mod host;
mod limit;
mod parse;
mod proc;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use error::{Error, Result};
pub use group::Group;
pub use host::{Host, Sample};
pub use limit::{DeviceLimit, Limited};
pub use proc::SystemCpu;
