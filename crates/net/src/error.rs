//! The crate's error type: what went wrong in the kernel, with nft or with a request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use berth_errdefs::{Classify, Kind};

use crate::PublishedPort;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A network operation that failed. The texts are what Docker says where Docker says something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request asks for something malformed or impossible.
    #[error("{0}")]
    Invalid(String),
    /// Berth does not do this yet.
    #[error("{0}")]
    Unsupported(String),
    /// A requested address belongs to another endpoint.
    #[error("Address already in use")]
    AddressInUse,
    /// Every address of the pool is taken.
    #[error("no available IPv{} addresses on this network's address pools: {network}", if *.v6 { 6 } else { 4 })]
    PoolExhausted {
        /// Which family has run out.
        v6: bool,
        /// The network's name, e.g. `bridge`.
        network: String,
    },
    /// No free subnet is left in the address pools.
    #[error("all predefined address pools have been fully subnetted")]
    NoSubnet,
    /// The subnet that is asked for overlaps another network's.
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    PoolOverlap,
    /// Another network has the bridge.
    #[error(
        "cannot create network {id} ({bridge}): conflicts with network {other} ({bridge}): networks have same bridge name"
    )]
    BridgeTaken {
        /// The network that is asked for.
        id: String,
        /// The bridge's name.
        bridge: String,
        /// Whose it is.
        other: String,
    },
    /// There is no such network.
    #[error("network {0} not found")]
    NoNetwork(String),
    /// The network cannot be removed: containers are in it.
    #[error("network {network} has active endpoints ({})", .endpoints.iter().map(|(name, id)| format!("name:{name:?} id:{id:?}")).collect::<Vec<_>>().join(", "))]
    ActiveEndpoints {
        /// The network's name.
        network: String,
        /// Names of containers and ids of endpoints.
        endpoints: Vec<(String, String)>,
    },
    /// One of our own containers publishes this host port.
    #[error("Bind for {host_ip}:{port} failed: port is already allocated")]
    PortAllocated {
        /// The host address asked for.
        host_ip: IpAddr,
        /// The host port asked for.
        port: u16,
    },
    /// No port of the range (or of the ephemeral ports) is free.
    #[error("all ports are allocated")]
    PortsExhausted,
    /// The kernel refuses the host port: another process has it, or the address is not ours.
    #[error("failed to bind host port {}/{}: {reason}", SocketAddr::new(.port.host_ip, .port.host_port), .port.proto)]
    PortBind {
        /// What was to be published.
        port: PublishedPort,
        /// The system's words, as Docker prints them (`address already in use`).
        reason: String,
    },
    /// The container's network namespace is not known.
    #[error("network namespace {0} not found")]
    NoNetns(String),
    /// The bridge network is disabled (`bridge=none`).
    #[error("network bridge not found")]
    BridgeDisabled,
    /// The bridge was deleted behind our back, and it is not ours to make again.
    #[error("could not find bridge {0}: no such network interface")]
    BridgeGone(String),
    /// A netlink request was refused.
    #[error("{what}: {source}")]
    Netlink {
        /// What was attempted, e.g. `create veth vethabc`.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// nft refused our rules.
    #[error("nft: {0}")]
    Nft(String),
    /// A file, mount or namespace operation failed.
    #[error("{what} {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Something took longer than its time limit.
    #[error("{what} took longer than {seconds} s")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// Teardown went on after failures; these are all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
    /// The network threads are gone: [`Net::close`](crate::Net::close) was called.
    #[error("networking is shut down")]
    Closed,
}

impl Error {
    /// `Ok` when nothing failed, the failure itself when it was one, else [`Error::Several`].
    pub(crate) fn collect(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Error::Io {
            what,
            path: path.into(),
            source: source.into(),
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Invalid(_) | Error::NoSubnet => Kind::InvalidArgument,
            Error::Unsupported(_) => Kind::NotImplemented,
            Error::AddressInUse
            | Error::PoolOverlap
            | Error::BridgeTaken { .. }
            | Error::ActiveEndpoints { .. } => Kind::Forbidden,
            Error::NoNetns(_) | Error::BridgeDisabled | Error::NoNetwork(_) => Kind::NotFound,
            Error::Timeout { .. } => Kind::DeadlineExceeded,
            Error::Closed => Kind::Unavailable,
            Error::PoolExhausted { .. }
            | Error::PortAllocated { .. }
            | Error::PortsExhausted
            | Error::PortBind { .. }
            | Error::BridgeGone(_)
            | Error::Netlink { .. }
            | Error::Nft(_)
            | Error::Io { .. }
            | Error::Several(_) => Kind::Internal,
        }
    }
}
