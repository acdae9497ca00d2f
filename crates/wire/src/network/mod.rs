//! Networks, and containers in them.

mod change;
mod endpoint;
mod inspect;
mod ports;

pub use change::{
    NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
};
pub use endpoint::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
pub use inspect::{
    ConfigReference, EndpointResource, Ipam, IpamConfig, IpamStatus, NetworkInspect, NetworkStatus,
    PeerInfo, SubnetStatus,
};
pub use ports::{InvalidPort, PortBinding, PortMap, PortRange, PortSpec};
