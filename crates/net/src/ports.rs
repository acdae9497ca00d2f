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
    _proxy: Option<Proxy>,
}

impl Held {
    /// Leads what rules cannot lead to the container: all that comes to an IPv6 address.
    pub(crate) fn lead(&mut self, runtime: &Handle, container: IpAddr) {
        if self.port.host_ip.is_ipv4() {
            return;
        }
        let Some(socket) = self.socket.take() else {
            return;
        };
        let to = SocketAddr::new(container, self.port.container_port);
        match proxy::serve(runtime, self.port.proto, socket, to) {
            Ok(proxy) => self._proxy = Some(proxy),
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
/// address any IPv6 address as well, as in dockerd, if the host has such (`v6`). Requests that
/// differ in the address alone share a host port.
///
/// Errors: [`Error::Unsupported`] for SCTP on IPv6, which nobody could lead to the container.
pub(crate) fn spread(publish: &[Publish], bind_ip: IpAddr, v6: bool) -> Result<Vec<Wanted>> {
    let mut spread: Vec<Wanted> = Vec::new();
    for request in publish {
        let sctp = request.proto == Proto::Sctp;
        let host_ip = request.host_ip.unwrap_or(bind_ip);
        if sctp && host_ip.is_ipv6() {
            return Err(Error::Unsupported(format!(
                "publishing SCTP ports on IPv6 addresses is not supported: {host_ip}"
            )));
        }
        let mut host_ips = vec![host_ip];
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if request.host_ip.is_none() && host_ip == any && v6 && !sctp {
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

/// Whether sockets can listen on IPv6 in this thread's network namespace.
pub(crate) fn has_v6() -> bool {
    hold(Ipv6Addr::UNSPECIFIED.into(), Proto::Tcp, 0).is_ok_and(|socket| socket.is_some())
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
            _proxy: None,
        })
    }

    /// Gives ports back and closes their sockets.
    pub(crate) fn release(&mut self, held: Vec<Held>) {
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
                _proxy: None,
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
        Ports::new(40000..=40003)
    }

    fn ask(ip: Option<&str>, host: Option<RangeInclusive<u16>>) -> Wanted {
        Wanted {
            host_ips: vec![ip.unwrap_or("0.0.0.0").parse().unwrap()],
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
                Wanted {
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

    #[test]
    fn requests_without_an_address_are_for_both_families_at_one_port() {
        let publish = |ip: Option<&str>, container_port, proto| Publish {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_ports: None,
            container_port,
            proto,
        };
        let ips = |publish: &[Publish], bind: &str, v6| {
            let spread = spread(publish, bind.parse().unwrap(), v6).unwrap();
            let ips = spread.iter().map(|wanted| format!("{:?}", wanted.host_ips));
            ips.collect::<Vec<_>>()
        };
        let one = [publish(None, 80, Proto::Tcp)];
        assert_eq!(ips(&one, "0.0.0.0", true), ["[0.0.0.0, ::]"]);
        assert_eq!(ips(&one, "0.0.0.0", false), ["[0.0.0.0]"]);
        assert_eq!(ips(&one, "192.0.2.1", true), ["[192.0.2.1]"]);
        assert_eq!(ips(&one, "::1", true), ["[::1]"]);
        let pair = [
            publish(Some("127.0.0.1"), 80, Proto::Tcp),
            publish(None, 81, Proto::Sctp),
            publish(Some("::1"), 80, Proto::Tcp),
            publish(Some("::1"), 80, Proto::Udp),
        ];
        let both = ["[127.0.0.1, ::1]", "[0.0.0.0]", "[::1]"];
        assert_eq!(ips(&pair, "0.0.0.0", true), both);
        let twice = [publish(None, 80, Proto::Tcp), publish(None, 80, Proto::Tcp)];
        assert_eq!(ips(&twice, "0.0.0.0", false).len(), 2);
        let sctp = spread(
            &[publish(Some("::1"), 80, Proto::Sctp)],
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            true,
        );
        assert!(matches!(sctp, Err(Error::Unsupported(_))));
    }

    #[test]
    fn several_addresses_get_one_port_that_all_of_them_have_free() {
        alone(|| {
            let mut ports = ports();
            let both = |host: Option<RangeInclusive<u16>>| Wanted {
                host_ips: vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()],
                ..ask(None, host)
            };
            let theirs = TcpListener::bind("[::1]:40000").unwrap();
            let held = ports.take(&[both(None)]).unwrap();
            assert_eq!(numbers(&held), [40001, 40001]);
            let error = ports.take(&[both(Some(40000..=40000))]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "failed to bind host port [::]:40000/tcp: address already in use"
            );
            drop(theirs);
            ports
                .take(&[both(Some(40000..=40000))])
                .expect("free, of both families");
            // The families do not stand in one another's way.
            let four = ports
                .take(&[ask(Some("127.0.0.1"), Some(9000..=9000))])
                .unwrap();
            let six = ports.take(&[ask(Some("::"), Some(9000..=9000))]).unwrap();
            let error = ports
                .take(&[ask(Some("::1"), Some(9000..=9000))])
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                "Bind for ::1:9000 failed: port is already allocated"
            );
            ports.release(four);
            ports.release(six);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_port_has_one_holder_and_failures_hold_nothing(
            steps in prop::collection::vec((0u8..4, 0u8..5, 0u16..4, any::<bool>()), 1..60)
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
                    let ip = ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1"][usize::from(ip)];
                    let last = 9000 + number + u16::from(two);
                    let mut asked = vec![ask(Some(ip), Some(9000 + number..=last))];
                    if step == 3 {
                        asked.push(ask(Some(ip), Some(9000..=9000)));
                    }
                    held.extend(ports.take(&asked).unwrap_or_default());
                }
                let clash = |a: &Held, b: &Held| {
                    let (a, b) = (&a.port, &b.port);
                    let any = a.host_ip.is_unspecified() || b.host_ip.is_unspecified();
                    let any = any && a.host_ip.is_ipv4() == b.host_ip.is_ipv4();
                    a.host_port == b.host_port && (any || a.host_ip == b.host_ip)
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
