//! The default network's settings.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{Config, Error, Result, pools};

/// The name of the default bridge unless `--bridge` says.
const DEFAULT_BRIDGE: &str = "docker0";

/// The default network, as the user wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// False with `--bridge none`: there is no default network.
    pub enabled: bool,
    /// The bridge's interface name.
    pub name: String,
    /// The bridge's address and subnet (`--bip`); `None`: the existing bridge's, or a free one.
    pub address: Option<Ipv4Net>,
    /// The part of the subnet that containers get addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// Where containers' packets leave the network; `None`: the bridge.
    pub gateway: Option<Ipv4Addr>,
    /// IPv6, where the network has it.
    pub v6: Option<BridgeV6>,
    /// The MTU in bytes.
    pub mtu: u32,
    /// Traffic between containers is allowed.
    pub icc: bool,
    /// What leaves the bridge is masqueraded.
    pub masquerade: bool,
    /// The host is made to forward.
    pub ip_forward: bool,
    /// The host address of published ports that name none.
    pub publish_ip: IpAddr,
}

/// The default network's IPv6, as the user wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeV6 {
    /// The bridge's address and subnet (`--bip6`); `None`: the existing bridge's, or a free one.
    pub address: Option<Ipv6Net>,
    /// The part of the subnet that containers get addresses from.
    pub fixed_cidr: Option<Ipv6Net>,
    /// Where containers' packets leave the network; `None`: the bridge.
    pub gateway: Option<Ipv6Addr>,
}

impl Bridge {
    pub(crate) fn derive(config: &Config) -> Result<Bridge> {
        let named = config.bridge.as_str();
        for (option, bip) in [("--bip", &config.bip), ("--bip6", &config.bip6)] {
            if !named.is_empty() && !bip.is_empty() {
                return Err(Error::invalid(format!(
                    "You specified -b & {option}, mutually exclusive options. Please specify only one"
                )));
            }
        }
        if named.len() > 15 || named.contains(['/', ' ']) {
            return Err(Error::invalid(format!("invalid bridge name: {named}")));
        }
        let address: Option<Ipv4Net> = network("--bip", &config.bip)?;
        if let Some(net) = address
            && net.prefix_len() < 31
            && (net.addr() == net.network() || net.addr() == net.broadcast())
        {
            let message = format!("invalid --bip {}: not a host's address", config.bip);
            return Err(Error::invalid(message));
        }
        let fixed_cidr: Option<Ipv4Net> = network("--fixed-cidr", &config.fixed_cidr)?;
        let fixed_cidr = fixed_cidr.map(|net| net.trunc());
        within(
            ("--fixed-cidr", fixed_cidr),
            ("--bip", address),
            |all, part| all.trunc().contains(part),
        )?;
        Ok(Bridge {
            enabled: named != "none",
            name: match named {
                "" | "none" => DEFAULT_BRIDGE.to_owned(),
                name => name.to_owned(),
            },
            gateway: gateway("default-gateway", &config.default_gateway)?,
            v6: Some(BridgeV6::derive(config)?).filter(|_| config.ipv6),
            address,
            fixed_cidr,
            mtu: mtu(config.mtu)?,
            icc: config.icc,
            masquerade: config.ip_masq,
            ip_forward: config.ip_forward,
            publish_ip: config.ip.parse().map_err(|_| {
                Error::invalid(format!(
                    "ip address is not correctly formatted: {}",
                    config.ip
                ))
            })?,
        })
    }
}

impl BridgeV6 {
    /// What is said of IPv6, whether it is on or not.
    fn derive(config: &Config) -> Result<BridgeV6> {
        let fixed_cidr = match config.fixed_cidr_v6.as_str() {
            "" => None,
            text => Some(range6(text).map_err(|why| {
                Error::invalid(format!(
                    "invalid fixed-cidr-v6: invalid fixed-cidr-v6: {why}"
                ))
            })?),
        };
        let address: Option<Ipv6Net> = network("--bip6", &config.bip6)?;
        if let Some(net) = address {
            check6(net).map_err(Error::invalid)?;
            if net.prefix_len() > 126 || net.addr() == net.network() {
                let message = format!("invalid --bip6 {net}: not a host's address");
                return Err(Error::invalid(message));
            }
        }
        within(
            ("--fixed-cidr-v6", fixed_cidr),
            ("--bip6", address),
            |all, part| all.trunc().contains(part),
        )?;
        Ok(BridgeV6 {
            address,
            fixed_cidr: fixed_cidr.map(|net| net.trunc()),
            gateway: gateway("default-gateway-v6", &config.default_gateway_v6)?,
        })
    }
}

/// Refuses a range that lies outside the subnet.
fn within<N: Copy + Display>(
    (part_flag, part): (&str, Option<N>),
    (all_flag, all): (&str, Option<N>),
    contains: impl Fn(&N, &N) -> bool,
) -> Result<()> {
    match (all, part) {
        (Some(all), Some(part)) if !contains(&all, &part) => Err(Error::invalid(format!(
            "{part_flag} {part} is not within {all_flag} {all}"
        ))),
        _ => Ok(()),
    }
}

/// `fixed-cidr-v6`; what is wrong in dockerd's words.
fn range6(text: &str) -> Result<Ipv6Net, String> {
    match pools::parse_prefix(text)? {
        IpNet::V6(net) => check6(net).map(|()| net),
        IpNet::V4(net) => Err(format!("'{net}' is not a valid IPv6 subnet")),
    }
}

/// Refuses subnets that no network can have, in dockerd's words.
fn check6(net: Ipv6Net) -> Result<(), String> {
    if net.addr().is_multicast() {
        return Err(format!("multicast subnet '{net}' is not allowed"));
    }
    // The one that the kernel gives every link: it may be had as it is, not in part.
    let local = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);
    let clashes = local.contains(&net.trunc()) || net.contains(&local);
    if net.trunc() != local && clashes {
        return Err(format!(
            "'{net}' clashes with the Link-Local prefix 'fe80::/64'"
        ));
    }
    Ok(())
}

fn gateway<T: FromStr>(key: &str, text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| Error::invalid(format!("invalid {key}: {text} is not an ip address"));
    text.parse().map(Some).map_err(invalid)
}

fn network<T: FromStr>(flag: &str, text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse();
    let parsed =
        parsed.map_err(|_| Error::invalid(format!("invalid {flag}: invalid CIDR address: {text}")));
    parsed.map(Some)
}

fn mtu(mtu: i64) -> Result<u32> {
    match mtu {
        0 => Ok(1500),
        // 68 bytes is the least that IPv4 asks of a link, 65535 what its packets can be.
        68..=65535 => Ok(mtu as u32),
        _ => Err(Error::invalid(format!("invalid default MTU: {mtu}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(change: impl FnOnce(&mut Config)) -> Result<Bridge, String> {
        let mut config = Config::default();
        change(&mut config);
        Bridge::derive(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn ipv6_is_as_it_is_given_where_it_is_on() {
        let with = |ipv6| {
            bridge(|config| {
                config.ipv6 = ipv6;
                config.bip6 = "fd00:7::1/48".into();
                config.fixed_cidr_v6 = "fd00:7::8/64".into();
                config.default_gateway_v6 = "fd00:7::9".into();
            })
        };
        let v6 = with(true).expect("valid").v6.expect("on");
        assert_eq!(v6.address, "fd00:7::1/48".parse().ok());
        assert_eq!(v6.fixed_cidr, "fd00:7::/64".parse().ok());
        assert_eq!(v6.gateway, "fd00:7::9".parse().ok());
        assert_eq!(with(false).expect("valid").v6, None);
        let bare = bridge(|config| config.ipv6 = true).expect("valid");
        assert_eq!(bare.v6, Some(BridgeV6::default()));
    }

    #[test]
    fn what_is_wrong_is_told_in_dockerds_words_also_while_ipv6_is_off() {
        let fixed = |text: &str| bridge(|config| config.fixed_cidr_v6 = text.into()).unwrap_err();
        for (text, wrong) in [
            ("10.0.0.0/8", "'10.0.0.0/8' is not a valid IPv6 subnet"),
            ("fd00::", "netip.ParsePrefix(\"fd00::\"): no '/'"),
            ("ff00::/16", "multicast subnet 'ff00::/16' is not allowed"),
            (
                "fe80::/80",
                "'fe80::/80' clashes with the Link-Local prefix 'fe80::/64'",
            ),
            (
                "fe80::/10",
                "'fe80::/10' clashes with the Link-Local prefix 'fe80::/64'",
            ),
        ] {
            let wrong = format!("invalid fixed-cidr-v6: invalid fixed-cidr-v6: {wrong}");
            assert_eq!(fixed(text), wrong);
        }
        let told = bridge(|config| {
            config.bridge = "br0".into();
            config.bip6 = "fd00::1/64".into();
        });
        let both = "You specified -b & --bip6, mutually exclusive options. Please specify only one";
        assert_eq!(told.unwrap_err(), both);
        let bip6 = |text: &str| bridge(|config| config.bip6 = text.into()).unwrap_err();
        assert_eq!(
            bip6("fd00::1"),
            "invalid --bip6: invalid CIDR address: fd00::1"
        );
        assert_eq!(
            bip6("fd00::/64"),
            "invalid --bip6 fd00::/64: not a host's address"
        );
        let told = bridge(|config| {
            config.bip6 = "fd00:7::1/64".into();
            config.fixed_cidr_v6 = "fd00:8::/64".into();
        });
        let outside = "--fixed-cidr-v6 fd00:8::/64 is not within --bip6 fd00:7::1/64";
        assert_eq!(told.unwrap_err(), outside);
        let told = bridge(|config| config.default_gateway = "fd00::1".into());
        assert_eq!(
            told.unwrap_err(),
            "invalid default-gateway: fd00::1 is not an ip address"
        );
    }
}
