//! Containers: what they are to be, what they are, how they end.

mod config;
mod create;
mod host;
mod mount;
mod resources;
mod wait;

pub use config::{ContainerConfig, Healthcheck};
pub use create::{CreateRequest, CreateResponse};
pub use host::{HostConfig, LogConfig, RestartPolicy};
pub use mount::{
    BindOptions, ImageOptions, Mount, MountDriver, MountRequest, TmpfsOptions, VolumeOptions,
};
pub use resources::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};
pub use wait::{WaitError, WaitResponse};
