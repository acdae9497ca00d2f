//! What the face and the threads share, and how it is set up.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::bridge;
use crate::bridged::{Bridged, HostPorts};
use crate::dns::Resolvers;
use crate::firewall::Firewall;
use crate::networks::Record;
use crate::ports::{self, Ports, Proxied, Reach};
use crate::reap::Reaper;
use crate::rtnl::{self, Rtnl};
use crate::rules::{self, Element};
use crate::threads::Threads;
use crate::{
    AddressPool, BridgeConfig, Config, Endpoint, Error, Network, NetworkSpec, Result,
    default_bridge, netns, subnets,
};

/// The endpoints as readers see them.
pub(crate) type Endpoints = BTreeMap<String, Arc<Endpoint>>;

/// The bridge networks that are up, by id.
pub(crate) type Up = BTreeMap<String, Arc<Bridged>>;

/// Everything that lives as long as the network part is open.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The configured pools in order, and one for IPv6 where they have none.
    pub(crate) pools: Vec<AddressPool>,
    pub(crate) pins: PathBuf,
    pub(crate) predefined: Vec<Network>,
    /// Id of the default bridge network.
    pub(crate) default_id: String,
    pub(crate) up: ArcSwap<Up>,
    /// Held while a network is made or removed, so that two do not get one subnet.
    pub(crate) making: Mutex<()>,
    pub(crate) firewall: Firewall,
    pub(crate) reaper: Reaper,
    reach: Reach,
    host_ports: Mutex<HostPorts>,
    pub(crate) resolvers: Resolvers,
    pub(crate) threads: Threads,
    pub(crate) endpoints: ArcSwap<Endpoints>,
    /// To wait for at the end.
    pub(crate) handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    /// Sets everything up in the calling thread's network namespace. Blocks.
    pub(crate) fn open(config: Config, resolvers: Resolvers) -> Result<Self> {
        let pins = netns::folder(&config.exec_root)?;
        let mut record = Record::load(&config.state_dir)?;
        let mut pools = config.pools.clone();
        if !pools.iter().any(|pool| matches!(pool.base, IpNet::V6(_))) {
            pools.push(subnets::unique_local(record.unique));
        }
        let pools = subnets::in_order(pools);
        let mut handles = Vec::new();
        let default = match config.bridge.disabled {
            true => None,
            false => Some(default_bridge::open(&config, &pools, &mut record)?),
        };
        let opened = open_on(&config, default.is_some(), &mut handles);
        let (firewall, reaper, threads) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                if let Some(bridged) = default.filter(|bridged| bridged.bridge().fresh) {
                    // A start that fails leaves nothing behind.
                    let delete = rtnl::delete_link(&bridged.bridge().name);
                    let _ = Rtnl::open().and_then(|mut host| host.apply(vec![delete]));
                }
                return Err(error);
            }
        };
        let spec = default.as_ref().map(|bridged| &bridged.spec);
        let predefined = record.networks(&config.bridge, spec);
        let ephemeral = bridge::ephemeral_ports().unwrap_or(ports::EPHEMERAL);
        let shared = Self {
            pools,
            default_id: record.bridge_id,
            pins,
            predefined,
            up: ArcSwap::default(),
            making: Mutex::default(),
            firewall,
            reaper,
            reach: Reach::here(config.bridge.userland_proxy),
            host_ports: Mutex::new(HostPorts {
                ports: Ports::new(ephemeral, proxied(&config.bridge)),
                held: HashMap::new(),
            }),
            resolvers,
            threads,
            endpoints: ArcSwap::default(),
            handles: Mutex::new(handles),
            config,
        };
        if let Some(default) = default {
            shared.enforce(&default.spec)?;
            shared.put_up(default);
        }
        Ok(shared)
    }

    /// Has the firewall treat a network as its specification says. Waits for it.
    pub(crate) fn enforce(&self, spec: &NetworkSpec) -> Result<()> {
        self.firewall.apply(Vec::new(), rules::network(spec))
    }

    /// Lets containers join a network.
    pub(crate) fn put_up(&self, bridged: Bridged) {
        let bridged = Arc::new(bridged);
        self.up.rcu(|now| {
            let mut next = Up::clone(now);
            next.insert(bridged.spec.id.clone(), Arc::clone(&bridged));
            next
        });
    }

    /// A bridge network; the default one without an id.
    ///
    /// Errors: [`Error::BridgeDisabled`], [`Error::NoNetwork`].
    pub(crate) fn bridged(&self, id: &str) -> Result<Arc<Bridged>> {
        let wanted = if id.is_empty() { &self.default_id } else { id };
        match self.up.load().get(wanted) {
            Some(bridged) => Ok(Arc::clone(bridged)),
            None if wanted == self.default_id => Err(Error::BridgeDisabled),
            None => Err(Error::NoNetwork(id.to_owned())),
        }
    }

    /// Short and never held over anything that waits.
    pub(crate) fn host_ports(&self) -> MutexGuard<'_, HostPorts> {
        self.host_ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What leads from IPv6 addresses of the host to a container that has IPv6 or not.
    pub(crate) fn reach(&self, container: bool) -> Reach {
        Reach {
            container: container && self.config.bridge.rules.v6,
            ..self.reach
        }
    }

    /// The elements that publish an endpoint's ports.
    pub(crate) fn elements(&self, endpoint: &Endpoint) -> Vec<Element> {
        rules::elements(endpoint, &self.config.bridge.rules)
    }

    /// Lets readers see an endpoint.
    pub(crate) fn publish(&self, endpoint: &Arc<Endpoint>) {
        self.endpoints.rcu(|now| {
            let mut next = Endpoints::clone(now);
            next.insert(endpoint.endpoint_id.clone(), Arc::clone(endpoint));
            next
        });
    }

    /// Takes an endpoint from the readers and gives back what it holds.
    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        let id = &endpoint.endpoint_id;
        self.endpoints.rcu(|now| {
            let mut next = Endpoints::clone(now);
            next.remove(id);
            next
        });
        self.host_ports().release(id);
        if let Ok(bridged) = self.bridged(&endpoint.network_id) {
            bridged.release(id);
        }
    }

    /// The mark by which our interfaces are known: this daemon's table and the container, and
    /// which bridge it belongs under.
    pub(crate) fn mark(&self, container: &str, bridge: &str) -> String {
        format!("{}:{container}@{bridge}", self.config.bridge.table)
    }

    /// The container and the bridge that a mark tells, if it is one of ours.
    pub(crate) fn marked<'a>(&self, alias: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = alias.strip_prefix(self.config.bridge.table.as_str())?;
        rest.strip_prefix(':')?.split_once('@')
    }
}

/// Where the proxy takes what comes in and is led by no rule: over IPv6 there may be no rule for a
/// container, over IPv4 there always is unless rules are switched off.
fn proxied(bridge: &BridgeConfig) -> Proxied {
    Proxied {
        v4: bridge.userland_proxy && !bridge.rules.v4,
        v6: bridge.userland_proxy,
    }
}

/// The threads that work on top of the bridges.
fn open_on(
    config: &Config,
    bridged: bool,
    handles: &mut Vec<JoinHandle<()>>,
) -> Result<(Firewall, Reaper, Threads)> {
    let (firewall, thread) =
        Firewall::start(config.bridge.table.clone(), config.bridge.rules, bridged)?;
    handles.push(thread);
    let (reaper, thread) = Reaper::start()?;
    handles.push(thread);
    let (threads, workers) = Threads::start()?;
    handles.extend(workers);
    Ok((firewall, reaper, threads))
}
