//! The default network's settings.

use std::net::IpAddr;

use ipnet::Ipv4Net;

use crate::{Config, Error, Result};

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

impl Bridge {
    pub(crate) fn derive(config: &Config) -> Result<Bridge> {
        let named = config.bridge.as_str();
        if !named.is_empty() && !config.bip.is_empty() {
            return Err(Error::invalid(
                "You specified -b & --bip, mutually exclusive options. Please specify only one",
            ));
        }
        if named.len() > 15 || named.contains(['/', ' ']) {
            return Err(Error::invalid(format!("invalid bridge name: {named}")));
        }
        let address = network("--bip", &config.bip)?;
        if let Some(net) = address
            && net.prefix_len() < 31
            && (net.addr() == net.network() || net.addr() == net.broadcast())
        {
            let message = format!("invalid --bip {}: not a host's address", config.bip);
            return Err(Error::invalid(message));
        }
        let fixed_cidr = network("--fixed-cidr", &config.fixed_cidr)?.map(|net| net.trunc());
        if let (Some(all), Some(part)) = (address, fixed_cidr)
            && !all.trunc().contains(&part)
        {
            let message = format!("--fixed-cidr {part} is not within --bip {all}");
            return Err(Error::invalid(message));
        }
        Ok(Bridge {
            enabled: named != "none",
            name: match named {
                "" | "none" => DEFAULT_BRIDGE.to_owned(),
                name => name.to_owned(),
            },
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

fn network(flag: &str, text: &str) -> Result<Option<Ipv4Net>> {
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
