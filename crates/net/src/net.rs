//! [`Net`]: the crate's face.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::sync::oneshot;

use crate::attach::Reply;
use crate::dns::Resolvers;
use crate::shared::{Endpoints, Shared};
use crate::threads::Desk;
use crate::{
    Config, Endpoint, EndpointRequest, Error, Network, NetworkSpec, Publish, Result,
    SubnetRequests, bridges, netns,
};

/// How long any answer may take. Single operations need milliseconds; this covers hundreds queued
/// on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

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
pub struct Net {
    shared: Arc<Shared>,
}

impl Net {
    /// Sets up the bridge, its rules and the threads, in the caller's network namespace. What an
    /// earlier run left (namespaces, interfaces, published ports) stays until
    /// [`sweep`](Self::sweep).
    ///
    /// Errors: [`Error::Invalid`] for a contradictory configuration, [`Error::NoSubnet`],
    /// [`Error::Netlink`], [`Error::Nft`], [`Error::Io`].
    pub async fn open(config: Config) -> Result<Arc<Net>> {
        let (reply, answer) = oneshot::channel();
        let resolvers = Resolvers::new(tokio::runtime::Handle::current());
        std::thread::Builder::new()
            .name("net-open".into())
            .spawn(move || {
                let _ = reply.send(Shared::open(config, resolvers));
            })
            .map_err(|source| Error::io("start thread", "net-open", source))?;
        let shared = wait("opening the network", answer).await?;
        Ok(Arc::new(Net {
            shared: Arc::new(shared),
        }))
    }

    /// Makes a network namespace with its loopback up and pins it; the pin's path. `id` is a
    /// container id. A pin that is there already, of a run that was cut off, is replaced.
    ///
    /// Errors: [`Error::Invalid`] for an id that is no plain name, [`Error::Io`], [`Error::Netlink`].
    pub async fn create_netns(&self, id: &str) -> Result<PathBuf> {
        netns::check_id(id)?;
        let pin = self.netns_path(id);
        let path = pin.clone();
        self.call("making a network namespace", move |_, desk, reply| {
            let made = desk.home.make(&pin);
            if reply.send(made).is_err() {
                let _ = netns::remove(&pin);
            }
        })
        .await?;
        Ok(path)
    }

    /// Removes the pin: the namespace ends with its last process. No error when there is none.
    ///
    /// Errors: [`Error::Invalid`], [`Error::Io`].
    pub async fn remove_netns(&self, id: &str) -> Result<()> {
        netns::check_id(id)?;
        let id = id.to_owned();
        self.call("removing a network namespace", move |shared, _, reply| {
            let _ = reply.send(shared.drop_netns(&id));
        })
        .await
    }

    /// Where the namespace of a container is or would be pinned.
    pub fn netns_path(&self, id: &str) -> PathBuf {
        self.shared.pins.join(id)
    }

    /// Makes a bridge network: chooses what `asked` leaves open, makes the device and the rules.
    /// All or nothing, also when the returned future is dropped. Of `spec` the id and the name
    /// must be set; without a bridge's name it gets one.
    ///
    /// Errors: [`Error::PoolOverlap`], [`Error::NoSubnet`], [`Error::BridgeTaken`],
    /// [`Error::Invalid`], [`Error::Unsupported`], [`Error::Netlink`], [`Error::Nft`].
    pub async fn create_network(
        &self,
        spec: NetworkSpec,
        asked: SubnetRequests,
    ) -> Result<NetworkSpec> {
        self.call("making a network", move |shared, desk, reply| {
            shared.create_network(desk, spec, &asked, reply);
        })
        .await
    }

    /// Brings a network back that [`create_network`](Self::create_network) of an earlier daemon
    /// made. One that is up already stays as it is.
    ///
    /// Errors: as [`create_network`](Self::create_network).
    pub async fn restore_network(&self, spec: NetworkSpec) -> Result<()> {
        self.call("bringing a network back", move |shared, desk, reply| {
            let _ = reply.send(shared.restore_network(desk, spec));
        })
        .await
    }

    /// Removes a network that nobody is in.
    ///
    /// Errors: [`Error::NoNetwork`], [`Error::ActiveEndpoints`], [`Error::Netlink`],
    /// [`Error::Nft`].
    pub async fn remove_network(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.call("removing a network", move |shared, desk, reply| {
            let _ = reply.send(shared.remove_network(desk, &id));
        })
        .await
    }

    /// After a running container left a network: the best of its other networks leads out.
    ///
    /// Errors: [`Error::NoNetns`], [`Error::Netlink`].
    pub async fn reroute(&self, container: &str) -> Result<()> {
        let container = container.to_owned();
        self.call("routing", move |shared, desk, reply| {
            let _ = reply.send(shared.reroute(desk, &container));
        })
        .await
    }

    /// Has a container answer to other names from now on. Does not wait.
    pub fn rename(&self, endpoint_id: &str, names: &[String]) {
        self.shared.endpoints.rcu(|now| {
            let mut next = Endpoints::clone(now);
            if let Some(endpoint) = next.get_mut(endpoint_id) {
                Arc::make_mut(endpoint).names = names.to_vec();
            }
            next
        });
    }

    /// Connects a container to a network and publishes its ports. All or nothing, also when the
    /// returned future is dropped. Of one container's calls each must wait for the one before.
    ///
    /// Errors: [`Error::BridgeDisabled`], [`Error::NoNetwork`], [`Error::NoNetns`],
    /// [`Error::PortAllocated`], [`Error::PortBind`], [`Error::PortsExhausted`],
    /// [`Error::AddressInUse`], [`Error::PoolExhausted`], [`Error::Invalid`],
    /// [`Error::Unsupported`] for SCTP on IPv6 addresses, [`Error::Netlink`], [`Error::Nft`].
    pub async fn connect(&self, request: EndpointRequest) -> Result<Endpoint> {
        self.call("connecting to a network", move |shared, desk, reply| {
            shared.connect(desk, &request, reply);
        })
        .await
    }

    /// Publishes a running container's ports at `to`, one of its endpoints, and no more at `from`,
    /// another one; `to` with its ports. Ports that were chosen before are chosen again. If they
    /// cannot be had, they stay with `from`.
    ///
    /// Errors: [`Error::NoNetwork`], [`Error::PortAllocated`], [`Error::PortBind`],
    /// [`Error::PortsExhausted`], [`Error::Invalid`], [`Error::Unsupported`]; [`Error::Nft`], after
    /// which they are published nowhere.
    pub async fn shift_ports(
        &self,
        from: Option<&Endpoint>,
        to: &Endpoint,
        publish: Vec<Publish>,
    ) -> Result<Endpoint> {
        let (from, to) = (from.cloned(), to.clone());
        self.call("publishing ports", move |shared, _, reply| {
            shared.shift_ports(from.as_ref(), &to, &publish, reply);
        })
        .await
    }

    /// Takes an endpoint down: ports, interface, address. Goes on after a failure; what is
    /// gone already is no error.
    ///
    /// Errors: [`Error::Netlink`], [`Error::Nft`].
    pub async fn disconnect(&self, endpoint: &Endpoint) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.shared
            .disconnect(Arc::new(endpoint.clone()), move |errors| {
                let _ = reply.send(Error::collect(errors));
            });
        wait("disconnecting from a network", answer).await
    }

    /// As [`disconnect`](Self::disconnect), without waiting: deleting an interface keeps the kernel
    /// busy for tens of milliseconds. Address and host ports are free again only when all is
    /// done; failures are logged.
    pub fn disconnect_in_background(&self, endpoint: &Endpoint) {
        self.shared
            .disconnect(Arc::new(endpoint.clone()), |errors| {
                for error in errors {
                    tracing::warn!(%error, "disconnecting from a network");
                }
            });
    }

    /// Takes over the endpoint of a container that ran on through a daemon restart: reserves its
    /// address and ports again, attaches its interface and publishes its ports. Taking over
    /// twice is fine.
    ///
    /// Errors: as [`connect`](Self::connect); [`Error::Netlink`] when its interface is gone.
    pub async fn adopt(&self, endpoint: &Endpoint) -> Result<()> {
        let endpoint = endpoint.clone();
        self.call("taking over an endpoint", move |shared, desk, reply| {
            shared.adopt(desk, endpoint, reply);
        })
        .await
    }

    /// After [`adopt`](Self::adopt) of all that live: removes namespaces, interfaces and rules of
    /// containers not in `keep` (container ids). Goes on after a failure.
    ///
    /// Errors: [`Error::Io`], [`Error::Netlink`], [`Error::Nft`], [`Error::Several`].
    pub async fn sweep(&self, keep: HashSet<String>) -> Result<()> {
        self.call("sweeping networks", move |shared, desk, reply| {
            shared.sweep(desk, &keep, reply)
        })
        .await
    }

    /// The default bridge; `None` when disabled. Does not wait.
    pub fn bridge_info(&self) -> Option<BridgeInfo> {
        let bridge = self.shared.bridged("").ok()?.bridge();
        Some(BridgeInfo {
            name: bridge.name.clone(),
            gateway: bridge.net.addr(),
            subnet: bridge.net.trunc(),
            mtu: self.shared.config.bridge.mtu,
            ours: bridge.ours,
        })
    }

    /// All endpoints by endpoint id, as of now. Does not wait.
    pub fn endpoints(&self) -> Arc<BTreeMap<String, Arc<Endpoint>>> {
        self.shared.endpoints.load_full()
    }

    /// The predefined networks in the order bridge (unless disabled), host, none. Does not wait.
    pub fn networks(&self) -> Vec<Network> {
        self.shared.predefined.clone()
    }

    /// Removes our rules and the bridges that we made, unless containers live on
    /// (`keep`, live-restore), and ends the threads. Later calls fail with [`Error::Closed`].
    ///
    /// Errors: [`Error::Netlink`], [`Error::Nft`].
    pub async fn close(&self, keep: bool) -> Result<()> {
        let mut errors = Vec::new();
        self.shared.resolvers.end_all();
        let (reply, answer) = oneshot::channel();
        let done = Box::new(move |result| {
            let _ = reply.send(result);
        });
        self.shared.firewall.end(!keep, done);
        self.shared.reaper.end();
        errors.extend(wait("removing rules", answer).await.err());
        if !keep {
            let deleted = self.call("deleting bridges", move |shared, desk, reply| {
                let up = shared.up.load();
                let bridges = up.values().map(|network| network.bridge());
                let deleted = bridges.map(|bridge| bridges::delete_device(&mut desk.host, &bridge));
                let _ = reply.send(Error::collect(deleted.filter_map(Result::err).collect()));
            });
            errors.extend(deleted.await.err());
        }
        self.shared.threads.end();
        let handles = std::mem::take(
            &mut *self
                .shared
                .handles
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let (reply, answer) = oneshot::channel();
        std::thread::Builder::new()
            .name("net-close".into())
            .spawn(move || {
                handles.into_iter().for_each(|handle| drop(handle.join()));
                let _ = reply.send(Ok(()));
            })
            .map_err(|source| Error::io("start thread", "net-close", source))?;
        errors.extend(wait("ending the network's threads", answer).await.err());
        Error::collect(errors)
    }

    /// Runs `work` on one of our threads and waits for its answer.
    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Arc<Shared>, &mut Desk, Reply<T>) + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared
            .threads
            .run(move |desk| work(&shared, desk, reply));
        wait(what, answer).await
    }
}

async fn wait<T>(what: &'static str, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => Err(Error::Timeout {
            what,
            seconds: LIMIT.as_secs(),
        }),
    }
}
