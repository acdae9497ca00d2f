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
    /// Packets of this firewall mark reach all ports of containers.
    pub accept_mark: Option<Mark>,
}

/// A firewall mark: a packet has it when its own, as far as the mask has bits, is this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The bits.
    pub value: u32,
    /// Those that count.
    pub mask: u32,
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
        if !config.icc && !config.iptables {
            return Err(Error::invalid(
                "You specified --iptables=false with --icc=false. ICC=false uses iptables to \
                 function. Please set --icc or --iptables to true",
            ));
        }
        if !config.icc && config.ipv6 && !config.ip6tables {
            return Err(Error::invalid(
                "You specified --ip6tables=false with --icc=false. ICC=false uses ip6tables to \
                 function. Please set --icc or --ip6tables to true",
            ));
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
            accept_mark: mark(&config.bridge_accept_fwmark)?,
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

/// `bridge-accept-fwmark`: `mark[/mask]`.
fn mark(text: &str) -> Result<Option<Mark>> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = |what: &str, number: &str| {
        parse_uint32(number).map_err(|why| {
            Error::invalid(format!(
                "invalid bridge-accept-fwmark: invalid firewall {what} {text:?}: \
                 strconv.ParseUint: parsing {number:?}: {why}"
            ))
        })
    };
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number("mark", value)?, number("mask", mask)?),
        None => (number("mark", text)?, u32::MAX),
    };
    Ok(Some(Mark { value, mask }))
}

/// As Go reads a number whose prefix tells its base; what is wrong in Go's words.
fn parse_uint32(text: &str) -> std::result::Result<u32, &'static str> {
    let lower = text.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let mut prefixed = prefixes.into_iter().filter_map(|(prefix, radix)| {
        let digits = lower.strip_prefix(prefix)?;
        (lower != "0").then_some((digits, radix))
    });
    let (digits, radix) = prefixed.next().unwrap_or((lower.as_str(), 10));
    // A sign is none of Go's.
    if digits.starts_with('+') {
        return Err("invalid syntax");
    }
    u32::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow => "value out of range",
        _ => "invalid syntax",
    })
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

    #[test]
    fn rules_can_be_switched_off_and_marks_be_let_in() {
        let without = |v4: bool, v6: bool| {
            bridge(|config| {
                (config.iptables, config.ip6tables) = (v4, v6);
                (config.icc, config.ipv6) = (false, true);
            })
            .unwrap_err()
        };
        let four = without(false, true);
        assert!(four.starts_with("You specified --iptables=false with --icc=false. ICC=false"));
        let six = without(true, false);
        assert!(six.starts_with("You specified --ip6tables=false with --icc=false. ICC=false"));
        let mark = |text: &str| bridge(|config| config.bridge_accept_fwmark = text.into());
        for (text, value, mask) in [("2/3", 2, 3), ("0x1F/0", 31, 0), ("010/0b11", 8, 3)] {
            assert_eq!(mark(text).unwrap().accept_mark, Some(Mark { value, mask }));
        }
        for (text, wrong) in [
            (
                "1/",
                "firewall mask \"1/\": strconv.ParseUint: parsing \"\": invalid syntax",
            ),
            (
                "x",
                "firewall mark \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
            (
                "4294967296",
                "firewall mark \"4294967296\": strconv.ParseUint: parsing \"4294967296\": value out of range",
            ),
            (
                "+1",
                "firewall mark \"+1\": strconv.ParseUint: parsing \"+1\": invalid syntax",
            ),
            (
                "0x+1",
                "firewall mark \"0x+1\": strconv.ParseUint: parsing \"0x+1\": invalid syntax",
            ),
        ] {
            let wrong = format!("invalid bridge-accept-fwmark: invalid {wrong}");
            assert_eq!(mark(text).unwrap_err(), wrong);
        }
    }
}
