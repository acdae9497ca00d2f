//! Host ports: which are ours, and a held socket for each so that no other process takes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};
use tokio::runtime::Handle;

use crate::proxy::{self, Proxy};
use crate::{Error, Proto, PublishedPort, Result, filter};

mod spread;

pub(crate) use spread::{Reach, Wanted};

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
    /// Never read nor accepted from unless it is for the proxy; `None` where the kernel does not
    /// know the protocol, so that nobody else can take the port either, and where the proxy has it.
    socket: Option<OwnedFd>,
    /// What comes to the socket is led to the container.
    proxied: bool,
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

    /// Leads what rules do not lead to the container.
    pub(crate) fn lead(&mut self, runtime: &Handle, container: IpAddr) {
        let to = SocketAddr::new(container, self.port.container_port);
        if let Some(proxy) = &self.proxy {
            return proxy.redirect(to);
        }
        if !self.proxied {
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

/// All host ports that we publish.
#[derive(Debug)]
pub(crate) struct Ports {
    used: BTreeMap<(Proto, u16), Vec<IpAddr>>,
    ephemeral: RangeInclusive<u16>,
    /// Where the search for the next ephemeral port begins.
    cursor: u16,
    proxied: Proxied,
}

/// Of which family's addresses a proxy takes what no rule leads away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proxied {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Ports {
    /// `ephemeral`: where free ports are taken from.
    pub(crate) fn new(ephemeral: RangeInclusive<u16>, proxied: Proxied) -> Self {
        let cursor = *ephemeral.start();
        Self {
            used: BTreeMap::new(),
            ephemeral,
            cursor,
            proxied,
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
        let held = self.hold(port.clone()).unwrap_or_else(|errno| {
            tracing::warn!(?port, error = %errno, "published port could not be bound again");
            Held {
                port: port.clone(),
                socket: None,
                proxied: false,
                proxy: None,
            }
        });
        Ok(held)
    }

    fn hold(&self, port: PublishedPort) -> Result<Held, Errno> {
        let proxied = match port.host_ip {
            IpAddr::V4(_) => self.proxied.v4,
            IpAddr::V6(_) => self.proxied.v6,
        };
        let proxied = proxied && proxy::can_lead(port.proto);
        Ok(Held {
            socket: hold(port.host_ip, port.proto, port.host_port, proxied)?,
            port,
            proxied,
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
        match self.hold(port.clone()) {
            Ok(held) => Ok(held),
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

/// Binds a socket. Nothing gets in that is not `open`, for the proxy: packets for the port go to the
/// container by our rules; what slips past them while these change must be retransmitted, not
/// answered by us.
fn hold(ip: IpAddr, proto: Proto, port: u16, open: bool) -> Result<Option<OwnedFd>, Errno> {
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
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if !open {
        filter::drop_all(&socket)?;
    }
    bind(&socket, &SocketAddr::new(ip, port))?;
    if proto != Proto::Udp {
        listen(&socket, if open { BACKLOG } else { 1 })?;
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests;
