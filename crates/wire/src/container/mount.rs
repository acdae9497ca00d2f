//! Mounts as clients ask for them, in the long form.

use std::collections::BTreeMap;

use crate::object::object;

/// Docker's name of [`MountRequest`].
pub type Mount = MountRequest;

object! {
    /// A mount that a client asks for: `--mount`.
    pub struct MountRequest {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe` or `cluster`.
        kind: String = "Type" omit;
        /// The path on the host, or the volume's or image's name.
        source: String = "Source" omit;
        /// Where it shows in the container.
        target: String = "Target" omit;
        /// Nothing can be written to it.
        read_only: bool = "ReadOnly" omit;
        /// `default`, `consistent`, `cached` or `delegated` (Mac).
        consistency: String = "Consistency" omit;
        /// Options of `bind`.
        bind_options: Option<BindOptions> = "BindOptions" omit;
        /// Options of `volume`.
        volume_options: Option<VolumeOptions> = "VolumeOptions" omit;
        /// Options of `image`.
        image_options: Option<ImageOptions> = "ImageOptions" omit;
        /// Options of `tmpfs`.
        tmpfs_options: Option<TmpfsOptions> = "TmpfsOptions" omit;
        /// Options of `cluster`: it has none.
        cluster_options: Option<BTreeMap<String, serde_json::Value>> = "ClusterOptions" omit;
    }

    /// Options of a bind mount.
    pub struct BindOptions {
        /// `rprivate`, `private`, `rshared`, `shared`, `rslave` or `slave`.
        propagation: String = "Propagation" omit;
        /// Mounts below the source do not show.
        non_recursive: bool = "NonRecursive" omit;
        /// The source is made when it is not there.
        create_mountpoint: bool = "CreateMountpoint" omit;
        /// Mounts below the source stay writable under a read-only one.
        read_only_non_recursive: bool = "ReadOnlyNonRecursive" omit;
        /// It is an error when mounts below the source cannot be made read-only.
        read_only_force_recursive: bool = "ReadOnlyForceRecursive" omit;
    }

    /// Options of a volume mount.
    pub struct VolumeOptions {
        /// The volume is not filled with what the image has there.
        no_copy: bool = "NoCopy" omit;
        /// Labels of a volume that is made.
        labels: BTreeMap<String, String> = "Labels" omit;
        /// A path in the volume that is mounted in its place.
        subpath: String = "Subpath" omit;
        /// The driver of a volume that is made.
        driver_config: Option<MountDriver> = "DriverConfig" omit;
    }

    /// The driver of a volume.
    pub struct MountDriver {
        /// Its name.
        name: String = "Name" omit;
        /// Its options.
        options: BTreeMap<String, String> = "Options" omit;
    }

    /// Options of an image mount.
    pub struct ImageOptions {
        /// A path in the image that is mounted in its place.
        subpath: String = "Subpath" omit;
    }

    /// Options of a tmpfs mount.
    pub struct TmpfsOptions {
        /// Its size, in bytes; 0 for no limit.
        size_bytes: i64 = "SizeBytes" omit;
        /// The mode of its root; 0 for 1777.
        mode: u32 = "Mode" omit;
        /// More options: `["noexec"]`, `["uid", "1000"]`.
        options: Vec<Vec<String>> = "Options" omit;
    }
}
