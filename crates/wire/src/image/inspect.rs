//! An image in full.

use super::list::ManifestSummary;
use super::{ImageConfig, OciDescriptor};
use crate::container::DriverData;
use crate::object::object;

object! {
    /// An image in full: `GET /images/{name}/json`.
    pub struct ImageInspect {
        /// Its ID: the digest of its manifest or index.
        id: String = "Id";
        /// Its names with tags.
        repo_tags: Vec<String> = "RepoTags";
        /// Its names with digests.
        repo_digests: Vec<String> = "RepoDigests";
        /// What its maker said of it.
        comment: String = "Comment" omit;
        /// When it was built, RFC 3339; empty when it is not known.
        created: String = "Created" omit;
        /// Who made it.
        author: String = "Author" omit;
        /// What its containers run by default.
        config: Option<ImageConfig> = "Config";
        /// `amd64`, `arm64` …
        architecture: String = "Architecture";
        /// The architecture's variant: `v8`.
        variant: String = "Variant" omit;
        /// `linux` …
        os: String = "Os";
        /// The operating system's version (Windows).
        os_version: String = "OsVersion" omit;
        /// What it takes on disk, in bytes.
        size: i64 = "Size";
        /// The storage driver's data; `None` with a snapshotter.
        graph_driver: Option<DriverData> = "GraphDriver" omit;
        /// Its layers.
        root_fs: RootFs = "RootFS";
        /// What is known of it here alone.
        metadata: ImageMetadata = "Metadata";
        /// What its ID points to.
        descriptor: Option<OciDescriptor> = "Descriptor" omit;
        /// The manifests of its platforms, if asked for.
        manifests: Vec<ManifestSummary> = "Manifests" omit;
    }

    /// The layers of an image.
    pub struct RootFs {
        /// `layers`.
        kind: String = "Type";
        /// The digests of the uncompressed layers, from the base up.
        layers: Vec<String> = "Layers" omit;
    }

    /// What is known of an image here alone.
    pub struct ImageMetadata {
        /// When its names changed last, RFC 3339.
        last_tag_time: String = "LastTagTime" time;
    }
}
