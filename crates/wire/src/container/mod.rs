//! Containers: what they are to be, what they are, how they end.

mod config;
mod create;
mod files;
mod host;
mod inspect;
mod list;
mod mount;
mod resources;
mod stats;
mod update;
mod wait;

pub use config::{ContainerConfig, Healthcheck};
pub use create::{CreateRequest, CreateResponse};
pub use files::{CommitResponse, ContainerPathStat, FilesystemChange};
pub use host::{HostConfig, LogConfig, RestartPolicy};
pub use inspect::{
    ContainerInspect, DriverData, Health, HealthcheckResult, MountPoint, NetworkSettings,
    RootFsStorage, SnapshotStorage, State, Storage,
};
pub use list::{
    ContainerSummary, HealthSummary, HostConfigSummary, NetworkSettingsSummary, PortSummary,
};
pub use mount::{
    BindOptions, ImageOptions, Mount, MountDriver, MountRequest, TmpfsOptions, VolumeOptions,
};
pub use resources::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};
pub use stats::{
    BlkioStatEntry, BlkioStats, ContainerStats, ContainersPruneReport, CpuStats, CpuUsage,
    MemoryStats, NetworkStats, PidsStats, StorageStats, ThrottlingData, TopResponse,
};
pub use update::UpdateResponse;
pub use wait::{WaitError, WaitResponse};
