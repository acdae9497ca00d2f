//! The OCI's descriptors.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// What a digest points to: the OCI's descriptor.
    pub struct OciDescriptor {
        /// What kind of thing it is.
        media_type: String = "mediaType";
        /// Its digest.
        digest: String = "digest";
        /// Its size, in bytes.
        size: i64 = "size";
        /// Where else it can be had.
        urls: Vec<String> = "urls" omit;
        /// Annotations.
        annotations: BTreeMap<String, String> = "annotations" omit;
        /// The thing itself, in base64.
        data: String = "data" omit;
        /// What it runs on.
        platform: Option<OciPlatform> = "platform" omit;
        /// What kind of artifact it is.
        artifact_type: String = "artifactType" omit;
    }

    /// What an image runs on.
    pub struct OciPlatform {
        /// `amd64`, `arm64` …
        architecture: String = "architecture";
        /// `linux` …
        os: String = "os";
        /// The operating system's version (Windows).
        os_version: String = "os.version" omit;
        /// What the operating system must be able to do (Windows).
        os_features: Vec<String> = "os.features" omit;
        /// The architecture's variant: `v8`.
        variant: String = "variant" omit;
    }

    /// An image as its registry has it: `GET /distribution/{name}/json`.
    pub struct DistributionInspect {
        /// What its name points to.
        descriptor: OciDescriptor = "Descriptor";
        /// What it runs on.
        platforms: Vec<OciPlatform> = "Platforms";
    }
}
