//! Host ports: which are ours, and a held socket for each so that no other process takes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};

use crate::{Error, Proto, Publish, PublishedPort, Result, filter};

/// Docker's range when the kernel's cannot be read.
pub(crate) const EPHEMERAL: RangeInclusive<u16> = 49153..=65535;

/// What Docker says when another process has the port.
const IN_USE: &str = "address already in use";

/// How often and how fast a port that somebody else has is tried again.
const BIND_TRIES: u32 = 3;
const BIND_PAUSE: Duration = Duration::from_millis(2);

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
                self.try_patiently(request, host_ip, *range.start())
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

    /// A port just given back may look taken for a moment: a child process between fork and exec
    /// holds a copy of its socket.
    fn try_patiently(&mut self, request: &Publish, host_ip: Ipv4Addr, port: u16) -> Result<Held> {
        for _ in 0..BIND_TRIES {
            match self.try_port(request, host_ip, port) {
                Err(Error::PortBind { reason, .. }) if reason == IN_USE => {
                    std::thread::sleep(BIND_PAUSE);
                }
                other => return other,
            }
        }
        self.try_port(request, host_ip, port)
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

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::*;
    use crate::rtnl::{self, Rtnl};

    /// Runs a test in a network namespace of its own, with a loopback. Needs root.
    fn alone<T: Send>(test: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: file descriptors stay shared; the thread ends with the test.
                unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("run as root");
                let mut links = Rtnl::open().unwrap();
                let lo = links.index("lo").unwrap().unwrap();
                links.apply(vec![rtnl::set_up(lo)]).unwrap();
                test()
            });
            thread.join().unwrap()
        })
    }

    fn ports() -> Ports {
        Ports::new(40000..=40003, Ipv4Addr::UNSPECIFIED)
    }

    fn ask(ip: Option<&str>, host: Option<RangeInclusive<u16>>) -> Publish {
        Publish {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_ports: host,
            container_port: 80,
            proto: Proto::Tcp,
        }
    }

    fn numbers(held: &[Held]) -> Vec<u16> {
        held.iter().map(|held| held.port.host_port).collect()
    }

    #[test]
    fn random_ports_move_on_and_come_round() {
        alone(|| {
            let mut ports = ports();
            let mut taken = Vec::new();
            for _ in 0..6 {
                let held = ports.take(&[ask(None, None)]).unwrap();
                taken.extend(numbers(&held));
                ports.release(held);
            }
            assert_eq!(taken, [40000, 40001, 40002, 40003, 40000, 40001]);
            let theirs = TcpListener::bind("0.0.0.0:40002").unwrap();
            let held = ports
                .take(&[ask(None, None), ask(None, None), ask(None, None)])
                .unwrap();
            assert_eq!(numbers(&held), [40003, 40000, 40001]);
            assert!(ports.take(&[ask(None, None)]).is_err());
            drop(theirs);
            assert_eq!(numbers(&ports.take(&[ask(None, None)]).unwrap()), [40002]);
            let error = ports.take(&[ask(None, None)]).unwrap_err();
            assert_eq!(error.to_string(), "all ports are allocated");
        });
    }

    #[test]
    fn an_address_that_is_not_the_hosts_is_refused() {
        alone(|| {
            let error = ports()
                .take(&[ask(Some("203.0.113.9"), Some(80..=90))])
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                "failed to bind host port 203.0.113.9:80/tcp: cannot assign requested address"
            );
            for zero in [
                ask(None, Some(0..=0)),
                Publish {
                    container_port: 0,
                    ..ask(None, None)
                },
            ] {
                assert!(matches!(ports().take(&[zero]), Err(Error::Invalid(_))));
            }
        });
    }

    #[test]
    fn a_port_lost_in_a_restart_is_ours_again_by_the_rules() {
        alone(|| {
            let (mut before, mut after) = (ports(), ports());
            let held = before.take(&[ask(None, Some(8080..=8080))]).unwrap();
            let port = held[0].port.clone();
            drop(held);
            let theirs = UdpSocket::bind("0.0.0.0:8080").unwrap();
            let again = after.retake(&port).unwrap();
            assert_eq!(again.port, port);
            assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "held again");
            assert!(matches!(
                after.retake(&port),
                Err(Error::PortAllocated { .. })
            ));
            drop(theirs);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_port_has_one_holder_and_failures_hold_nothing(
            steps in prop::collection::vec((0u8..4, 0u8..3, 0u16..4, any::<bool>()), 1..60)
        ) {
            alone(|| {
                let mut ports = ports();
                let mut held: Vec<Held> = Vec::new();
                for (step, ip, number, two) in steps {
                    if step == 0 && !held.is_empty() {
                        let at = usize::from(number) % held.len();
                        ports.release(vec![held.swap_remove(at)]);
                        continue;
                    }
                    let ip = ["0.0.0.0", "127.0.0.1", "127.0.0.2"][usize::from(ip)];
                    let last = 9000 + number + u16::from(two);
                    let mut asked = vec![ask(Some(ip), Some(9000 + number..=last))];
                    if step == 3 {
                        asked.push(ask(Some(ip), Some(9000..=9000)));
                    }
                    held.extend(ports.take(&asked).unwrap_or_default());
                }
                let clash = |a: &Held, b: &Held| {
                    let any = a.host_ip.is_unspecified() || b.host_ip.is_unspecified();
                    a.port.host_port == b.port.host_port && (any || a.host_ip == b.host_ip)
                };
                for (n, one) in held.iter().enumerate() {
                    assert!(held.iter().skip(n + 1).all(|other| !clash(one, other)));
                }
                let holders: usize = ports.used.values().map(Vec::len).sum();
                assert_eq!(holders, held.len(), "nothing is held for a failed request");
                ports.release(held);
                assert!(ports.used.is_empty());
                let mut fresh = self::ports();
                for port in 9000..=9004 {
                    fresh.take(&[ask(None, Some(port..=port))]).expect("free again");
                }
            });
        }
    }
}
