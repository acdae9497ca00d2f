//! Networks, and containers in them.

mod endpoint;
mod ports;

pub use endpoint::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
pub use ports::{PortBinding, PortMap};
