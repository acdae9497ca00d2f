//! A bridge network that is up: its device, and what its endpoints hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::bridge::Bridge;
use crate::ipam::Pool;
use crate::ports::{Held, Ports};
use crate::{BridgeConfig, Endpoint, EndpointRequest, Error, NetworkSpec, Result};

/// A bridge network.
#[derive(Debug)]
pub(crate) struct Bridged {
    pub(crate) spec: NetworkSpec,
    /// How its device is made.
    pub(crate) config: BridgeConfig,
    bridge: ArcSwap<Bridge>,
    repairing: Mutex<()>,
    leases: Mutex<Leases>,
}

/// Which addresses of a network are whose.
#[derive(Debug)]
struct Leases {
    v4: Pool,
    v6: Option<Pool>,
    held: HashMap<String, Addresses>,
    /// The network is being removed: nobody joins it any more.
    closed: bool,
}

/// The addresses of one endpoint, and what its container is called.
#[derive(Debug)]
struct Addresses {
    v4: IpAddr,
    v6: Option<IpAddr>,
    name: String,
}

impl Bridged {
    pub(crate) fn new(spec: NetworkSpec, config: BridgeConfig, bridge: Bridge) -> Result<Self> {
        let name = format!("{} ({})", spec.name, spec.id);
        let v4 = spec.v4.as_ref();
        let v4 = v4.ok_or_else(|| Error::Invalid("a network needs an IPv4 subnet".into()))?;
        let leases = Leases {
            v4: Pool::new(&*name, v4)?,
            v6: match &spec.v6 {
                Some(v6) => Some(Pool::new(&*name, v6)?),
                None => None,
            },
            held: HashMap::new(),
            closed: false,
        };
        Ok(Self {
            spec,
            config,
            bridge: ArcSwap::from_pointee(bridge),
            repairing: Mutex::default(),
            leases: Mutex::new(leases),
        })
    }

    /// Short and never held over anything that waits.
    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes addresses for an endpoint: those that are asked for, else the next free ones.
    ///
    /// Errors: [`Error::NoNetwork`] when it is being removed, [`Error::Invalid`],
    /// [`Error::AddressInUse`], [`Error::PoolExhausted`].
    pub(crate) fn lease(
        &self,
        endpoint: &str,
        request: &EndpointRequest,
    ) -> Result<(IpAddr, Option<IpAddr>)> {
        let name = request.names.first().unwrap_or(&request.id);
        let (v4, v6) = (request.ip.map(IpAddr::V4), request.ip6.map(IpAddr::V6));
        self.hold(endpoint, name, v4, v6)
    }

    /// Takes the addresses again that an endpoint had; `false` when it has them already.
    pub(crate) fn lease_again(&self, endpoint: &Endpoint) -> Result<bool> {
        let id = &endpoint.endpoint_id;
        if self.leases().held.contains_key(id) {
            return Ok(false);
        }
        let name = endpoint.names.first().unwrap_or(&endpoint.container);
        let v6 = endpoint.v6.as_ref().map(|v6| IpAddr::V6(v6.ip));
        self.hold(id, name, Some(IpAddr::V4(endpoint.ip)), v6)?;
        Ok(true)
    }

    fn hold(
        &self,
        endpoint: &str,
        name: &str,
        v4: Option<IpAddr>,
        v6: Option<IpAddr>,
    ) -> Result<(IpAddr, Option<IpAddr>)> {
        let mut leases = self.leases();
        let leases = &mut *leases;
        if leases.closed {
            return Err(Error::NoNetwork(self.spec.name.clone()));
        }
        let first = match v4 {
            Some(ip) => leases.v4.take(ip)?,
            None => leases.v4.next()?,
        };
        let second = match (&mut leases.v6, v6) {
            (Some(pool), Some(ip)) => pool.take(ip).map(Some),
            (Some(pool), None) => pool.next().map(Some),
            (None, None) => Ok(None),
            (None, Some(ip)) => Err(Error::Invalid(format!(
                "invalid address {ip}: it does not belong to any of this network's subnets"
            ))),
        };
        let second = match second {
            Ok(second) => second,
            Err(error) => {
                leases.v4.release(first);
                return Err(error);
            }
        };
        let held = Addresses {
            v4: first,
            v6: second,
            name: name.to_owned(),
        };
        leases.held.insert(endpoint.to_owned(), held);
        Ok((first, second))
    }

    /// Gives back what an endpoint holds, if anything.
    pub(crate) fn release(&self, endpoint: &str) {
        let mut leases = self.leases();
        if let Some(held) = leases.held.remove(endpoint) {
            leases.v4.release(held.v4);
            if let (Some(pool), Some(ip)) = (&mut leases.v6, held.v6) {
                pool.release(ip);
            }
        }
    }

    /// Lets nobody join any more.
    ///
    /// Errors: [`Error::ActiveEndpoints`] while somebody is in.
    pub(crate) fn shut(&self) -> Result<()> {
        let mut leases = self.leases();
        if leases.held.is_empty() {
            leases.closed = true;
            return Ok(());
        }
        let short = |id: &String| id.get(..12).unwrap_or(id).to_owned();
        let endpoints = leases.held.iter();
        let mut endpoints: Vec<_> = endpoints
            .map(|(id, held)| (held.name.clone(), short(id)))
            .collect();
        endpoints.sort_unstable();
        Err(Error::ActiveEndpoints {
            network: self.spec.name.clone(),
            endpoints,
        })
    }

    /// Takes [`shut`](Self::shut) back: the network could not be removed.
    pub(crate) fn reopen(&self) {
        self.leases().closed = false;
    }

    /// The bridge device as it was last seen.
    pub(crate) fn bridge(&self) -> Arc<Bridge> {
        self.bridge.load_full()
    }

    /// Keeps others from repairing the bridge at the same time.
    pub(crate) fn repairing(&self) -> MutexGuard<'_, ()> {
        self.repairing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the device that is there instead of the one that was.
    pub(crate) fn replace(&self, bridge: Bridge) {
        self.bridge.store(Arc::new(bridge));
    }
}

/// The host ports of all networks.
#[derive(Debug)]
pub(crate) struct HostPorts {
    pub(crate) ports: Ports,
    /// By endpoint.
    pub(crate) held: HashMap<String, Vec<Held>>,
}

impl HostPorts {
    /// Gives back what an endpoint holds, if anything.
    pub(crate) fn release(&mut self, endpoint: &str) {
        if let Some(held) = self.held.remove(endpoint) {
            self.ports.release(held);
        }
    }
}
