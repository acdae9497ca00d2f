//! Volumes.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// A volume.
    pub struct Volume {
        /// When it was created, RFC 3339.
        created_at: String = "CreatedAt" omit;
        /// Its driver: `local`.
        driver: String = "Driver";
        /// Its labels.
        labels: BTreeMap<String, String> = "Labels" null;
        /// Where its data is on the host.
        mountpoint: String = "Mountpoint";
        /// Its name.
        name: String = "Name";
        /// Options of its driver.
        options: BTreeMap<String, String> = "Options" null;
        /// `local`: it is on this host only.
        scope: String = "Scope";
        /// What it takes on disk; only where that is asked for.
        usage_data: Option<VolumeUsage> = "UsageData" omit;
    }

    /// What a volume takes on disk.
    pub struct VolumeUsage {
        /// How many containers have it.
        ref_count: i64 = "RefCount";
        /// Bytes.
        size: i64 = "Size";
    }

    /// A volume that is to be made.
    pub struct VolumeCreate {
        /// Its name; empty for one that nobody names.
        name: String = "Name" omit;
        /// Its driver; empty for the default one.
        driver: String = "Driver" omit;
        /// Options of the driver.
        driver_opts: BTreeMap<String, String> = "DriverOpts" omit;
        /// Its labels.
        labels: BTreeMap<String, String> = "Labels" omit;
        /// A volume of a swarm's.
        cluster_volume_spec: Option<serde_json::Value> = "ClusterVolumeSpec" omit;
    }

    /// `GET /volumes`.
    pub struct VolumeList {
        /// The volumes.
        volumes: Vec<Volume> = "Volumes";
        /// What is wrong with some.
        warnings: Vec<String> = "Warnings" null;
    }

    /// What `POST /volumes/prune` has removed.
    pub struct VolumesPruned {
        /// The names.
        volumes_deleted: Vec<String> = "VolumesDeleted";
        /// Bytes on the disk that are free again.
        space_reclaimed: u64 = "SpaceReclaimed";
    }
}
