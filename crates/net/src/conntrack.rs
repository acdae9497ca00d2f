//! Forgetting UDP flows that would bypass a change of published ports.
//!
//! The kernel decides once per flow where it goes. A client that keeps sending from one port
//! would for ever reach the host, or a container that is gone, instead of the new one.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::{Endpoint, Error, Proto, Result};

const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const UDP: u8 = 17;
/// The kernel's answers to a dump; each is at most this long.
const ROOM: usize = 64 * 1024;

/// One direction of a flow.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tuple {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    proto: u8,
    destination_port: u16,
}

/// Forgets the UDP flows to `endpoint`'s published ports that lead elsewhere (`gone` false), or
/// those that lead to it (`gone` true). Works on the calling thread's network namespace.
pub(crate) fn forget(endpoint: &Endpoint, gone: bool) -> Result<()> {
    if !endpoint.ports.iter().any(|port| port.proto == Proto::Udp) {
        return Ok(());
    }
    let stale = |original: &Tuple, reply: &Tuple| {
        let ours = endpoint.addresses().any(|ip| reply.source == Some(ip));
        original.proto == UDP
            && if gone {
                ours
            } else {
                !ours && hits(endpoint, original)
            }
    };
    let forget = || -> io::Result<()> {
        let mut socket = open()?;
        for family in families(endpoint) {
            for tuple in dump(&mut socket, family, stale)? {
                delete(&socket, family, &tuple)?;
            }
        }
        Ok(())
    };
    forget().map_err(|source| Error::Netlink {
        what: "forget UDP flows".into(),
        source,
    })
}

fn hits(endpoint: &Endpoint, original: &Tuple) -> bool {
    endpoint.ports.iter().any(|port| {
        port.proto == Proto::Udp
            && port.host_port == original.destination_port
            && original.destination.is_some_and(|ip| {
                let of_family = ip.is_ipv4() == port.host_ip.is_ipv4();
                port.host_ip == ip || (port.host_ip.is_unspecified() && of_family)
            })
    })
}

/// Those in which it has published ports that rules lead to it.
fn families(endpoint: &Endpoint) -> impl Iterator<Item = u8> {
    let v4 = Some(libc::AF_INET as u8);
    let v6 = endpoint.v6.as_ref().map(|_| libc::AF_INET6 as u8);
    v4.into_iter().chain(v6)
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// A request about flows of an address family with `attributes`.
fn request(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = (20 + attributes.len()) as u32;
    let mut bytes = Vec::with_capacity(length as usize);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port: there is one question at a time
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// The original tuples (as attributes, to be sent back) of the flows that `wanted` accepts.
fn dump(
    socket: &mut Socket,
    family: u8,
    wanted: impl Fn(&Tuple, &Tuple) -> bool,
) -> io::Result<Vec<Vec<u8>>> {
    socket.send(&request(GET, DUMP, family, &[]), 0)?;
    let mut found = Vec::new();
    loop {
        for (kind, body) in messages(&receive(socket)?) {
            match kind {
                DONE => return Ok(found),
                ERROR => return Err(code(body)),
                _ => {}
            }
            let Some(attributes) = body.get(4..) else {
                continue;
            };
            let (mut original, mut reply) = (None, None);
            for (kind, value) in attributes_of(attributes) {
                match kind {
                    1 => original = Some(value),
                    2 => reply = Some(value),
                    _ => {}
                }
            }
            if let (Some(original), Some(reply)) = (original, reply)
                && wanted(&tuple(original), &tuple(reply))
            {
                found.push(nested(1, original));
            }
        }
    }
}

fn delete(socket: &Socket, family: u8, tuple: &[u8]) -> io::Result<()> {
    socket.send(&request(DELETE, ACK, family, tuple), 0)?;
    for (kind, body) in messages(&receive(socket)?) {
        if kind == ERROR {
            let error = code(body);
            // It may have ended by itself meanwhile.
            if !matches!(error.raw_os_error(), Some(0 | libc::ENOENT)) {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    socket.recv(&mut bytes, 0)?;
    Ok(bytes)
}

fn code(body: &[u8]) -> io::Error {
    let code = body
        .first_chunk::<4>()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    io::Error::from_raw_os_error(code.saturating_neg())
}

/// Cuts length-prefixed records: header of `header` bytes whose length `length` tells.
fn cut(
    mut rest: &[u8],
    header: usize,
    length: impl Fn(&[u8]) -> Option<usize>,
) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let whole = length(rest).filter(|length| *length >= header)?;
        let record = rest.get(..whole)?;
        rest = rest.get(whole.next_multiple_of(4)..).unwrap_or_default();
        record.split_at_checked(header)
    })
}

fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    cut(bytes, 16, |b| {
        b.first_chunk().map(|c| u32::from_ne_bytes(*c) as usize)
    })
    .map(|(header, body)| (half(header.get(4..)), body))
}

/// Attributes with the flag bits taken off their kinds.
fn attributes_of(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    cut(bytes, 4, |b| {
        b.first_chunk().map(|c| u16::from_ne_bytes(*c) as usize)
    })
    .map(|(header, value)| (half(header.get(2..)) & 0x3fff, value))
}

fn half(bytes: Option<&[u8]>) -> u16 {
    bytes
        .and_then(|b| b.first_chunk())
        .map_or(0, |c| u16::from_ne_bytes(*c))
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len());
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend((kind | 0x8000).to_ne_bytes());
    bytes.extend(value);
    bytes
}

fn tuple(bytes: &[u8]) -> Tuple {
    let mut tuple = Tuple::default();
    let ip4 = |value: &[u8]| value.first_chunk::<4>().map(|octets| IpAddr::from(*octets));
    let ip6 = |value: &[u8]| {
        value
            .first_chunk::<16>()
            .map(|octets| IpAddr::from(*octets))
    };
    for (kind, value) in attributes_of(bytes) {
        for (inner, value) in attributes_of(value) {
            match (kind, inner) {
                (1, 1) => tuple.source = ip4(value),
                (1, 2) => tuple.destination = ip4(value),
                (1, 3) => tuple.source = ip6(value),
                (1, 4) => tuple.destination = ip6(value),
                (2, 1) => tuple.proto = value.first().copied().unwrap_or_default(),
                (2, 3) => {
                    tuple.destination_port = value
                        .first_chunk()
                        .map_or(0, |port| u16::from_be_bytes(*port));
                }
                _ => {}
            }
        }
    }
    tuple
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tuple_is_read() {
        let ips = [nested(1, &[10, 0, 0, 9]), nested(2, &[10, 0, 0, 1])].concat();
        let (six, own): ([u8; 16], [u8; 16]) = ([7; 16], [9; 16]);
        let ips6 = [nested(3, &six), nested(4, &own)].concat();
        let mut proto = nested(1, &[17]);
        proto.extend([0; 3]);
        proto.extend([nested(2, &[0x80, 0]), vec![0; 2], nested(3, &[0, 53])].concat());
        let read = tuple(&[nested(1, &ips), nested(2, &proto)].concat());
        let expected = Tuple {
            source: Some([10, 0, 0, 9].into()),
            destination: Some([10, 0, 0, 1].into()),
            proto: 17,
            destination_port: 53,
        };
        assert_eq!(read, expected);
        let expected = Tuple {
            source: Some(six.into()),
            destination: Some(own.into()),
            ..expected
        };
        assert_eq!(
            tuple(&[nested(1, &ips6), nested(2, &proto)].concat()),
            expected
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            tuple(&bytes);
        }
    }
}
