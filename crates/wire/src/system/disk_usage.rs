//! What things take on disk.

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::object::object;
use crate::volume::Volume;

object! {
    /// What is kept takes on disk: `GET /system/df`. Kinds that were not asked for are `None`.
    pub struct DiskUsage {
        /// Images.
        image_usage: Option<ImagesDiskUsage> = "ImageUsage" omit;
        /// Containers.
        container_usage: Option<ContainersDiskUsage> = "ContainerUsage" omit;
        /// Volumes.
        volume_usage: Option<VolumesDiskUsage> = "VolumeUsage" omit;
        /// The build cache.
        build_cache_usage: Option<BuildCacheDiskUsage> = "BuildCacheUsage" omit;
    }

    /// What images take on disk.
    pub struct ImagesDiskUsage {
        /// How many containers are made of.
        active_count: i64 = "ActiveCount";
        /// How many there are.
        total_count: i64 = "TotalCount";
        /// What would be free without those of which there is no container, in bytes.
        reclaimable: i64 = "Reclaimable";
        /// What all take, in bytes; what they share is counted once.
        total_size: i64 = "TotalSize";
        /// Each of them, if asked for.
        items: Vec<ImageSummary> = "Items" omit;
    }

    /// What containers take on disk, beside their images.
    pub struct ContainersDiskUsage {
        /// How many run.
        active_count: i64 = "ActiveCount";
        /// How many there are.
        total_count: i64 = "TotalCount";
        /// What would be free without those that do not run, in bytes.
        reclaimable: i64 = "Reclaimable";
        /// What all have written, in bytes.
        total_size: i64 = "TotalSize";
        /// Each of them, if asked for.
        items: Vec<ContainerSummary> = "Items" omit;
    }

    /// What volumes take on disk.
    pub struct VolumesDiskUsage {
        /// How many containers have.
        active_count: i64 = "ActiveCount";
        /// How many there are.
        total_count: i64 = "TotalCount";
        /// What would be free without those that no container has, in bytes.
        reclaimable: i64 = "Reclaimable";
        /// What all take, in bytes.
        total_size: i64 = "TotalSize";
        /// Each of them, if asked for.
        items: Vec<Volume> = "Items" omit;
    }

    /// What the build cache takes on disk: there is none.
    pub struct BuildCacheDiskUsage {
        /// How many are in use.
        active_count: i64 = "ActiveCount";
        /// How many there are.
        total_count: i64 = "TotalCount";
        /// What would be free without those that are not in use, in bytes.
        reclaimable: i64 = "Reclaimable";
        /// What all take, in bytes.
        total_size: i64 = "TotalSize";
    }
}
