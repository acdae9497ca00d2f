//! The text of our nftables table: pure functions, so that tests can hold it.
//!
//! Published ports are elements of two maps (any host address, one host address); the chains
//! never change with them, so a packet's and a change's cost do not depend on how many there are.
//!
//! Connections between containers by way of a host address get the bridge's address as their
//! source, so that the answers come back through the host; telling the sender of a shorter way
//! (ICMP redirect) would break them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::{Endpoint, Error, Proto, PublishedPort, Result};

/// What a packet to the host must look like to be for a container. No address: any of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) host_ip: Option<Ipv4Addr>,
    pub(crate) proto: Proto,
    pub(crate) host_port: u16,
}

/// Where such a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
}

/// All published ports.
pub(crate) type Elements = BTreeMap<Key, Target>;

/// What the static rules depend on.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) table: String,
    pub(crate) bridge: String,
    pub(crate) subnet: Ipv4Net,
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
}

/// The map elements that publish an endpoint's ports.
pub(crate) fn elements(endpoint: &Endpoint) -> Vec<(Key, Target)> {
    let element = |port: &PublishedPort| {
        let std::net::IpAddr::V4(host) = port.host_ip else {
            return None;
        };
        let key = Key {
            host_ip: (!host.is_unspecified()).then_some(host),
            proto: port.proto,
            host_port: port.host_port,
        };
        Some((
            key,
            Target {
                ip: endpoint.ip,
                port: port.container_port,
            },
        ))
    };
    endpoint.ports.iter().filter_map(element).collect()
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

/// The whole table. `fresh`: made anew with just `elements`; else the static rules are put in
/// place and elements that are there stay (containers that run on keep their ports meanwhile).
pub(crate) fn table(layout: &Layout, fresh: bool, elements: &Elements) -> String {
    let Layout {
        table,
        bridge,
        subnet,
        ..
    } = layout;
    let (map_any, map_addr) = maps();
    let clean = if fresh {
        format!("delete table ip {table}\nadd table ip {table}")
    } else {
        format!("flush table ip {table}")
    };
    let filters = filter_chains(layout);
    let masquerade = if layout.masquerade {
        format!("    oifname != \"{bridge}\" ip saddr {subnet} masquerade\n")
    } else {
        String::new()
    };
    let mut text = format!(
        r#"add table ip {table}
{clean}
table ip {table} {{
{map_any}{map_addr}  chain published {{
    dnat ip to ip daddr . meta l4proto . th dport map @published_addr
    dnat ip to meta l4proto . th dport map @published_any
  }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump published
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump published
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade
    oifname "{bridge}" ip saddr {subnet} ct status dnat masquerade
{masquerade}  }}
{filters}}}
"#
    );
    if fresh {
        text.push_str(&change(
            layout,
            &[],
            &elements.iter().map(|(k, t)| (*k, *t)).collect::<Vec<_>>(),
        ));
    }
    text
}

fn filter_chains(layout: &Layout) -> String {
    let bridge = &layout.bridge;
    let icc = if layout.icc { "accept" } else { "drop" };
    format!(
        r#"  chain no_redirect {{
    type filter hook output priority filter; policy accept;
    oifname "{bridge}" icmp type redirect drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "{bridge}" jump to_bridge
  }}
  chain to_bridge {{
    ct state established,related accept
    ct status dnat accept
    iifname "{bridge}" {icc}
    drop
  }}
"#
    )
}

fn maps() -> (&'static str, &'static str) {
    (
        "  map published_any {\n    type inet_proto . inet_service : ipv4_addr . inet_service;\n  }\n",
        "  map published_addr {\n    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service;\n  }\n",
    )
}

/// Removes the table.
pub(crate) fn remove(layout: &Layout) -> String {
    format!("add table ip {0}\ndelete table ip {0}\n", layout.table)
}

/// Takes some elements out and puts some in.
pub(crate) fn change(layout: &Layout, gone: &[Key], new: &[(Key, Target)]) -> String {
    let mut text = String::new();
    for (map, of_address) in [("published_any", false), ("published_addr", true)] {
        let gone = gone
            .iter()
            .filter(|key| key.host_ip.is_some() == of_address);
        let gone: Vec<String> = gone.map(key_text).collect();
        let new = new
            .iter()
            .filter(|(key, _)| key.host_ip.is_some() == of_address);
        let new: Vec<String> = new
            .map(|(key, to)| format!("{} : {} . {}", key_text(key), to.ip, to.port))
            .collect();
        for (verb, list) in [("delete", gone), ("add", new)] {
            if !list.is_empty() {
                // Writing to a String does not fail.
                let _ = writeln!(
                    text,
                    "{verb} element ip {} {map} {{ {} }}",
                    layout.table,
                    list.join(", ")
                );
            }
        }
    }
    text
}

fn key_text(key: &Key) -> String {
    let Key {
        host_ip,
        proto,
        host_port,
    } = key;
    match host_ip {
        Some(ip) => format!("{ip} . {proto} . {host_port}"),
        None => format!("{proto} . {host_port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout {
            table: "berth".into(),
            bridge: "docker0".into(),
            subnet: "172.17.0.0/16".parse().unwrap(),
            icc: true,
            masquerade: true,
        }
    }

    #[test]
    fn a_change_names_only_what_changes() {
        let any = Key {
            host_ip: None,
            proto: Proto::Tcp,
            host_port: 8080,
        };
        let one = Key {
            host_ip: Some(Ipv4Addr::LOCALHOST),
            proto: Proto::Udp,
            host_port: 53,
        };
        let to = Target {
            ip: Ipv4Addr::new(172, 17, 0, 2),
            port: 80,
        };
        assert_eq!(
            change(&layout(), &[one], &[(any, to)]),
            "add element ip berth published_any { tcp . 8080 : 172.17.0.2 . 80 }\n\
             delete element ip berth published_addr { 127.0.0.1 . udp . 53 }\n"
        );
        assert_eq!(change(&layout(), &[], &[]), "");
    }

    #[test]
    fn switches_reach_the_rules() {
        let none = Elements::new();
        assert!(table(&layout(), true, &none).contains("masquerade\n  }\n  chain no_redirect"));
        let strict = Layout {
            icc: false,
            masquerade: false,
            ..layout()
        };
        let text = table(&strict, true, &none);
        assert!(text.contains("iifname \"docker0\" drop"));
        assert!(!text.contains("oifname != \"docker0\""));
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
