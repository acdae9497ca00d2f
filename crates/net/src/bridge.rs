//! A bridge device: found or made, addressed, and the host prepared for it.

use std::fs;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::link::InfoBridgePort;
use rand::RngCore;

use crate::rtnl::{self, Rtnl};
use crate::{BridgeConfig, Error, Mac, Result};

/// The device as it is.
#[derive(Clone, Debug)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: Option<Mac>,
    /// Its own address with the subnet's prefix length.
    pub(crate) net: Ipv4Net,
    /// Whether we made it.
    pub(crate) ours: bool,
    /// Whether we made it just now.
    pub(crate) fresh: bool,
}

/// Finds the bridge again or, as long as it was ours, makes it again as it was: containers remember
/// its address and MAC.
///
/// Errors: [`Error::BridgeGone`], else as [`set_up`].
pub(crate) fn again(config: &BridgeConfig, was: &Bridge, host: &mut Rtnl) -> Result<Bridge> {
    if !was.ours && host.index(&was.name)?.is_none() {
        return Err(Error::BridgeGone(was.name.clone()));
    }
    let config = BridgeConfig {
        address: Some(was.net),
        ..config.clone()
    };
    let found = find_or_make(&config, was.mac, host)?;
    tracing::warn!(
        bridge = found.name,
        made = found.fresh,
        "the bridge was gone"
    );
    Ok(found)
}

/// Finds or makes the bridge, with the address that is configured.
///
/// Errors: [`Error::Invalid`] when the configuration contradicts an existing device,
/// [`Error::Netlink`].
pub(crate) fn set_up(config: &BridgeConfig, host: &mut Rtnl) -> Result<Bridge> {
    find_or_make(config, None, host)
}

fn find_or_make(config: &BridgeConfig, mac: Option<Mac>, host: &mut Rtnl) -> Result<Bridge> {
    let net = config.address;
    let net =
        net.ok_or_else(|| Error::Invalid(format!("bridge {} has no address", config.name)))?;
    check_address(net)?;
    let bridge = match host.index(&config.name)? {
        Some(index) => existing(config, net, host, index)?,
        None => create(config, net, mac.unwrap_or_else(random_mac), host)?,
    };
    let prepared = prepare(config, &bridge, host);
    if prepared.is_err() && bridge.fresh {
        let _ = host.apply(vec![rtnl::delete_link(&bridge.name)]);
    }
    prepared.map(|()| bridge)
}

/// The mark by which a bridge is known as this daemon's. Not one that a sweep would take for a
/// container's interface.
pub(crate) fn mark(config: &BridgeConfig) -> String {
    format!("{}=bridge", config.table)
}

fn prepare(config: &BridgeConfig, bridge: &Bridge, host: &mut Rtnl) -> Result<()> {
    let mut requests = vec![rtnl::set_up(bridge.index)];
    if bridge.ours {
        requests.push(rtnl::set_mtu(bridge.index, config.mtu));
    }
    host.apply(requests)?;
    // Replies to connections from the host's loopback come in here for 127.0.0.1; the rules
    // drop what else pretends to.
    let localnet = format!("net/ipv4/conf/{}/route_localnet", bridge.name);
    match config.rules.v4 {
        true => sysctl(&localnet, "1")?,
        false if bridge.ours => sysctl(&localnet, "0")?,
        false => {}
    }
    if config.ip_forward {
        sysctl("net/ipv4/ip_forward", "1")?;
    }
    if bridge.ours && !bridge.fresh {
        forget_old_v6(config, bridge, host)?;
    }
    match config.address6 {
        Some(net) => prepare_v6(config, bridge, net, host),
        None => Ok(()),
    }
}

/// Takes addresses from the bridge that an earlier configuration gave it: the host would keep on
/// sending there what is for others now.
fn forget_old_v6(config: &BridgeConfig, bridge: &Bridge, host: &mut Rtnl) -> Result<()> {
    let addresses = host.addresses6()?.into_iter();
    let old = addresses.filter(|(link, net)| {
        let given = !net.addr().is_unicast_link_local();
        *link == bridge.index && given && Some(*net) != config.address6
    });
    let requests: Vec<_> = old
        .map(|(index, net)| rtnl::delete_address(index, net.into()))
        .collect();
    host.apply(requests)
}

fn prepare_v6(config: &BridgeConfig, bridge: &Bridge, net: Ipv6Net, host: &mut Rtnl) -> Result<()> {
    let own = format!("net/ipv6/conf/{}", bridge.name);
    sysctl(&format!("{own}/disable_ipv6"), "0")?;
    // Containers must not tell the host where to send its packets.
    sysctl(&format!("{own}/accept_ra"), "0")?;
    if bridge.ours {
        // Until it had made sure of its link-local address, for a second or two after the first
        // container joined, the host would forward nothing. We chose its MAC; nobody else has it.
        sysctl(&format!("{own}/accept_dad"), "0")?;
    }
    if config.ip_forward {
        sysctl("net/ipv6/conf/default/forwarding", "1")?;
        sysctl("net/ipv6/conf/all/forwarding", "1")?;
    }
    host.apply(vec![rtnl::add_address(bridge.index, net.into())])
}

fn check_address(net: Ipv4Net) -> Result<()> {
    let inner =
        net.prefix_len() < 31 && net.addr() != net.network() && net.addr() != net.broadcast();
    if !inner || net.prefix_len() < 8 {
        return Err(Error::Invalid(format!(
            "invalid bridge IP address {net}: not an address within a subnet"
        )));
    }
    Ok(())
}

fn existing(config: &BridgeConfig, net: Ipv4Net, host: &mut Rtnl, index: u32) -> Result<Bridge> {
    let links = host.links()?;
    let link = links.iter().find(|link| link.name == config.name);
    if link.is_some_and(|link| !link.bridge) {
        return Err(Error::Invalid(format!(
            "existing interface {} is not a bridge",
            config.name
        )));
    }
    let ours = link.is_some_and(|link| link.alias.as_deref() == Some(mark(config).as_str()));
    let addresses = host.addresses()?;
    let found: Vec<Ipv4Net> = addresses
        .iter()
        .filter(|(link, _)| *link == index)
        .map(|(_, net)| *net)
        .collect();
    match found.first() {
        Some(_) if found.contains(&net) => {}
        Some(_) if ours => {
            // The subnet was changed in the configuration.
            host.apply(vec![rtnl::delete_link(&config.name)])?;
            return create(config, net, random_mac(), host);
        }
        Some(other) => {
            return Err(Error::Invalid(format!(
                "bridge {} exists with address {other}, not {net}; remove it or the setting",
                config.name
            )));
        }
        None => host.apply(vec![rtnl::add_address(index, net.into())])?,
    }
    Ok(Bridge {
        name: config.name.clone(),
        index,
        mac: link.and_then(|link| link.mac),
        net,
        ours,
        fresh: false,
    })
}

fn random_mac() -> Mac {
    let mut mac = [0x02, 0x42, 0, 0, 0, 0];
    if let Some(random) = mac.get_mut(2..) {
        rand::rng().fill_bytes(random);
    }
    Mac(mac)
}

fn create(config: &BridgeConfig, net: Ipv4Net, mac: Mac, host: &mut Rtnl) -> Result<Bridge> {
    host.apply(vec![rtnl::add_bridge(&config.name, mac)])?;
    let marked = host.apply(vec![rtnl::set_alias(&config.name, &mark(config))]);
    let addressed = marked
        .and_then(|()| host.index(&config.name))
        .and_then(|index| {
            let index =
                index.ok_or_else(|| Error::Invalid(format!("bridge {} vanished", config.name)))?;
            host.apply(vec![rtnl::add_address(index, net.into())])?;
            Ok(index)
        });
    match addressed {
        Ok(index) => Ok(Bridge {
            name: config.name.clone(),
            index,
            mac: Some(mac),
            net,
            ours: true,
            fresh: true,
        }),
        Err(error) => {
            let _ = host.apply(vec![rtnl::delete_link(&config.name)]);
            Err(error)
        }
    }
}

/// The subnets that the host has or, of IPv4, routes.
pub(crate) fn on_host(host: &mut Rtnl) -> Result<Vec<IpNet>> {
    let addresses = host.addresses()?.into_iter().map(|(_, net)| net.trunc());
    let mut taken: Vec<IpNet> = addresses.map(IpNet::V4).collect();
    taken.extend(host.routes()?.into_iter().map(IpNet::V4));
    let addresses = host.addresses6()?.into_iter().map(|(_, net)| net.trunc());
    taken.extend(addresses.map(IpNet::V6));
    Ok(taken)
}

/// Sets a kernel parameter of this thread's network namespace, unless it is so already.
pub(crate) fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|e| Error::io("write", path, e))
}

/// How the bridge must treat containers' ports.
///
/// Where frames that are bridged go through the IP rules too (br_netfilter), a connection to a
/// published port comes back to the same bridge without ever leaving it: it must be let out at the
/// port it came in at, and the rules keep containers apart. Elsewhere the bridge itself must.
pub(crate) fn port_settings(icc: bool) -> Vec<InfoBridgePort> {
    let filtered = fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if filtered.is_ok_and(|value| value.trim() == "1") {
        vec![InfoBridgePort::HairpinMode(true)]
    } else if icc {
        Vec::new()
    } else {
        vec![InfoBridgePort::Isolated(true)]
    }
}

/// The kernel's range of ephemeral ports.
pub(crate) fn ephemeral_ports() -> Option<std::ops::RangeInclusive<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    let (low, high) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (low > 0 && low < high).then_some(low..=high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_needs_an_address_within_a_subnet() {
        let check = |net: &str| check_address(net.parse().unwrap()).is_ok();
        assert!(check("10.9.0.1/24"));
        for net in [
            "10.9.0.0/24",
            "10.9.0.255/24",
            "10.9.0.1/32",
            "10.9.0.1/31",
            "10.9.0.1/1",
        ] {
            assert!(!check(net), "{net}");
        }
    }
}
