//! Networks and endpoints: network namespaces, bridges, addresses, published ports, DNS.
//!
//! The only crate that speaks netlink and nft. Everything that may block runs on threads of its
//! own; the async methods of [`Net`] only wait for their answers, and a call whose future is
//! dropped is either finished or undone, never left half done.

mod attach;
mod bridge;
mod bridged;
mod bridges;
mod config;
mod conntrack;
mod default_bridge;
mod dns;
mod endpoint;
mod error;
mod filter;
mod firewall;
mod gateway;
pub mod hosts;
mod ipam;
mod net;
mod netns;
mod networks;
mod ports;
mod proxy;
mod publish;
mod reap;
mod repair;
pub mod resolv;
mod rtnl;
mod rules;
mod shared;
mod spec;
mod subnets;
mod sweep;
mod threads;

pub use bridges::SubnetRequests;
pub use config::{BridgeConfig, Config, Policy};
pub use endpoint::{
    Endpoint, EndpointRequest, Mac, Proto, Publish, PublishedPort, Upstream, V6, rank,
};
pub use error::{Error, Result};
pub use net::{BridgeInfo, Net};
pub use networks::{Network, new_id};
pub use spec::{NetworkSpec, Subnet, SubnetRequest};
pub use subnets::AddressPool;
