//! A container's attachment to a bridge network: what is asked for and what it became.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A transport protocol that ports belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Proto {
    /// Docker's and nft's name of the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
            Proto::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Proto {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Proto::Tcp),
            "udp" => Ok(Proto::Udp),
            "sctp" => Ok(Proto::Sctp),
            _ => Err(Error::Invalid(format!("invalid protocol: {text}"))),
        }
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address Docker derives from an IPv4 address: `02:42` and its four bytes.
    pub fn of(ip: Ipv4Addr) -> Self {
        let [a, b, c, d] = ip.octets();
        Mac([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::Invalid(format!(
                "invalid MAC address: address {text}: invalid MAC address"
            ))
        };
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        match parts.next() {
            None => Ok(Mac(bytes)),
            Some(_) => Err(bad()),
        }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A container port to publish on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Host address; `None`: the network's default, and where that is `0.0.0.0` also `::`.
    pub host_ip: Option<IpAddr>,
    /// Host port, or a range of which the first free one is taken; `None`: a free ephemeral port.
    pub host_ports: Option<RangeInclusive<u16>>,
    /// The container's port.
    pub container_port: u16,
    /// Transport protocol.
    pub proto: Proto,
}

/// A container port that is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Host address; `0.0.0.0` is all of the host's IPv4 addresses, `::` all of IPv6.
    pub host_ip: IpAddr,
    /// Host port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// Transport protocol.
    pub proto: Proto,
}

/// What [`Net::connect`](crate::Net::connect) is asked for.
#[derive(Clone, Debug, Default)]
pub struct EndpointRequest {
    /// The container's full id.
    pub id: String,
    /// The network's id; empty for the default bridge.
    pub network: String,
    /// The container's pinned network namespace.
    pub netns: PathBuf,
    /// A MAC address asked for; else one is derived from the IP address.
    pub mac: Option<Mac>,
    /// An IP address asked for; else the next free one.
    pub ip: Option<Ipv4Addr>,
    /// An IPv6 address asked for; else the next free one where the network has IPv6.
    pub ip6: Option<Ipv6Addr>,
    /// Ports to publish.
    pub publish: Vec<Publish>,
    /// Of a container's networks the one with the highest number has the default route.
    pub priority: i64,
    /// The names that the container answers to in this network, its own first.
    pub names: Vec<String>,
    /// What else the container calls others in this network: its own word, and their name.
    pub links: BTreeMap<String, String>,
    /// Where the container's other questions go; `None`: the network has no DNS.
    pub upstream: Option<Upstream>,
}

/// A container's attachment to a bridge network. The engine keeps it in the container's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container's full id.
    pub container: String,
    /// 64 hexadecimal digits.
    pub endpoint_id: String,
    /// Id of the network.
    pub network_id: String,
    /// The network's name.
    #[serde(default)]
    pub network: String,
    /// The container's address.
    pub ip: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix_len: u8,
    /// The bridge's address; `None` in internal networks.
    pub gateway: Option<Ipv4Addr>,
    /// Where the network has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<V6>,
    /// The container interface's Ethernet address.
    pub mac: Mac,
    /// The host end of the veth pair.
    pub host_ifname: String,
    /// The container's end.
    #[serde(default = "eth0")]
    pub ifname: String,
    /// What is published, in the order of the request.
    pub ports: Vec<PublishedPort>,
    /// As asked for.
    #[serde(default)]
    pub priority: i64,
    /// As asked for.
    #[serde(default)]
    pub names: Vec<String>,
    /// As asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// As asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
}

/// The IPv6 part of an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V6 {
    /// The container's address.
    pub ip: Ipv6Addr,
    /// Length of the subnet's prefix.
    pub prefix_len: u8,
    /// The bridge's address; `None` in internal networks.
    pub gateway: Option<Ipv6Addr>,
}

/// Name servers that a container's questions go on to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// In the order in which they are asked.
    pub servers: Vec<IpAddr>,
    /// The servers are the host's: those on loopback are asked from the host.
    pub of_host: bool,
    /// The user set `ndots`: names without a dot are not passed on, so that the container tries
    /// its search domains.
    pub ndots: bool,
}

fn eth0() -> String {
    "eth0".to_owned()
}

impl Endpoint {
    /// The container's addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v6 = self.v6.iter().map(|v6| IpAddr::V6(v6.ip));
        std::iter::once(IpAddr::V4(self.ip)).chain(v6)
    }

    /// The address at which the proxy reaches the container.
    pub(crate) fn proxied(&self) -> IpAddr {
        self.v6
            .as_ref()
            .map_or(IpAddr::V4(self.ip), |v6| IpAddr::V6(v6.ip))
    }

    /// Where it comes among a container's endpoints when one is to have the default route: the
    /// greatest wins.
    pub fn rank(&self) -> impl Ord + use<> {
        rank(self.gateway.is_none(), self.priority, &self.network)
    }
}

/// Where a network comes among a container's networks when one is to have the default route and
/// the published ports: the greatest wins. Internal ones come last; of the others the one of the
/// highest priority, then the first by name.
pub fn rank(internal: bool, priority: i64, network: &str) -> impl Ord + use<> {
    (!internal, priority, std::cmp::Reverse(network.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_protocols_are_read() {
        assert_eq!(
            Mac::of(Ipv4Addr::new(172, 17, 0, 2)).to_string(),
            "02:42:ac:11:00:02"
        );
        assert_eq!(
            "02-42-AC-11-00-02".parse::<Mac>().unwrap(),
            Mac::of(Ipv4Addr::new(172, 17, 0, 2))
        );
        for bad in [
            "",
            "02:42",
            "02:42:ac:11:00:02:03",
            "0242ac110002",
            "zz:42:ac:11:00:02",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert_eq!("SCTP".parse::<Proto>().unwrap(), Proto::Sctp);
        assert!("icmp".parse::<Proto>().is_err());
    }

    #[test]
    fn an_endpoint_survives_the_record() {
        let port = PublishedPort {
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
            container_port: 80,
            proto: Proto::Tcp,
        };
        let endpoint = Endpoint {
            container: "c".into(),
            endpoint_id: "e".into(),
            network_id: "n".into(),
            ip: Ipv4Addr::new(172, 17, 0, 2),
            prefix_len: 16,
            gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
            network: "bridge".into(),
            v6: None,
            ifname: "eth0".into(),
            priority: 0,
            names: vec!["c".into()],
            links: BTreeMap::new(),
            upstream: None,
            mac: Mac::of(Ipv4Addr::new(172, 17, 0, 2)),
            host_ifname: "veth1".into(),
            ports: vec![port],
        };
        let text = serde_json::to_string(&endpoint).unwrap();
        assert!(text.contains(r#""mac":"02:42:ac:11:00:02""#) && text.contains(r#""proto":"tcp""#));
        assert_eq!(serde_json::from_str::<Endpoint>(&text).unwrap(), endpoint);
    }
}
