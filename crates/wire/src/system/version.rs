//! The versions of the daemon and of its parts.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// The versions of the daemon and of its parts: `GET /version`.
    pub struct VersionInfo {
        /// The product.
        platform: PlatformName = "Platform";
        /// The daemon, containerd, runc …
        components: Vec<Component> = "Components" omit;
        /// The daemon's version.
        version: String = "Version";
        /// The newest API version.
        api_version: String = "ApiVersion";
        /// The oldest API version.
        min_api_version: String = "MinAPIVersion" omit;
        /// The commit it was built from.
        git_commit: String = "GitCommit";
        /// What it was built with.
        go_version: String = "GoVersion";
        /// `linux`.
        os: String = "Os";
        /// `amd64`, `arm64` …
        arch: String = "Arch";
        /// The kernel's version.
        kernel_version: String = "KernelVersion" omit;
        /// Experimental features are on.
        experimental: bool = "Experimental" omit;
        /// When it was built.
        build_time: String = "BuildTime" omit;
    }

    /// The name of a product.
    pub struct PlatformName {
        /// The name.
        name: String = "Name";
    }

    /// A part of the daemon.
    pub struct Component {
        /// Its name.
        name: String = "Name";
        /// Its version.
        version: String = "Version";
        /// What else is known of it.
        details: BTreeMap<String, String> = "Details" omit;
    }
}
