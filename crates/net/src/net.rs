//! [`Net`]: the crate's face.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::{Config, Endpoint, EndpointRequest, Error, Network, Result};

/// The default bridge as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Device name.
    pub name: String,
    /// Its address, the containers' gateway.
    pub gateway: Ipv4Addr,
    /// The containers' subnet.
    pub subnet: Ipv4Net,
    /// In bytes.
    pub mtu: u32,
    /// Whether we made the device (and delete it on [`Net::close`]).
    pub ours: bool,
}

/// Networking of this daemon.
#[derive(Debug)]
pub struct Net {}

impl Net {
    /// Sets the bridge, its rules and the threads up. Nothing here blocks the caller's thread.
    pub async fn open(config: Config) -> Result<Arc<Net>> {
        let _ = config;
        Err(Error::Closed)
    }

    /// Makes a network namespace with its loopback up and pins it; the pin's path. `id` is a
    /// container id (hexadecimal digits).
    pub async fn create_netns(&self, id: &str) -> Result<PathBuf> {
        let _ = id;
        Err(Error::Closed)
    }

    /// Removes the pin: the namespace ends with its last process. No error when there is none.
    pub async fn remove_netns(&self, id: &str) -> Result<()> {
        let _ = id;
        Err(Error::Closed)
    }

    /// Where the namespace of a container is or would be pinned.
    pub fn netns_path(&self, id: &str) -> PathBuf {
        PathBuf::from(id)
    }

    /// Connects a container to the bridge and publishes its ports. All or nothing.
    pub async fn connect(&self, request: EndpointRequest) -> Result<Endpoint> {
        let _ = request;
        Err(Error::Closed)
    }

    /// Takes an endpoint down: ports, interface, address. Goes on after a failure; what is
    /// gone already is no error.
    pub async fn disconnect(&self, endpoint: &Endpoint) -> Result<()> {
        let _ = endpoint;
        Err(Error::Closed)
    }

    /// Takes over the endpoint of a container that ran on through a daemon restart: reserves its
    /// address and ports again and publishes them.
    pub async fn adopt(&self, endpoint: &Endpoint) -> Result<()> {
        let _ = endpoint;
        Err(Error::Closed)
    }

    /// After [`adopt`](Self::adopt) of all that live: removes namespaces, interfaces and rules of
    /// containers not in `keep`.
    pub async fn sweep(&self, keep: HashSet<String>) -> Result<()> {
        let _ = keep;
        Err(Error::Closed)
    }

    /// The default bridge; `None` when disabled. Does not wait.
    pub fn bridge_info(&self) -> Option<BridgeInfo> {
        None
    }

    /// All endpoints by endpoint id, as of now. Does not wait.
    pub fn endpoints(&self) -> Arc<BTreeMap<String, Arc<Endpoint>>> {
        Arc::default()
    }

    /// The predefined networks in the order bridge (unless disabled), host, none. Does not wait.
    pub fn networks(&self) -> Vec<Network> {
        Vec::new()
    }

    /// Removes our rules and the bridge if we made it, unless containers live on
    /// (`keep`, live-restore), and ends the threads.
    pub async fn close(&self, keep: bool) -> Result<()> {
        let _ = keep;
        Err(Error::Closed)
    }
}
