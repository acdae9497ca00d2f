//! Networks and endpoints: network namespaces, the default bridge, addresses, published ports.
//!
//! The only crate that speaks netlink and nft. Everything that may block runs on threads of its
//! own; the async methods of [`Net`] only wait for their answers, and a call whose future is
//! dropped is either finished or undone, never left half done.

mod attach;
mod bridge;
mod config;
mod conntrack;
mod endpoint;
mod error;
mod filter;
mod firewall;
pub mod hosts;
mod ipam;
mod net;
mod netns;
mod networks;
mod ports;
mod reap;
mod repair;
pub mod resolv;
mod rtnl;
mod rules;
mod shared;
mod threads;

pub use config::{BridgeConfig, Config};
pub use endpoint::{Endpoint, EndpointRequest, Mac, Proto, Publish, PublishedPort};
pub use error::{Error, Result};
pub use net::{BridgeInfo, Net};
pub use networks::Network;
