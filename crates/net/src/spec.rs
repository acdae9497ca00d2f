//! A bridge network: what it is to be.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::rules;
use crate::{Error, Result};

/// How interfaces in containers are called unless a network says otherwise.
pub(crate) const IFNAME_PREFIX: &str = "eth";

/// A bridge network, all settled. The engine keeps it in the network's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's name.
    pub name: String,
    /// The bridge device's name.
    pub bridge: String,
    /// Its IPv4 subnet: every network has one once it is made.
    pub v4: Option<Subnet>,
    /// Its IPv6 subnet, if it has IPv6.
    pub v6: Option<Subnet>,
    /// No way out, none in: no default route, no published ports.
    pub internal: bool,
    /// Its containers may talk to one another.
    pub icc: bool,
    /// Its containers are hidden behind the host's address.
    pub masquerade: bool,
    /// In bytes.
    pub mtu: u32,
    /// Host address for published ports that name none.
    pub bind_ip: IpAddr,
    /// What the names of its interfaces in containers begin with.
    pub ifname_prefix: String,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            bridge: String::new(),
            v4: None,
            v6: None,
            internal: false,
            icc: true,
            masquerade: true,
            mtu: 1500,
            bind_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ifname_prefix: IFNAME_PREFIX.into(),
        }
    }
}

impl NetworkSpec {
    /// Its subnets, IPv4 first.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.v4.iter().chain(&self.v6)
    }

    /// Checks what becomes part of rules, device names and paths.
    ///
    /// Errors: [`Error::Invalid`].
    pub(crate) fn check(&self, table: &str) -> Result<()> {
        rules::check_names(table, &self.bridge)?;
        let prefix = &self.ifname_prefix;
        // A number follows, and all of it must fit into IFNAMSIZ.
        let plain = prefix
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if prefix.is_empty() || prefix.len() > 12 || !plain {
            return Err(Error::Invalid(format!(
                "invalid container interface prefix {prefix:?}"
            )));
        }
        if !(68..=65535).contains(&self.mtu) {
            return Err(Error::Invalid(format!("invalid MTU: {}", self.mtu)));
        }
        Ok(())
    }
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet.
    pub net: IpNet,
    /// The bridge's address in it.
    pub gateway: IpAddr,
    /// Where containers' packets leave it, if not by the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_gateway: Option<IpAddr>,
    /// Containers get addresses from this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<IpNet>,
    /// Addresses that containers never get unasked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<IpAddr>,
}

impl Subnet {
    /// The bridge's address with the subnet's prefix length.
    pub(crate) fn address(&self) -> Result<IpNet> {
        IpNet::new(self.gateway, self.net.prefix_len()).map_err(|e| Error::Invalid(e.to_string()))
    }
}

/// A subnet that is asked for; what is open is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetRequest {
    /// The subnet; `None`: a free one of the address pools.
    pub net: Option<IpNet>,
    /// The bridge's address; `None`: the first one.
    pub gateway: Option<IpAddr>,
    /// Containers get addresses from this part.
    pub range: Option<IpNet>,
    /// Addresses that containers never get unasked.
    pub reserved: Vec<IpAddr>,
}

#[cfg(test)]
impl Subnet {
    pub(crate) fn new(net: &str, gateway: &str) -> Self {
        Self {
            net: net.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            default_gateway: None,
            range: None,
            reserved: Vec::new(),
        }
    }
}
