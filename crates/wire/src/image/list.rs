//! Images in lists, and what becomes of them.

use std::collections::BTreeMap;

use super::{OciDescriptor, OciPlatform};
use crate::object::object;

object! {
    /// An image in a list: `GET /images/json`.
    pub struct ImageSummary {
        /// How many containers use it; -1 when that was not counted.
        containers: i64 = "Containers";
        /// When it was built, in seconds since 1970.
        created: i64 = "Created";
        /// Its ID: the digest of its manifest or index.
        id: String = "Id";
        /// Its labels.
        labels: BTreeMap<String, String> = "Labels" null;
        /// The image it was built on, by the classic builder; empty for none.
        parent_id: String = "ParentId";
        /// What its ID points to.
        descriptor: Option<OciDescriptor> = "Descriptor" omit;
        /// The manifests of its platforms, if asked for.
        manifests: Vec<ManifestSummary> = "Manifests" omit;
        /// Its names with digests.
        repo_digests: Vec<String> = "RepoDigests";
        /// Its names with tags.
        repo_tags: Vec<String> = "RepoTags";
        /// The size of what other images have too, in bytes; -1 when that was not counted.
        shared_size: i64 = "SharedSize";
        /// What it takes on disk, in bytes.
        size: i64 = "Size";
        /// The same once more, for API versions before 1.44.
        virtual_size: Option<i64> = "VirtualSize" omit;
    }

    /// One manifest of an image.
    pub struct ManifestSummary {
        /// Its digest.
        id: String = "ID";
        /// What the digest points to.
        descriptor: OciDescriptor = "Descriptor";
        /// All of it is here.
        available: bool = "Available";
        /// What it takes on disk.
        size: ManifestSize = "Size";
        /// `image`, `attestation` or `unknown`.
        kind: String = "Kind";
        /// With `image`: what is known of the image.
        image_data: Option<ImageData> = "ImageData" omit;
        /// With `attestation`: what is known of it.
        attestation_data: Option<AttestationData> = "AttestationData" omit;
    }

    /// What a manifest takes on disk.
    pub struct ManifestSize {
        /// Its blobs, in bytes.
        content: i64 = "Content";
        /// Blobs and unpacked layers, in bytes.
        total: i64 = "Total";
    }

    /// What is known of an image's manifest.
    pub struct ImageData {
        /// What it runs on.
        platform: OciPlatform = "Platform";
        /// The containers that use it, by ID.
        containers: Vec<String> = "Containers";
        /// Its layers' size.
        size: ImageDataSize = "Size";
    }

    /// The size of an image's layers.
    pub struct ImageDataSize {
        /// Unpacked, in bytes.
        unpacked: i64 = "Unpacked";
    }

    /// What is known of an attestation's manifest.
    pub struct AttestationData {
        /// The digest of the image that it is about.
        about: String = "For";
    }

    /// One statement about an image: `GET /images/{name}/attestations`.
    pub struct AttestationStatement {
        /// Where it lies.
        descriptor: OciDescriptor = "Descriptor";
        /// What kind of statement it is: in-toto's predicate type.
        predicate_type: String = "PredicateType";
        /// The statement, if asked for.
        statement: Option<serde_json::Value> = "Statement" omit;
    }

    /// One thing that went when an image was removed.
    pub struct ImageDeleteItem {
        /// A name that was taken off.
        untagged: String = "Untagged" omit;
        /// An image that was removed.
        deleted: String = "Deleted" omit;
    }

    /// What pruning images removed.
    pub struct ImagesPruned {
        /// Names that were taken off and images that were removed.
        images_deleted: Vec<ImageDeleteItem> = "ImagesDeleted" null;
        /// What they took on disk, in bytes.
        space_reclaimed: i64 = "SpaceReclaimed";
    }

    /// One step of how an image came about.
    pub struct ImageHistoryItem {
        /// The image's ID for the newest step, `<missing>` for the others.
        id: String = "Id";
        /// When, in seconds since 1970.
        created: i64 = "Created";
        /// By what command.
        created_by: String = "CreatedBy";
        /// The image's tags for the newest step.
        tags: Vec<String> = "Tags" null;
        /// The size of the step's layer, in bytes.
        size: i64 = "Size";
        /// A comment.
        comment: String = "Comment";
    }
}
