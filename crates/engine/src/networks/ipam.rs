//! Subnets that are asked for, checked in Docker's words.

use std::net::IpAddr;

use berth_net::{SubnetRequest, SubnetRequests};
use berth_wire as wire;
use ipnet::IpNet;

use crate::{Error, Result};

/// What `ipam` asks for.
///
/// # Errors
/// All that is wrong with it, in one error; several subnets of one family; an address management
/// that there is not.
pub(super) fn requests(ipam: &wire::Ipam, ipv6: bool) -> Result<SubnetRequests> {
    if !matches!(ipam.driver.as_str(), "" | "default") {
        let message = format!(
            "could not find an IPAM driver: plugin {:?} not found",
            ipam.driver
        );
        return Err(Error::not_found(message));
    }
    let mut errors = Vec::new();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for config in &ipam.config {
        let Some(request) = request(config, ipv6, &mut errors) else {
            continue;
        };
        match request.net {
            Some(IpNet::V6(_)) => v6.push(request),
            _ => v4.push(request),
        }
    }
    if !errors.is_empty() {
        let message = format!("invalid network config:\n{}", errors.join("\n"));
        return Err(Error::invalid(message));
    }
    if v4.len() > 1 || v6.len() > 1 {
        let family = if v4.len() > 1 { "ipv4" } else { "ipv6" };
        return Err(Error::new(
            berth_errdefs::Kind::Forbidden,
            format!("bridge driver doesn't support multiple {family} subnets"),
        ));
    }
    Ok(SubnetRequests {
        v4: v4.pop().unwrap_or_default(),
        v6: ipv6.then(|| v6.pop().unwrap_or_default()),
    })
}

/// One subnet; `None` when it is not wanted or wrong.
fn request(
    config: &wire::IpamConfig,
    ipv6: bool,
    errors: &mut Vec<String>,
) -> Option<SubnetRequest> {
    let subnet = &config.subnet;
    let Ok(net) = subnet.parse::<IpNet>() else {
        errors.push(format!(
            "invalid subnet {subnet}: invalid CIDR block notation"
        ));
        return None;
    };
    if matches!(net, IpNet::V6(_)) && !ipv6 {
        return None;
    }
    let before = errors.len();
    if net != net.trunc() {
        errors.push(format!(
            "invalid subnet {net}: it should be {}",
            net.trunc()
        ));
    }
    let range = range(&config.ip_range, &net, errors);
    let mut checked = |what: String, text: &str| match address(text, &net) {
        Ok(ip) => Some(ip),
        Err(reason) => {
            errors.push(format!("invalid {what}: {reason}"));
            None
        }
    };
    let gateway = match config.gateway.as_str() {
        "" => None,
        text => checked(format!("gateway {text}"), text),
    };
    let reserved = config.auxiliary_addresses.iter();
    let reserved = reserved
        .filter_map(|(name, text)| checked(format!("auxiliary address {name}"), text))
        .collect();
    (errors.len() == before).then_some(SubnetRequest {
        net: Some(net),
        gateway,
        range,
        reserved,
    })
}

fn range(text: &str, net: &IpNet, errors: &mut Vec<String>) -> Option<IpNet> {
    if text.is_empty() {
        return None;
    }
    let mut wrong = |reason: String| errors.push(format!("invalid ip-range {text}: {reason}"));
    let Ok(range) = text.parse::<IpNet>() else {
        wrong("invalid CIDR block notation".to_owned());
        return None;
    };
    if let Some(family) = other_family(range.addr(), net) {
        wrong(family);
        return None;
    }
    if range.prefix_len() < net.prefix_len() {
        wrong(format!("CIDR block is bigger than its parent subnet {net}"));
    } else if range != range.trunc() {
        wrong(format!("it should be {}", range.trunc()));
    } else if !net.contains(&range) {
        wrong(format!("parent subnet {net} doesn't contain ip-range"));
    }
    Some(range)
}

/// An address that has to be within the subnet.
fn address(text: &str, net: &IpNet) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if let Some(family) = other_family(ip, net) {
        return Err(family);
    }
    if !net.contains(&ip) {
        return Err(format!("parent subnet {net} doesn't contain this address"));
    }
    Ok(ip)
}

fn other_family(ip: IpAddr, net: &IpNet) -> Option<String> {
    let family = match net {
        IpNet::V4(_) if ip.is_ipv6() => "IPv4",
        IpNet::V6(_) if ip.is_ipv4() => "IPv6",
        _ => return None,
    };
    Some(format!("parent subnet is an {family} block"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(config: wire::IpamConfig, ipv6: bool) -> Result<SubnetRequests, String> {
        let ipam = wire::Ipam {
            config: vec![config],
            ..wire::Ipam::default()
        };
        requests(&ipam, ipv6).map_err(|error| error.to_string())
    }

    fn config(subnet: &str) -> wire::IpamConfig {
        wire::IpamConfig {
            subnet: subnet.to_owned(),
            ..wire::IpamConfig::default()
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words_all_at_once() {
        let wrong = |config| ask(config, false).unwrap_err();
        assert_eq!(
            wrong(config("10.1.1.1/99")),
            "invalid network config:\ninvalid subnet 10.1.1.1/99: invalid CIDR block notation"
        );
        assert_eq!(
            wrong(config("10.1.1.1/24")),
            "invalid network config:\ninvalid subnet 10.1.1.1/24: it should be 10.1.1.0/24"
        );
        let all = wire::IpamConfig {
            ip_range: "10.0.0.0/8".to_owned(),
            gateway: "10.2.0.1".to_owned(),
            auxiliary_addresses: [("a".to_owned(), "x".to_owned())].into(),
            ..config("10.1.1.0/24")
        };
        assert_eq!(
            wrong(all),
            "invalid network config:\n\
             invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.1.0/24\n\
             invalid gateway 10.2.0.1: parent subnet 10.1.1.0/24 doesn't contain this address\n\
             invalid auxiliary address a: invalid address"
        );
        let mixed = wire::IpamConfig {
            ip_range: "fd00::/64".to_owned(),
            gateway: "fd00::1".to_owned(),
            ..config("10.1.1.0/24")
        };
        assert!(wrong(mixed).contains("invalid gateway fd00::1: parent subnet is an IPv4 block"));
    }

    #[test]
    fn ipv6_subnets_count_only_where_ipv6_is_on() {
        let off = ask(config("fd00::/64"), false).expect("left out");
        assert!(off.v6.is_none() && off.v4.net.is_none());
        let on = ask(config("fd00::/64"), true).expect("taken");
        assert!(on.v6.expect("asked for").net.is_some());
        let alone = ask(config("10.1.1.0/24"), true).expect("both");
        assert!(alone.v6.expect("one of the pools").net.is_none());
    }
}
