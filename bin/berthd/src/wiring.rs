//! Where the parts meet.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use berth_api::{Listener, Secure};
use berth_config::{ConfigStore, Live};
use berth_engine::{Engine, Events, Setup};
use berth_images::{Images, Limits};
use berth_net::Net;
use berth_registry::{Proxies, Registry, Rules, Settings};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::containerd::Containerd;
use crate::listeners::Socket;
use crate::storage;

/// Where administrators keep registries' certificates and `hosts.toml`, as for dockerd.
const CERTIFICATES: &str = "/etc/docker/certs.d";
/// The nftables table of a daemon with the default bridge.
const TABLE: &str = "berth";

/// Why the engine did not open; the message is the part's own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("error initializing snapshotter: {0}")]
    Storage(#[from] storage::Error),
    #[error("{0}")]
    Registry(#[from] berth_registry::Error),
    #[error("networks: {0}")]
    Net(#[from] berth_net::Error),
    #[error("{0}")]
    Engine(#[from] berth_engine::Error),
    #[error("failed to set log opts: {0}")]
    Logs(#[from] berth_logs::Error),
}

/// What a configuration says to the parts, each of which knows best what it takes: to be asked
/// before the configuration counts.
///
/// # Errors
/// A part does not take it.
pub(crate) fn check(live: &Live) -> Result<(), Error> {
    rules(live)?;
    berth_logs::LogConfig::parse(&live.logs.driver, &live.logs.options)?;
    berth_engine::check_runtimes(live)?;
    Ok(())
}

/// The keys inside of options that mean nothing. dockerd passes over them as well, but in silence.
pub(crate) fn ignored(live: &Live) -> Vec<String> {
    let mut ignored = live.ignored.clone();
    ignored.extend(berth_engine::ignored_options(live));
    ignored
}

/// Warns of what is [`ignored`].
pub(crate) fn warn_of_ignored(live: &Live) {
    let keys = ignored(live).join(", ");
    if !keys.is_empty() {
        tracing::warn!(
            keys,
            "these keys inside of the configuration's options mean nothing"
        );
    }
}

/// Opens everything that the engine works with, and the engine.
pub(crate) async fn open(
    config: Arc<ConfigStore>,
    containerd: &Containerd,
) -> Result<Arc<Engine>, Error> {
    let live = config.capture();
    let asked = live.storage.snapshotter.as_deref();
    let snapshotter = storage::choose(containerd.client(), asked).await?;
    let events = Events::default();
    let agent = format!("docker/{0} berth/{0}", crate::VERSION);
    let registry = Registry::new(&agent, live_rules(config.clone())?);
    let images = Images::new(berth_images::Options {
        client: containerd.client().clone(),
        snapshotter,
        registry,
        limits: limits(&live),
        events: events.image_sink(),
    });
    let net = Net::open(berth_net::Config {
        reserved: berth_engine::kept_subnets(&live).await?,
        ..net_config(&live)
    })
    .await?;
    let setup = Setup {
        client: containerd.client().clone(),
        images,
        net,
        events,
        config,
    };
    Ok(Engine::open(setup).await?)
}

/// Tells how registries are reached in the configuration that is live: who sees the one sees the
/// other. They are made once for each configuration.
///
/// # Errors
/// The configuration does not hold; later ones were [checked](check) before.
fn live_rules(
    store: Arc<ConfigStore>,
) -> Result<impl Fn() -> Arc<Rules> + Send + Sync, berth_registry::Error> {
    let live = store.capture();
    let made = Arc::new(rules(&live)?);
    let last = ArcSwap::from_pointee((live, made));
    Ok(move || {
        let live = store.capture();
        let (of, known) = &**last.load();
        if Arc::ptr_eq(of, &live) {
            return known.clone();
        }
        let made = match rules(&live) {
            Ok(made) => Arc::new(made),
            Err(error) => {
                tracing::error!(%error, "registries are reached as before");
                known.clone()
            }
        };
        last.store(Arc::new((live, made.clone())));
        made
    })
}

/// How registries are reached.
fn rules(live: &Live) -> Result<Rules, berth_registry::Error> {
    let registries = &live.registries;
    Rules::new(Settings {
        mirrors: registries.mirrors.clone(),
        insecure: registries.insecure.clone(),
        certificates: CERTIFICATES.into(),
        proxies: Proxies {
            http: registries.proxies.http_proxy.clone(),
            https: registries.proxies.https_proxy.clone(),
            none: registries.proxies.no_proxy.clone(),
        },
    })
}

/// The limits of pulls and pushes.
pub(crate) fn limits(live: &Live) -> Limits {
    let pulls = live.pulls;
    Limits {
        downloads: pulls.downloads,
        uploads: pulls.uploads,
        attempts: pulls.attempts,
    }
}

fn net_config(live: &Live) -> berth_net::Config {
    let bridge = &live.bridge;
    let v6 = bridge.v6.clone().unwrap_or_default();
    berth_net::Config {
        exec_root: live.user.exec_root.clone(),
        state_dir: live.user.data_root.join("network"),
        bridge: berth_net::BridgeConfig {
            name: bridge.name.clone(),
            address: bridge.address,
            fixed_cidr: bridge.fixed_cidr,
            gateway: bridge.gateway,
            ipv6: bridge.v6.is_some(),
            address6: v6.address,
            fixed_cidr6: v6.fixed_cidr,
            gateway6: v6.gateway,
            mtu: bridge.mtu,
            default_bind_ip: bridge.publish_ip,
            ip_forward: bridge.ip_forward,
            icc: bridge.icc,
            masquerade: bridge.masquerade,
            userland_proxy: live.user.userland_proxy,
            rules: berth_net::Policy {
                v4: live.user.iptables,
                v6: live.user.ip6tables,
                direct: live.user.allow_direct_routing,
                accept_mark: bridge.accept_mark.map(|mark| (mark.value, mark.mask)),
            },
            table: table(live),
            disabled: !bridge.enabled,
        },
        pools: pools(live),
        reserved: Vec::new(),
    }
}

/// The configured address pools, else Docker's.
fn pools(live: &Live) -> Vec<berth_net::AddressPool> {
    if live.address_pools.is_empty() {
        return berth_net::AddressPool::defaults();
    }
    let pools = live.address_pools.iter();
    pools
        .map(|pool| berth_net::AddressPool {
            base: pool.base,
            size: pool.size,
        })
        .collect()
}

/// Our table's name: another one for each bridge, so that two daemons on one host do not undo
/// each other's rules.
fn table(live: &Live) -> String {
    match live.bridge.name.as_str() {
        "docker0" => TABLE.to_owned(),
        name => {
            let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            format!("{TABLE}_{}", name.chars().map(word).collect::<String>())
        }
    }
}

/// TLS for TCP sockets, where the daemon was started with it: the certificates that are live.
pub(crate) fn secure(config: &Arc<ConfigStore>) -> Option<Secure> {
    config.capture().tls.as_ref()?;
    let config = config.clone();
    Some(Secure::new(move || {
        config.capture().tls.as_ref().map(|tls| tls.server.clone())
    }))
}

/// What serves the API on one socket until `stop`.
pub(crate) fn server(
    engine: &Arc<Engine>,
    socket: Socket,
    secure: Option<Secure>,
    stop: CancellationToken,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let listener = match socket {
        Socket::Unix(listener) => {
            listener.set_nonblocking(true)?;
            Listener::Unix(UnixListener::from_std(listener)?)
        }
        Socket::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            match secure {
                Some(secure) => Listener::Tls(listener, secure),
                None => Listener::Tcp(listener),
            }
        }
    };
    Ok(berth_api::serve(engine.clone(), listener, stop))
}
