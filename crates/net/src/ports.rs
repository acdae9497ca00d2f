//! Host ports: which are ours, and a held socket for each so that no other process takes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};

use crate::{Error, Proto, Publish, PublishedPort, Result, filter};

/// Docker's range when the kernel's cannot be read.
pub(crate) const EPHEMERAL: RangeInclusive<u16> = 49153..=65535;

/// What Docker says when another process has the port.
const IN_USE: &str = "address already in use";

/// A published port together with the socket that holds it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) port: PublishedPort,
    pub(crate) host_ip: Ipv4Addr,
    /// Never read nor accepted from; `None` where the kernel does not know the protocol, so that
    /// nobody else can take the port either.
    _socket: Option<OwnedFd>,
}

/// All host ports that we publish.
#[derive(Debug)]
pub(crate) struct Ports {
    used: BTreeMap<(Proto, u16), Vec<Ipv4Addr>>,
    ephemeral: RangeInclusive<u16>,
    /// Where the search for the next ephemeral port begins.
    cursor: u16,
    default_ip: Ipv4Addr,
}

impl Ports {
    /// `ephemeral`: where free ports are taken from. `default_ip`: the host address of requests
    /// that name none.
    pub(crate) fn new(ephemeral: RangeInclusive<u16>, default_ip: Ipv4Addr) -> Self {
        let cursor = *ephemeral.start();
        Self {
            used: BTreeMap::new(),
            ephemeral,
            cursor,
            default_ip,
        }
    }

    /// Takes the ports of all requests, or none.
    ///
    /// `container` is the address that the ports will lead to (for the error's text only).
    /// Errors: [`Error::PortAllocated`], [`Error::PortBind`], [`Error::PortsExhausted`],
    /// [`Error::Unsupported`] for IPv6.
    pub(crate) fn take(&mut self, requests: &[Publish]) -> Result<Vec<Held>> {
        let mut held = Vec::with_capacity(requests.len());
        for request in requests {
            match self.take_one(request) {
                Ok(port) => held.push(port),
                Err(error) => {
                    self.release(held);
                    return Err(error);
                }
            }
        }
        Ok(held)
    }

    /// Takes a port again that was ours before a restart. The socket is missing from the result
    /// when another process got the port meanwhile: our rules still serve it.
    ///
    /// Errors: [`Error::PortAllocated`] when another endpoint of ours has it.
    pub(crate) fn retake(&mut self, port: &PublishedPort) -> Result<Held> {
        let host_ip = v4(port.host_ip)?;
        self.claim(host_ip, port.proto, port.host_port)?;
        let socket = hold(host_ip, port.proto, port.host_port).unwrap_or_else(|errno| {
            tracing::warn!(?port, error = %errno, "published port could not be bound again");
            None
        });
        Ok(Held {
            port: port.clone(),
            host_ip,
            _socket: socket,
        })
    }

    /// Gives ports back and closes their sockets.
    pub(crate) fn release(&mut self, held: Vec<Held>) {
        for Held { port, host_ip, .. } in held {
            let key = (port.proto, port.host_port);
            if let Some(ips) = self.used.get_mut(&key) {
                if let Some(at) = ips.iter().position(|ip| *ip == host_ip) {
                    ips.swap_remove(at);
                }
                if ips.is_empty() {
                    self.used.remove(&key);
                }
            }
        }
    }

    fn take_one(&mut self, request: &Publish) -> Result<Held> {
        if request.container_port == 0 {
            return Err(Error::Invalid("invalid container port 0".into()));
        }
        let host_ip = request.host_ip.map_or(Ok(self.default_ip), v4)?;
        match &request.host_ports {
            Some(range) if range.start() == range.end() => {
                self.try_port(request, host_ip, *range.start())
            }
            Some(range) => self.first_of(request, host_ip, range.clone()),
            None => {
                let (start, end) = (*self.ephemeral.start(), *self.ephemeral.end());
                let taken = self
                    .first_of(request, host_ip, self.cursor..=end)
                    .or_else(|_| self.first_of(request, host_ip, start..=self.cursor))?;
                let port = taken.port.host_port;
                self.cursor = if port >= end { start } else { port + 1 };
                Ok(taken)
            }
        }
    }

    fn first_of(
        &mut self,
        request: &Publish,
        host_ip: Ipv4Addr,
        range: RangeInclusive<u16>,
    ) -> Result<Held> {
        let mut last = Error::PortsExhausted;
        for port in range {
            match self.try_port(request, host_ip, port) {
                Ok(held) => return Ok(held),
                Err(Error::PortAllocated { .. }) => {}
                Err(Error::PortBind { port, reason }) if reason == IN_USE => {
                    last = Error::PortBind { port, reason };
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn try_port(&mut self, request: &Publish, host_ip: Ipv4Addr, host_port: u16) -> Result<Held> {
        if host_port == 0 {
            return Err(Error::Invalid("invalid host port 0".into()));
        }
        let port = PublishedPort {
            host_ip: IpAddr::V4(host_ip),
            host_port,
            container_port: request.container_port,
            proto: request.proto,
        };
        self.claim(host_ip, request.proto, host_port)?;
        match hold(host_ip, request.proto, host_port) {
            Ok(socket) => Ok(Held {
                port,
                host_ip,
                _socket: socket,
            }),
            Err(errno) => {
                self.release(vec![Held {
                    port: port.clone(),
                    host_ip,
                    _socket: None,
                }]);
                Err(Error::PortBind {
                    port,
                    reason: reason(errno),
                })
            }
        }
    }

    fn claim(&mut self, ip: Ipv4Addr, proto: Proto, port: u16) -> Result<()> {
        let ips = self.used.entry((proto, port)).or_default();
        let clash =
            |other: &Ipv4Addr| *other == ip || ip.is_unspecified() || other.is_unspecified();
        if ips.iter().any(clash) {
            return Err(Error::PortAllocated {
                host_ip: IpAddr::V4(ip),
                port,
            });
        }
        ips.push(ip);
        Ok(())
    }
}

fn v4(ip: IpAddr) -> Result<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(ip) => Err(Error::Unsupported(format!(
            "publishing ports on IPv6 addresses is not supported: {ip}"
        ))),
    }
}

/// Docker prints the Go runtime's words for these.
fn reason(errno: Errno) -> String {
    match errno {
        Errno::ADDRINUSE => IN_USE.into(),
        Errno::ADDRNOTAVAIL => "cannot assign requested address".into(),
        Errno::ACCESS => "permission denied".into(),
        other => std::io::Error::from(other).to_string(),
    }
}

/// Binds a socket that lets nothing in: packets for the port go to the container by our rules;
/// what slips past them while these change must be retransmitted, not answered by us.
fn hold(ip: Ipv4Addr, proto: Proto, port: u16) -> Result<Option<OwnedFd>, Errno> {
    let (kind, protocol) = match proto {
        Proto::Tcp => (SocketType::STREAM, ipproto::TCP),
        Proto::Udp => (SocketType::DGRAM, ipproto::UDP),
        Proto::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = match socket_with(
        AddressFamily::INET,
        kind,
        SocketFlags::CLOEXEC,
        Some(protocol),
    ) {
        Ok(socket) => socket,
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if proto == Proto::Tcp {
        // As Go's listeners do: connections in TIME_WAIT must not keep a port from us.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    filter::drop_all(&socket)?;
    bind(&socket, &SocketAddrV4::new(ip, port))?;
    if proto != Proto::Udp {
        listen(&socket, 1)?;
    }
    Ok(Some(socket))
}
