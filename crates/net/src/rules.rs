//! The text of our nftables table: pure functions, so that tests can hold it.
//!
//! Published ports are elements of two maps (any host address, one host address), networks are
//! elements of sets; the chains never change with them, so a packet's and a change's cost do not
//! depend on how many there are.
//!
//! Connections between containers by way of a host address get the bridge's address as their
//! source, so that the answers come back through the host; telling the sender of a shorter way
//! (ICMP redirect) would break them.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Endpoint, Error, NetworkSpec, Policy, Proto, PublishedPort, Result};

/// What one element of a set or a map is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Packets to the host that are for a container. Unspecified: any of the family's addresses.
    Port {
        host_ip: IpAddr,
        proto: Proto,
        host_port: u16,
    },
    /// A container's port that may be reached at its own address.
    Direct { ip: IpAddr, proto: Proto, port: u16 },
    /// A bridge of ours.
    Bridge(String),
    /// A bridge whose containers may talk to one another.
    Talkative(String),
    /// A bridge with no way out or in.
    Internal(String),
    /// A subnet, and the bridge that it lives behind.
    Home(IpNet, String),
    /// A subnet that is hidden behind the host's address.
    Masked(IpNet),
}

/// Where a packet to a published port goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
}

/// An element: those of maps have a target.
pub(crate) type Element = (Key, Option<Target>);

/// All elements.
pub(crate) type Elements = BTreeMap<Key, Option<Target>>;

/// The elements that publish an endpoint's ports, as far as rules can: it has addresses of the
/// family.
pub(crate) fn elements(endpoint: &Endpoint, policy: &Policy) -> Vec<Element> {
    let target = |port: &PublishedPort| {
        let of_family = |ip: &IpAddr| ip.is_ipv4() == port.host_ip.is_ipv4();
        let ip = endpoint.addresses().find(of_family)?;
        policy.covers(&ip).then_some(Target {
            ip,
            port: port.container_port,
        })
    };
    let mut elements = Vec::new();
    for port in &endpoint.ports {
        let Some(to) = target(port) else {
            continue;
        };
        let key = Key::Port {
            host_ip: port.host_ip,
            proto: port.proto,
            host_port: port.host_port,
        };
        elements.push((key, Some(to)));
        if policy.direct {
            let key = Key::Direct {
                ip: to.ip,
                proto: port.proto,
                port: to.port,
            };
            elements.push((key, None));
        }
    }
    elements
}

/// The set elements that say how a network's packets are treated.
pub(crate) fn network(spec: &NetworkSpec) -> Vec<Element> {
    let bridge = || spec.bridge.clone();
    let mut keys = vec![Key::Bridge(bridge())];
    if spec.icc {
        keys.push(Key::Talkative(bridge()));
    }
    if spec.internal {
        keys.push(Key::Internal(bridge()));
    }
    for subnet in spec.subnets() {
        keys.push(Key::Home(subnet.net, bridge()));
        if spec.masquerade && !spec.internal {
            keys.push(Key::Masked(subnet.net));
        }
    }
    keys.into_iter().map(|key| (key, None)).collect()
}

/// Checks the names that go into the rules.
///
/// Errors: [`Error::Invalid`].
pub(crate) fn check_names(table: &str, bridge: &str) -> Result<()> {
    let plain = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    if !plain(table) || !table.starts_with(|c: char| c.is_ascii_alphabetic()) || table.len() > 64 {
        return Err(Error::Invalid(format!(
            "invalid nftables table name {table:?}"
        )));
    }
    // IFNAMSIZ is 16 with the final zero.
    if !plain(bridge) || bridge.len() > 15 || bridge.starts_with('.') {
        return Err(Error::Invalid(format!("invalid bridge name {bridge:?}")));
    }
    Ok(())
}

/// The sets and maps with their types, in the order of [`Key::place`].
const PLACES: [(&str, &str); 13] = [
    (
        "map published_any4",
        "type inet_proto . inet_service : ipv4_addr . inet_service;",
    ),
    (
        "map published_any6",
        "type inet_proto . inet_service : ipv6_addr . inet_service;",
    ),
    (
        "map published_addr4",
        "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service;",
    ),
    (
        "map published_addr6",
        "type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service;",
    ),
    ("set direct4", "type ipv4_addr . inet_proto . inet_service;"),
    ("set direct6", "type ipv6_addr . inet_proto . inet_service;"),
    ("set bridges", "type ifname;"),
    ("set talkative", "type ifname . ifname;"),
    ("set internal", "type ifname;"),
    ("set home4", "type ipv4_addr . ifname; flags interval;"),
    ("set home6", "type ipv6_addr . ifname; flags interval;"),
    ("set masked4", "type ipv4_addr; flags interval;"),
    ("set masked6", "type ipv6_addr; flags interval;"),
];

/// The whole table. `fresh`: made anew with just `elements`; else the static rules are put in
/// place and elements that are there stay (containers that run on keep their ports meanwhile).
pub(crate) fn table(table: &str, policy: &Policy, fresh: bool, elements: &Elements) -> String {
    let clean = if fresh {
        format!("delete table inet {table}\nadd table inet {table}")
    } else {
        format!("flush table inet {table}")
    };
    let mut places = String::new();
    for (name, kind) in PLACES {
        // Writing to a String does not fail.
        let _ = writeln!(places, "  {name} {{ {kind} }}");
    }
    let chains = chains(policy);
    let mut text =
        format!("add table inet {table}\n{clean}\ntable inet {table} {{\n{places}{chains}}}\n");
    if fresh {
        let all: Vec<_> = elements.iter().map(|(k, t)| (k.clone(), *t)).collect();
        text.push_str(&change(table, &[], &all));
    }
    text
}

/// The chains with what the policy says: families without rules pass all of them by.
fn chains(policy: &Policy) -> String {
    let mut pass = String::new();
    for (covered, family) in [(policy.v4, "ipv4"), (policy.v6, "ipv6")] {
        if !covered {
            pass = format!("meta nfproto {family} accept");
        }
    }
    let mark = match policy.accept_mark {
        Some((value, mask)) => format!("meta mark and {mask} == {value} accept"),
        None => String::new(),
    };
    CHAINS.replace("$pass", &pass).replace("$mark", &mark)
}

/// From `::1` nothing can be led to another interface, and nothing that has a link-local address is
/// forwarded: the proxy takes these.
const CHAINS: &str = r#"  chain published4 {
    dnat ip to ip daddr . meta l4proto . th dport map @published_addr4
    dnat ip to meta l4proto . th dport map @published_any4
  }
  chain published6 {
    ip6 daddr { ::1, fe80::/10 } return
    ip6 saddr fe80::/10 return
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @published_addr6
    dnat ip6 to meta l4proto . th dport map @published_any6
  }
  chain raw {
    type filter hook prerouting priority raw; policy accept;
    $pass
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    $pass
    meta nfproto ipv4 fib daddr type local jump published4
    meta nfproto ipv6 fib daddr type local jump published6
  }
  chain output {
    type nat hook output priority -100; policy accept;
    $pass
    meta nfproto ipv4 fib daddr type local jump published4
    meta nfproto ipv6 fib daddr type local jump published6
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    $pass
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    ip saddr . oifname @home4 ct status dnat masquerade
    ip6 saddr . oifname @home6 ct status dnat masquerade
    ip saddr @masked4 ip saddr . oifname != @home4 masquerade
    ip6 saddr @masked6 ip6 saddr . oifname != @home6 masquerade
  }
  chain no_redirect {
    type filter hook output priority filter; policy accept;
    $pass
    oifname @bridges icmp type redirect drop
    oifname @bridges icmpv6 type nd-redirect drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    $pass
    iifname @internal iifname . oifname != @talkative drop
    oifname @bridges jump to_bridge
  }
  chain to_bridge {
    ct state established,related accept
    oifname @internal iifname . oifname != @talkative drop
    ct status dnat accept
    ip daddr . meta l4proto . th dport @direct4 accept
    ip6 daddr . meta l4proto . th dport @direct6 accept
    $mark
    iifname . oifname @talkative accept
    drop
  }
"#;

/// Removes the table.
pub(crate) fn remove(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

/// Takes some elements out and puts some in.
pub(crate) fn change(table: &str, gone: &[Key], new: &[Element]) -> String {
    let mut text = String::new();
    for (index, (place, _)) in PLACES.iter().enumerate() {
        let name = place.split(' ').nth(1).unwrap_or_default();
        let here = |key: &&Key| key.place() == index;
        let gone: Vec<String> = gone.iter().filter(here).map(Key::to_string).collect();
        let new: Vec<String> = new
            .iter()
            .filter(|(key, _)| key.place() == index)
            .map(|(key, target)| match target {
                Some(to) => format!("{key} : {} . {}", to.ip, to.port),
                None => key.to_string(),
            })
            .collect();
        for (verb, list) in [("delete", gone), ("add", new)] {
            if !list.is_empty() {
                let _ = writeln!(
                    text,
                    "{verb} element inet {table} {name} {{ {} }}",
                    list.join(", ")
                );
            }
        }
    }
    text
}

impl Key {
    /// Which of [`PLACES`] it belongs to.
    fn place(&self) -> usize {
        match self {
            Key::Port { host_ip, .. } => match (host_ip.is_unspecified(), host_ip.is_ipv6()) {
                (true, false) => 0,
                (true, true) => 1,
                (false, false) => 2,
                (false, true) => 3,
            },
            Key::Direct { ip, .. } => match ip.is_ipv6() {
                false => 4,
                true => 5,
            },
            Key::Bridge(_) => 6,
            Key::Talkative(_) => 7,
            Key::Internal(_) => 8,
            Key::Home(IpNet::V4(_), _) => 9,
            Key::Home(IpNet::V6(_), _) => 10,
            Key::Masked(IpNet::V4(_)) => 11,
            Key::Masked(IpNet::V6(_)) => 12,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Port {
                host_ip,
                proto,
                host_port,
            } => {
                if !host_ip.is_unspecified() {
                    write!(f, "{host_ip} . ")?;
                }
                write!(f, "{proto} . {host_port}")
            }
            Key::Direct { ip, proto, port } => write!(f, "{ip} . {proto} . {port}"),
            Key::Bridge(name) | Key::Internal(name) => write!(f, "\"{name}\""),
            Key::Talkative(name) => write!(f, "\"{name}\" . \"{name}\""),
            Key::Home(net, name) => write!(f, "{net} . \"{name}\""),
            Key::Masked(net) => write!(f, "{net}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subnet;

    fn spec() -> NetworkSpec {
        NetworkSpec {
            bridge: "br-1".into(),
            v4: Some(Subnet::new("172.18.0.0/16", "172.18.0.1")),
            v6: Some(Subnet::new("fd00::/64", "fd00::1")),
            ..NetworkSpec::default()
        }
    }

    fn texts(spec: &NetworkSpec) -> String {
        change("berth", &[], &network(spec))
    }

    #[test]
    fn a_change_names_only_what_changes() {
        let port = |ip: &str, proto, host_port| Key::Port {
            host_ip: ip.parse().unwrap(),
            proto,
            host_port,
        };
        let to = |ip: &str| {
            Some(Target {
                ip: ip.parse().unwrap(),
                port: 80,
            })
        };
        assert_eq!(
            change(
                "berth",
                &[port("127.0.0.1", Proto::Udp, 53)],
                &[
                    (port("0.0.0.0", Proto::Tcp, 8080), to("172.17.0.2")),
                    (port("::", Proto::Tcp, 8080), to("fd00::2")),
                    (port("2001:db8::1", Proto::Tcp, 81), to("fd00::2")),
                ]
            ),
            "add element inet berth published_any4 { tcp . 8080 : 172.17.0.2 . 80 }\n\
             add element inet berth published_any6 { tcp . 8080 : fd00::2 . 80 }\n\
             delete element inet berth published_addr4 { 127.0.0.1 . udp . 53 }\n\
             add element inet berth published_addr6 { 2001:db8::1 . tcp . 81 : fd00::2 . 80 }\n"
        );
        assert_eq!(change("berth", &[], &[]), "");
    }

    #[test]
    fn a_network_is_a_few_elements() {
        assert_eq!(
            texts(&spec()),
            "add element inet berth bridges { \"br-1\" }\n\
             add element inet berth talkative { \"br-1\" . \"br-1\" }\n\
             add element inet berth home4 { 172.18.0.0/16 . \"br-1\" }\n\
             add element inet berth home6 { fd00::/64 . \"br-1\" }\n\
             add element inet berth masked4 { 172.18.0.0/16 }\n\
             add element inet berth masked6 { fd00::/64 }\n"
        );
    }

    #[test]
    fn switches_reach_the_rules() {
        let quiet = NetworkSpec {
            icc: false,
            masquerade: false,
            ..spec()
        };
        assert!(!texts(&quiet).contains("talkative") && !texts(&quiet).contains("masked"));
        let internal = NetworkSpec {
            internal: true,
            ..spec()
        };
        let text = texts(&internal);
        assert!(text.contains("internal { \"br-1\" }") && !text.contains("masked"));
    }

    #[test]
    fn a_policy_changes_the_chains() {
        let with = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            chains(&policy)
        };
        let plain = chains(&Policy::default());
        assert!(!plain.contains('$') && !plain.contains("nfproto ipv4 accept"));
        let off = with(|policy| policy.v4 = false);
        let base_chains = off.matches("hook").count();
        assert_eq!(
            off.matches("meta nfproto ipv4 accept\n").count(),
            base_chains
        );
        let marked = with(|policy| policy.accept_mark = Some((2, 3)));
        assert!(marked.contains("meta mark and 3 == 2 accept"));
    }

    #[test]
    fn names_cannot_smuggle_rules() {
        assert!(check_names("berth", "docker0").is_ok());
        for (table, bridge) in [
            ("b;flush ruleset", "docker0"),
            ("", "br"),
            ("berth", "a\"b"),
            ("berth", "longer-than-ifnamsiz"),
            ("berth", "../x"),
        ] {
            assert!(check_names(table, bridge).is_err(), "{table} {bridge}");
        }
    }
}
