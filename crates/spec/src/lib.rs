//! The OCI runtime specification of a container, as a pure function of its record, its image and
//! the host's facts.
//!
//! ```text
//! HostConfig ── validate::fill_defaults ── validate::validate_host_config      (at create)
//!                                   │
//! User::resolve (image's files)     │    Devices::resolve (/dev)    HostFacts::detect (/proc, /sys)
//!            └────────────────── Inputs ──────────┴──────────────────────────┘
//!                                   │
//!                                 build ── encode ──> bytes for containerd      (at start)
//! ```
//!
//! [`build`] touches nothing outside its arguments, so a golden test holds the specification of any
//! container on any host. What must look at the outside stands apart and is read-only: the host's
//! facts, device nodes, descriptions of CDI devices, and the image's account files (read without mounting the image).

mod build;
pub mod capabilities;
pub mod cdi;
mod device_requests;
pub mod devices;
mod error;
mod exec;
pub mod facts;
mod inputs;
pub mod modes;
mod mounts;
pub mod passwd;
mod process;
mod resources;
pub mod rootfs;
pub mod seccomp;
pub mod security;
mod tmpfs;
mod update;
pub mod validate;

pub use build::{build, default_masked_paths, default_readonly_paths, encode, encode_process};
pub use device_requests::fulfil;
pub use devices::Devices;
pub use error::{Error, Result};
pub use exec::{Exec, exec_process};
pub use facts::{CgroupVersion, HostFacts};
pub use inputs::{BindMount, Inputs};
pub use mounts::DEFAULT_SHM_SIZE;
pub use oci_spec::runtime::Spec;
pub use passwd::User;
pub use process::{DEFAULT_PATH, command, environment, merge_environment};
pub use update::{block_devices, encode_update, update, validate_update};
