//! One mount of a container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file or directory of the host.
    #[default]
    Bind,
    /// A volume, or a path in one.
    Volume,
    /// Memory. What is special about it stands in the client's request.
    Tmpfs,
}

impl Kind {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Volume => "volume",
            Kind::Tmpfs => "tmpfs",
        }
    }
}

/// One mount of a container, as it was resolved when the container was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// What is mounted.
    pub kind: Kind,
    /// The volume's name; empty in a request for an anonymous one.
    pub name: String,
    /// The volume's driver; empty in a request for the default one.
    pub driver: String,
    /// The user named the volume: it outlives `docker rm -v`.
    pub named: bool,
    /// The path on the host; of a volume, its data.
    pub source: PathBuf,
    /// Where it shows inside: an absolute path without `.` and `..`.
    pub destination: PathBuf,
    /// The options as given behind the second colon of `-v`.
    pub mode: String,
    /// Nothing can be written through it.
    pub read_only: bool,
    /// It is an error when mounts below cannot be made read-only.
    pub read_only_force_recursive: bool,
    /// Mounts below stay writable.
    pub read_only_non_recursive: bool,
    /// Mounts below do not show.
    pub non_recursive: bool,
    /// `rprivate`, `private`, `rshared`, `shared`, `rslave` or `slave`; empty of a volume.
    pub propagation: String,
    /// A bind's missing source is made.
    pub create_source: bool,
    /// An empty volume is filled with what the image has in its place.
    pub copy: bool,
    /// The path in the volume that is mounted; empty for all of it.
    pub subpath: PathBuf,
}
