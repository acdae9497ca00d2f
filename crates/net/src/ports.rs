//! Host ports: which are ours, and a held socket for each so that no other process takes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};
use tokio::runtime::Handle;

use crate::proxy::{self, Proxy};
use crate::{Error, Proto, Publish, PublishedPort, Result, filter};

/// Docker's range when the kernel's cannot be read.
pub(crate) const EPHEMERAL: RangeInclusive<u16> = 49153..=65535;

/// What Docker says when another process has the port.
const IN_USE: &str = "address already in use";

/// How often and how fast a port that somebody else has is tried again.
const BIND_TRIES: u32 = 3;
const BIND_PAUSE: Duration = Duration::from_millis(2);

/// How many connections to a proxied port may wait for the proxy.
const BACKLOG: i32 = 1024;

/// A published port together with the socket that holds it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) port: PublishedPort,
    /// Of IPv4 never read nor accepted from; `None` where the kernel does not know the protocol,
    /// so that nobody else can take the port either, and where the proxy has it.
    socket: Option<OwnedFd>,
    proxy: Option<Proxy>,
}

impl Held {
    /// Whether it is what is wanted at one of the addresses.
    fn is(&self, wanted: &Wanted, ip: &IpAddr) -> bool {
        let (port, number) = (&self.port, self.port.host_port);
        (port.host_ip, port.container_port, port.proto)
            == (*ip, wanted.container_port, wanted.proto)
            && wanted.host_ports == Some(number..=number)
    }

    /// Leads what rules cannot lead to the container: all that comes to an IPv6 address.
    pub(crate) fn lead(&mut self, runtime: &Handle, container: IpAddr) {
        let to = SocketAddr::new(container, self.port.container_port);
        if let Some(proxy) = &self.proxy {
            return proxy.redirect(to);
        }
        if self.port.host_ip.is_ipv4() {
            return;
        }
        let Some(socket) = self.socket.take() else {
            return;
        };
        match proxy::serve(runtime, self.port.proto, socket, to) {
            Ok(proxy) => self.proxy = Some(proxy),
            Err(error) => tracing::warn!(port = ?self.port, %error, "a port leads nowhere"),
        }
    }
}

/// A container port to publish on all of several host addresses, at the same host port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) host_ips: Vec<IpAddr>,
    pub(crate) host_ports: Option<RangeInclusive<u16>>,
    pub(crate) container_port: u16,
    pub(crate) proto: Proto,
}

/// What requests come to: those without an address get `bind_ip`, and where that is any IPv4
/// address any IPv6 address as well, as in dockerd, where ports can be published there (`over_v6`).
/// Requests that differ in the address alone share a host port.
///
/// Errors: [`Error::Unsupported`] for SCTP on IPv6, which nobody could lead to the container, and
/// for any protocol where nobody may.
pub(crate) fn spread(publish: &[Publish], bind_ip: IpAddr, over_v6: OverV6) -> Result<Vec<Wanted>> {
    let mut spread: Vec<Wanted> = Vec::new();
    for request in publish {
        let sctp = request.proto == Proto::Sctp;
        let host_ip = request.host_ip.unwrap_or(bind_ip);
        if sctp && host_ip.is_ipv6() {
            return Err(Error::Unsupported(format!(
                "publishing SCTP ports on IPv6 addresses is not supported: {host_ip}"
            )));
        }
        if host_ip.is_ipv6() && over_v6 == OverV6::SwitchedOff {
            return Err(Error::Unsupported(format!(
                "publishing ports on IPv6 addresses needs the userland proxy, which is switched off: {host_ip}"
            )));
        }
        let mut host_ips = vec![host_ip];
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if request.host_ip.is_none() && host_ip == any && over_v6 == OverV6::Proxied && !sctp {
            host_ips.push(Ipv6Addr::UNSPECIFIED.into());
        }
        let wanted = Wanted {
            host_ips,
            host_ports: request.host_ports.clone(),
            container_port: request.container_port,
            proto: request.proto,
        };
        let twin = spread.iter_mut().find(|other| {
            (&other.host_ports, other.container_port, other.proto)
                == (&wanted.host_ports, wanted.container_port, wanted.proto)
                && wanted
                    .host_ips
                    .iter()
                    .all(|ip| !other.host_ips.contains(ip))
        });
        match twin {
            Some(twin) => twin.host_ips.extend(wanted.host_ips),
            None => spread.push(wanted),
        }
    }
    Ok(spread)
}

/// What becomes of ports on IPv6 addresses of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverV6 {
    /// They are led to the container.
    Proxied,
    /// They could be, but the host has no such addresses.
    Missing,
    /// Nobody may lead them.
    SwitchedOff,
}

impl OverV6 {
    /// As it is in this thread's network namespace.
    pub(crate) fn here(proxy: bool) -> OverV6 {
        let listens = || hold(Ipv6Addr::UNSPECIFIED.into(), Proto::Tcp, 0);
        match proxy {
            false => OverV6::SwitchedOff,
            true if listens().is_ok_and(|socket| socket.is_some()) => OverV6::Proxied,
            true => OverV6::Missing,
        }
    }
}

/// All host ports that we publish.
#[derive(Debug)]
pub(crate) struct Ports {
    used: BTreeMap<(Proto, u16), Vec<IpAddr>>,
    ephemeral: RangeInclusive<u16>,
    /// Where the search for the next ephemeral port begins.
    cursor: u16,
}

impl Ports {
    /// `ephemeral`: where free ports are taken from.
    pub(crate) fn new(ephemeral: RangeInclusive<u16>) -> Self {
        let cursor = *ephemeral.start();
        Self {
            used: BTreeMap::new(),
            ephemeral,
            cursor,
        }
    }

    /// Takes the ports of all requests, or none.
    ///
    /// Errors: [`Error::PortAllocated`], [`Error::PortBind`], [`Error::PortsExhausted`],
    /// [`Error::Invalid`].
    pub(crate) fn take(&mut self, requests: &[Wanted]) -> Result<Vec<Held>> {
        let mut held = Vec::with_capacity(requests.len());
        for request in requests {
            match self.take_one(request) {
                Ok(ports) => held.extend(ports),
                Err(error) => {
                    self.release(held);
                    return Err(error);
                }
            }
        }
        Ok(held)
    }

    /// As [`take`](Self::take), in exchange for `held`: what is wanted of it is kept without ever
    /// being free, the rest is given back, and taken again after a failure.
    ///
    /// Errors: as [`take`](Self::take), with what is held then.
    pub(crate) fn exchange(
        &mut self,
        held: Vec<Held>,
        requests: &[Wanted],
    ) -> Result<Vec<Held>, (Error, Vec<Held>)> {
        let is_wanted = |held: &Held| {
            let mut requests = requests.iter();
            requests.any(|wanted| wanted.host_ips.iter().any(|ip| held.is(wanted, ip)))
        };
        let (mut kept, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(is_wanted);
        let missing = requests.iter().filter_map(|wanted| {
            let mut missing = wanted.clone();
            let has = |ip: &IpAddr| kept.iter().any(|held| held.is(wanted, ip));
            missing.host_ips.retain(|ip| !has(ip));
            (!missing.host_ips.is_empty()).then_some(missing)
        });
        let missing: Vec<_> = missing.collect();
        let before: Vec<_> = rest.iter().map(|held| held.port.clone()).collect();
        self.release(rest);
        match self.take(&missing) {
            Ok(new) => {
                kept.extend(new);
                Ok(kept)
            }
            Err(error) => {
                kept.extend(before.iter().filter_map(|port| self.retake(port).ok()));
                Err((error, kept))
            }
        }
    }

    /// Takes a port again that was ours before a restart. The socket is missing from the result
    /// when another process got the port meanwhile: our rules still serve it.
    ///
    /// Errors: [`Error::PortAllocated`] when another endpoint of ours has it.
    pub(crate) fn retake(&mut self, port: &PublishedPort) -> Result<Held> {
        self.claim(port.host_ip, port.proto, port.host_port)?;
        let socket = hold(port.host_ip, port.proto, port.host_port).unwrap_or_else(|errno| {
            tracing::warn!(?port, error = %errno, "published port could not be bound again");
            None
        });
        Ok(Held {
            port: port.clone(),
            socket,
            proxy: None,
        })
    }

    /// Gives ports back and closes their sockets.
    pub(crate) fn release(&mut self, held: Vec<Held>) {
        // All of them come to their end at the same time.
        held.iter()
            .filter_map(|held| held.proxy.as_ref())
            .for_each(Proxy::end);
        for Held { port, .. } in held {
            self.disclaim(port.host_ip, port.proto, port.host_port);
        }
    }

    fn take_one(&mut self, request: &Wanted) -> Result<Vec<Held>> {
        if request.container_port == 0 {
            return Err(Error::Invalid("invalid container port 0".into()));
        }
        match &request.host_ports {
            Some(range) if range.start() == range.end() => {
                self.try_patiently(request, *range.start())
            }
            Some(range) => self.first_of(request, range.clone()),
            None => {
                let (start, end) = (*self.ephemeral.start(), *self.ephemeral.end());
                let taken = self
                    .first_of(request, self.cursor..=end)
                    .or_else(|_| self.first_of(request, start..=self.cursor))?;
                if let Some(held) = taken.first() {
                    let port = held.port.host_port;
                    self.cursor = if port >= end { start } else { port + 1 };
                }
                Ok(taken)
            }
        }
    }

    fn first_of(&mut self, request: &Wanted, range: RangeInclusive<u16>) -> Result<Vec<Held>> {
        let mut last = Error::PortsExhausted;
        for port in range {
            match self.try_port(request, port) {
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

    /// A port just given back may look taken for a moment: a child process between fork and exec
    /// holds a copy of its socket.
    fn try_patiently(&mut self, request: &Wanted, port: u16) -> Result<Vec<Held>> {
        for _ in 0..BIND_TRIES {
            match self.try_port(request, port) {
                Err(Error::PortBind { reason, .. }) if reason == IN_USE => {
                    std::thread::sleep(BIND_PAUSE);
                }
                other => return other,
            }
        }
        self.try_port(request, port)
    }

    /// The port on all addresses, or on none.
    fn try_port(&mut self, request: &Wanted, host_port: u16) -> Result<Vec<Held>> {
        let mut all = Vec::with_capacity(request.host_ips.len());
        for ip in &request.host_ips {
            match self.try_address(request, *ip, host_port) {
                Ok(held) => all.push(held),
                Err(error) => {
                    self.release(all);
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    fn try_address(&mut self, request: &Wanted, host_ip: IpAddr, host_port: u16) -> Result<Held> {
        if host_port == 0 {
            return Err(Error::Invalid("invalid host port 0".into()));
        }
        let port = PublishedPort {
            host_ip,
            host_port,
            container_port: request.container_port,
            proto: request.proto,
        };
        self.claim(host_ip, request.proto, host_port)?;
        match hold(host_ip, request.proto, host_port) {
            Ok(socket) => Ok(Held {
                port,
                socket,
                proxy: None,
            }),
            Err(errno) => {
                self.disclaim(host_ip, request.proto, host_port);
                Err(Error::PortBind {
                    port,
                    reason: reason(errno),
                })
            }
        }
    }

    fn claim(&mut self, ip: IpAddr, proto: Proto, port: u16) -> Result<()> {
        let ips = self.used.entry((proto, port)).or_default();
        let clash = |other: &IpAddr| {
            let any = ip.is_unspecified() || other.is_unspecified();
            *other == ip || (any && other.is_ipv4() == ip.is_ipv4())
        };
        if ips.iter().any(clash) {
            return Err(Error::PortAllocated { host_ip: ip, port });
        }
        ips.push(ip);
        Ok(())
    }

    fn disclaim(&mut self, ip: IpAddr, proto: Proto, port: u16) {
        if let Some(ips) = self.used.get_mut(&(proto, port)) {
            if let Some(at) = ips.iter().position(|other| *other == ip) {
                ips.swap_remove(at);
            }
            if ips.is_empty() {
                self.used.remove(&(proto, port));
            }
        }
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

/// Binds a socket. One of IPv4 lets nothing in: packets for the port go to the container by our
/// rules; what slips past them while these change must be retransmitted, not answered by us. One
/// of IPv6 is the proxy's.
fn hold(ip: IpAddr, proto: Proto, port: u16) -> Result<Option<OwnedFd>, Errno> {
    let (kind, protocol) = match proto {
        Proto::Tcp => (SocketType::STREAM, ipproto::TCP),
        Proto::Udp => (SocketType::DGRAM, ipproto::UDP),
        Proto::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = match socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)) {
        Ok(socket) => socket,
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    if proto == Proto::Tcp {
        // As Go's listeners do: connections in TIME_WAIT must not keep a port from us.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    match ip {
        IpAddr::V4(_) => filter::drop_all(&socket)?,
        IpAddr::V6(_) => sockopt::set_ipv6_v6only(&socket, true)?,
    }
    bind(&socket, &SocketAddr::new(ip, port))?;
    if proto != Proto::Udp {
        listen(&socket, if ip.is_ipv4() { 1 } else { BACKLOG })?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests;
