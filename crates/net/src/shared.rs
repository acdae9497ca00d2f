//! What the face and the threads share, and how it is set up and taken down.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;

use crate::bridge::{self, Bridge};
use crate::firewall::Firewall;
use crate::ipam::Pool;
use crate::networks::{Made, Record};
use crate::ports::{self, Held, Ports};
use crate::reap::Reaper;
use crate::rtnl::{self, Rtnl};
use crate::rules::{self, Layout};
use crate::threads::Threads;
use crate::{Config, Endpoint, Error, Network, Result, netns};

/// The endpoints as readers see them.
pub(crate) type Endpoints = BTreeMap<String, Arc<Endpoint>>;

/// Everything that lives as long as the network part is open.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) pins: PathBuf,
    pub(crate) networks: Vec<Network>,
    pub(crate) network_id: String,
    pub(crate) bridged: Option<Bridged>,
    pub(crate) threads: Threads,
    pub(crate) endpoints: ArcSwap<Endpoints>,
    /// To wait for at the end.
    pub(crate) handles: Mutex<Vec<JoinHandle<()>>>,
}

/// The bridge network, where there is one.
#[derive(Debug)]
pub(crate) struct Bridged {
    bridge: ArcSwap<Bridge>,
    repairing: Mutex<()>,
    pub(crate) firewall: Firewall,
    pub(crate) reaper: Reaper,
    leases: Mutex<Leases>,
}

/// What endpoints hold: addresses and host ports.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) pool: Pool,
    pub(crate) ports: Ports,
    pub(crate) held: HashMap<String, Lease>,
}

/// What one endpoint holds.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) ip: Ipv4Addr,
    pub(crate) ports: Vec<Held>,
}

impl Leases {
    /// Gives back what an endpoint holds, if anything.
    pub(crate) fn release(&mut self, endpoint: &str) {
        if let Some(lease) = self.held.remove(endpoint) {
            self.pool.release(lease.ip);
            self.ports.release(lease.ports);
        }
    }
}

impl Bridged {
    /// Short and never held over anything that waits.
    pub(crate) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Shared {
    /// Sets everything up in the calling thread's network namespace. Blocks.
    pub(crate) fn open(config: Config) -> Result<Self> {
        let pins = netns::folder(&config.exec_root)?;
        let mut record = Record::load(&config.state_dir)?;
        let mut handles = Vec::new();
        let bridged = match config.bridge.disabled {
            true => None,
            false => Some(open_bridge(&config, &mut record, &mut handles)?),
        };
        let (threads, workers) = Threads::start()?;
        handles.extend(workers);
        let networks = record.networks(
            &config.bridge,
            bridged.as_ref().map(Bridged::bridge).as_deref(),
        );
        Ok(Self {
            network_id: record.bridge_id,
            pins,
            networks,
            bridged,
            threads,
            endpoints: ArcSwap::default(),
            handles: Mutex::new(handles),
            config,
        })
    }

    /// The bridge network.
    ///
    /// Errors: [`Error::BridgeDisabled`].
    pub(crate) fn bridged(&self) -> Result<&Bridged> {
        self.bridged.as_ref().ok_or(Error::BridgeDisabled)
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
    pub(crate) fn forget(&self, endpoint_id: &str) {
        self.endpoints.rcu(|now| {
            let mut next = Endpoints::clone(now);
            next.remove(endpoint_id);
            next
        });
        if let Some(bridged) = &self.bridged {
            bridged.leases().release(endpoint_id);
        }
    }

    /// The mark by which our interfaces are known: this daemon's table and the container.
    pub(crate) fn mark(&self, container: &str) -> String {
        format!("{}:{container}", self.config.bridge.table)
    }
}

fn open_bridge(
    config: &Config,
    record: &mut Record,
    handles: &mut Vec<JoinHandle<()>>,
) -> Result<Bridged> {
    let settings = &config.bridge;
    rules::check_names(&settings.table, &settings.name)?;
    let IpAddr::V4(default_ip) = settings.default_bind_ip else {
        return Err(Error::Unsupported(format!(
            "publishing ports on IPv6 addresses is not supported: {}",
            settings.default_bind_ip
        )));
    };
    let mut host = Rtnl::open()?;
    let bridge = bridge::set_up(settings, record.made.as_ref(), &mut host)?;
    let (name, fresh) = (bridge.name.clone(), bridge.fresh);
    let opened = open_on(bridge, default_ip, config, record, handles);
    if opened.is_err() && fresh {
        // A start that fails leaves nothing behind.
        let _ = host.apply(vec![rtnl::delete_link(&name)]);
    }
    opened
}

/// Everything on top of the bridge device.
fn open_on(
    bridge: Bridge,
    default_ip: Ipv4Addr,
    config: &Config,
    record: &mut Record,
    handles: &mut Vec<JoinHandle<()>>,
) -> Result<Bridged> {
    let settings = &config.bridge;
    let network = format!("bridge ({})", record.bridge_id);
    let pool = Pool::new(network, bridge.net, bridge.net.addr(), settings.fixed_cidr)?;
    let made = bridge.ours.then(|| Made {
        name: bridge.name.clone(),
        address: bridge.net,
    });
    if record.made != made && made.is_some() {
        record.made = made;
        record.save(&config.state_dir)?;
    }
    let (firewall, thread) = Firewall::start(Layout {
        table: settings.table.clone(),
        bridge: bridge.name.clone(),
        subnet: bridge.net.trunc(),
        icc: settings.icc,
        masquerade: settings.masquerade,
    })?;
    handles.push(thread);
    let (reaper, thread) = Reaper::start()?;
    handles.push(thread);
    let ephemeral = bridge::ephemeral_ports().unwrap_or(ports::EPHEMERAL);
    let ports = Ports::new(ephemeral, default_ip);
    let leases = Mutex::new(Leases {
        pool,
        ports,
        held: HashMap::new(),
    });
    Ok(Bridged {
        bridge: ArcSwap::from_pointee(bridge),
        repairing: Mutex::default(),
        firewall,
        reaper,
        leases,
    })
}
