//! A route-netlink socket: batches of requests in one system call, and the requests we need.
//!
//! The socket belongs to the network namespace of the thread that opened it, and stays there.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::{Error, Mac, Result};

/// The kernel answers within the sending call; this only guards against a lost answer.
const ANSWER: Duration = Duration::from_secs(10);

/// One change for the kernel, and what to say when it is refused.
#[derive(Debug)]
pub(crate) struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
    what: String,
}

/// A link as a dump tells it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) mac: Option<Mac>,
    /// Whether it is a bridge.
    pub(crate) bridge: bool,
}

/// A veth pair to make: one end on the host's bridge, the other in the container.
#[derive(Debug)]
pub(crate) struct Veth<'a> {
    pub(crate) host: &'a str,
    pub(crate) peer: &'a str,
    pub(crate) bridge: u32,
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) alias: String,
    /// How the bridge treats the port.
    pub(crate) port: Vec<InfoBridgePort>,
}

/// A socket in one network namespace.
pub(crate) struct Rtnl {
    socket: Socket,
    sequence: u32,
}

impl Rtnl {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER))?;
            Ok(socket)
        };
        let socket = open().map_err(|source| failed("open netlink socket", source))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends all requests at once; the kernel does them in order. The first refusal is the
    /// result, but the later requests were tried all the same.
    pub(crate) fn apply(&mut self, requests: Vec<Request>) -> Result<()> {
        if requests.is_empty() {
            return Ok(());
        }
        let mut buffer = Vec::new();
        let mut expected = Vec::new();
        for request in requests {
            let sequence = self.push(&mut buffer, request.message, request.flags | NLM_F_ACK);
            expected.push((sequence, request.what));
        }
        self.socket
            .send(&buffer, 0)
            .map_err(|source| failed("send netlink request", source))?;
        let mut result = Ok(());
        let mut left = expected.len();
        while left > 0 {
            for message in self.receive()? {
                let Some((_, what)) = expected
                    .iter()
                    .find(|(sequence, _)| *sequence == message.header.sequence_number)
                else {
                    continue;
                };
                let NetlinkPayload::Error(answer) = message.payload else {
                    continue;
                };
                left = left.saturating_sub(1);
                if answer.code.is_some() && result.is_ok() {
                    result = Err(failed(what, answer.to_io()));
                }
            }
        }
        result
    }

    /// All links of the namespace.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let links = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewLink(message) = answer else {
                return None;
            };
            let mut link = Link {
                name: String::new(),
                alias: None,
                mac: None,
                bridge: false,
            };
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => link.name = name,
                    LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                    LinkAttribute::Address(bytes) => {
                        link.mac = <[u8; 6]>::try_from(bytes).ok().map(Mac);
                    }
                    LinkAttribute::LinkInfo(info) => {
                        link.bridge = info.contains(&LinkInfo::Kind(InfoKind::Bridge));
                    }
                    _ => {}
                }
            }
            Some(link)
        });
        Ok(links.collect())
    }

    /// All IPv4 addresses of the namespace with their links' indices.
    pub(crate) fn addresses(&mut self) -> Result<Vec<(u32, Ipv4Net)>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message))?;
        let addresses = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else {
                return None;
            };
            let local = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
                    _ => None,
                })?;
            let net = Ipv4Net::new(local, message.header.prefix_len).ok()?;
            Some((message.header.index, net))
        });
        Ok(addresses.collect())
    }

    /// All IPv6 addresses of the namespace with their links' indices.
    pub(crate) fn addresses6(&mut self) -> Result<Vec<(u32, Ipv6Net)>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message))?;
        let addresses = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else {
                return None;
            };
            let mut attributes = message.attributes.iter();
            let ip = attributes.find_map(|attribute| match attribute {
                AddressAttribute::Address(IpAddr::V6(ip)) => Some(*ip),
                _ => None,
            })?;
            let net = Ipv6Net::new(ip, message.header.prefix_len).ok()?;
            Some((message.header.index, net))
        });
        Ok(addresses.collect())
    }

    /// The destinations of all IPv4 routes to what is on a link of the host's. What lies behind a
    /// gateway is not the host's: a VPN that takes half of all addresses would leave no subnet.
    pub(crate) fn routes(&mut self) -> Result<Vec<Ipv4Net>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let answers = self.dump(RouteNetlinkMessage::GetRoute(message))?;
        let routes = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewRoute(message) = answer else {
                return None;
            };
            if message.header.scope != RouteScope::Link {
                return None;
            }
            message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(ip)) => {
                        Ipv4Net::new(*ip, message.header.destination_prefix_length).ok()
                    }
                    _ => None,
                })
        });
        Ok(routes.collect())
    }

    /// The index of a link, `None` when there is none of that name.
    pub(crate) fn index(&self, name: &str) -> Result<Option<u32>> {
        match rustix::net::netdevice::name_to_index(&self.socket, name) {
            Ok(index) => Ok(Some(index)),
            Err(rustix::io::Errno::NODEV) => Ok(None),
            Err(errno) => Err(failed(format!("look up {name}"), errno.into())),
        }
    }

    fn dump(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        let mut buffer = Vec::new();
        let sequence = self.push(&mut buffer, message, NLM_F_DUMP);
        self.socket
            .send(&buffer, 0)
            .map_err(|source| failed("send netlink request", source))?;
        let mut answers = Vec::new();
        loop {
            for message in self.receive()? {
                if message.header.sequence_number != sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => {
                        return Err(failed("netlink dump", error.to_io()));
                    }
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    _ => {}
                }
            }
        }
    }

    /// Appends a message to `buffer` and returns its sequence number.
    fn push(&mut self, buffer: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = buffer.len();
        buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
        if let Some(room) = buffer.get_mut(start..) {
            message.serialize(room);
        }
        self.sequence
    }

    /// The messages of one datagram. One that the decoder does not know is left out.
    fn receive(&self) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (bytes, _) = self
            .socket
            .recv_from_full()
            .map_err(|source| failed("receive netlink answer", source))?;
        let mut rest = bytes.as_slice();
        let mut messages = Vec::new();
        while let Some(length) = rest
            .first_chunk::<4>()
            .map(|b| u32::from_ne_bytes(*b) as usize)
        {
            let Some(message) = rest.get(..length).filter(|_| length >= 16) else {
                break;
            };
            match NetlinkMessage::deserialize(message) {
                Ok(message) => messages.push(message),
                Err(error) => tracing::debug!(%error, "undecodable netlink message"),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

fn failed(what: impl Into<String>, source: io::Error) -> Error {
    Error::Netlink {
        what: what.into(),
        source,
    }
}

/// Whether the kernel said that the thing to delete is not there.
pub(crate) fn is_gone(error: &Error) -> bool {
    let Error::Netlink { source, .. } = error else {
        return false;
    };
    matches!(
        source.raw_os_error(),
        Some(libc::ENODEV | libc::ENOENT | libc::ESRCH)
    )
}

fn up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

/// Sets a link up.
pub(crate) fn set_up(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    up(&mut message);
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
        what: format!("set link {index} up"),
    }
}

/// Sets a link's MTU.
pub(crate) fn set_mtu(index: u32, mtu: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu));
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
        what: format!("set MTU {mtu}"),
    }
}

/// Creates a bridge that is up.
pub(crate) fn add_bridge(name: &str, mac: Mac) -> Request {
    let mut message = LinkMessage::default();
    up(&mut message);
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    Request {
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
        what: format!("create bridge {name}"),
    }
}

/// Creates a veth pair, the host's end up, and marks the host end with its alias.
pub(crate) fn add_veth(veth: &Veth<'_>) -> Vec<Request> {
    // Not up yet: the kernel configures it before the two ends know one another.
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(veth.peer.into()),
        LinkAttribute::Address(veth.mac.0.to_vec()),
        LinkAttribute::Mtu(veth.mtu),
        LinkAttribute::NetNsFd(veth.netns.as_raw_fd()),
    ];
    let mut pair = LinkMessage::default();
    up(&mut pair);
    pair.attributes = vec![
        LinkAttribute::IfName(veth.host.into()),
        LinkAttribute::Mtu(veth.mtu),
        LinkAttribute::Controller(veth.bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    let mut requests = vec![
        Request {
            message: RouteNetlinkMessage::NewLink(pair),
            flags: NLM_F_CREATE | NLM_F_EXCL,
            what: format!("create veth {}", veth.host),
        },
        set_alias(veth.host, &veth.alias),
    ];
    requests.extend(configure_port(veth.host, &veth.port));
    requests
}

/// Says how the bridge treats the port that a link is; nothing to do without settings.
pub(crate) fn configure_port(name: &str, settings: &[InfoBridgePort]) -> Option<Request> {
    if settings.is_empty() {
        return None;
    }
    let mut port = LinkMessage::default();
    port.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(settings.to_vec())),
        ]),
    ];
    Some(Request {
        message: RouteNetlinkMessage::NewLink(port),
        flags: 0,
        what: format!("configure bridge port {name}"),
    })
}

/// Puts a link under a bridge.
pub(crate) fn set_controller(name: &str, bridge: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Controller(bridge),
    ];
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
        what: format!("attach {name} to the bridge"),
    }
}

/// Deletes a link.
pub(crate) fn delete_link(name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    Request {
        message: RouteNetlinkMessage::DelLink(message),
        flags: 0,
        what: format!("delete link {name}"),
    }
}

/// Writes a link's alias, a note for people and for us.
pub(crate) fn set_alias(name: &str, alias: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::IfAlias(alias.into()),
    ];
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
        what: format!("mark link {name}"),
    }
}

/// Puts a link into a group.
pub(crate) fn set_group(name: &str, group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Group(group),
    ];
    Request {
        message: RouteNetlinkMessage::SetLink(message),
        flags: 0,
        what: format!("group link {name}"),
    }
}

/// Deletes all links of a group at once.
pub(crate) fn delete_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    Request {
        message: RouteNetlinkMessage::DelLink(message),
        flags: 0,
        what: format!("delete link group {group}"),
    }
}

/// Gives a link an address (`net` holds both address and prefix length), unless it has it.
pub(crate) fn add_address(index: u32, net: IpNet) -> Request {
    let mut message = AddressMessage::default();
    message.header.prefix_len = net.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(net.addr()),
        AddressAttribute::Address(net.addr()),
    ];
    match net {
        IpNet::V4(net) => {
            message.header.family = AddressFamily::Inet;
            let broadcast = AddressAttribute::Broadcast(net.broadcast());
            message.attributes.push(broadcast);
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // Whether somebody has it is known: nobody need wait for the answer.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    Request {
        message: RouteNetlinkMessage::NewAddress(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
        what: format!("add address {net}"),
    }
}

/// Takes an address (`net` holds both address and prefix length) from a link.
pub(crate) fn delete_address(index: u32, net: IpNet) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = net.prefix_len();
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(net.addr())];
    Request {
        message: RouteNetlinkMessage::DelAddress(message),
        flags: 0,
        what: format!("delete address {net}"),
    }
}

/// Routes everything of the gateway's family over it, whatever it was routed over.
pub(crate) fn set_default_route(index: u32, gateway: IpAddr) -> Request {
    let mut message = RouteMessage::default();
    let (family, gateway_address) = match gateway {
        IpAddr::V4(ip) => (AddressFamily::Inet, RouteAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, RouteAddress::Inet6(ip)),
    };
    message.header.address_family = family;
    message.header.table = netlink_packet_route::route::RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Gateway(gateway_address),
        RouteAttribute::Oif(index),
    ];
    Request {
        message: RouteNetlinkMessage::NewRoute(message),
        flags: NLM_F_CREATE | NLM_F_REPLACE,
        what: format!("set default route over {gateway}"),
    }
}

impl AsFd for Rtnl {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
