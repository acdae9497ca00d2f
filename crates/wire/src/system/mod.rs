//! The daemon and its host.

mod disk_usage;
mod info;
mod message;
mod version;

pub use disk_usage::{
    BuildCacheDiskUsage, ContainersDiskUsage, DiskUsage, ImagesDiskUsage, VolumesDiskUsage,
};
pub use info::{
    Commit, ContainerdInfo, ContainerdNamespaces, DeviceInfo, FirewallInfo, IndexInfo, Info,
    NetworkAddressPool, NriInfo, PluginsInfo, RegistryServiceConfig, Runtime, SwarmInfo,
};
pub use message::{ErrorBody, ErrorDetail, JsonMessage, ProgressDetail};
pub use version::{Component, PlatformName, VersionInfo};
