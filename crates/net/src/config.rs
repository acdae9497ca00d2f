//! What the daemon tells the network part when it opens it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::AddressPool;

/// Where state lives and what the default bridge looks like.
#[derive(Clone, Debug)]
pub struct Config {
    /// Runtime files: network namespaces are pinned at `<exec_root>/netns/<id>`.
    pub exec_root: PathBuf,
    /// Files that outlive a reboot: ids of the predefined networks.
    pub state_dir: PathBuf,
    /// The default bridge network.
    pub bridge: BridgeConfig,
    /// Where networks get their subnets from unless they say; a pool of unique local IPv6
    /// addresses comes on top where no pool has any.
    pub pools: Vec<AddressPool>,
    /// Subnets of networks that are to come back, which the default bridge must leave alone.
    pub reserved: Vec<IpNet>,
}

/// The default bridge network, as dockerd's flags describe it.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Device name (`--bridge`). A device that exists and was not made by us is used with its own
    /// address and never deleted; else `docker0` is created and another name is refused.
    pub name: String,
    /// The bridge's own address and subnet (`--bip`); `None`: one is chosen.
    pub address: Option<Ipv4Net>,
    /// Containers get addresses from this part of the subnet (`--fixed-cidr`).
    pub fixed_cidr: Option<Ipv4Net>,
    /// Where containers' packets leave the network (`--default-gateway`); `None`: the bridge.
    pub gateway: Option<Ipv4Addr>,
    /// IPv6, too (`--ipv6`); without it the next three mean nothing.
    pub ipv6: bool,
    /// The same for IPv6 (`--bip6`).
    pub address6: Option<Ipv6Net>,
    /// The same for IPv6 (`--fixed-cidr-v6`).
    pub fixed_cidr6: Option<Ipv6Net>,
    /// The same for IPv6 (`--default-gateway-v6`).
    pub gateway6: Option<Ipv6Addr>,
    /// MTU of the bridge and of containers' interfaces, in bytes (`--mtu`).
    pub mtu: u32,
    /// Host address for published ports that name none (`--ip`).
    pub default_bind_ip: IpAddr,
    /// Switch `net.ipv4.ip_forward` on (`--ip-forward`).
    pub ip_forward: bool,
    /// Containers may talk to one another (`--icc`).
    pub icc: bool,
    /// Hide containers behind the host's address (`--ip-masq`).
    pub masquerade: bool,
    /// Lead what no rule leads to a container (`--userland-proxy`); without it that is not published.
    pub userland_proxy: bool,
    /// Which rules there are.
    pub rules: Policy,
    /// Name of our nftables table.
    pub table: String,
    /// No bridge network at all (`--bridge=none`).
    pub disabled: bool,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: "docker0".into(),
            address: None,
            fixed_cidr: None,
            gateway: None,
            ipv6: false,
            address6: None,
            fixed_cidr6: None,
            gateway6: None,
            mtu: 1500,
            default_bind_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ip_forward: true,
            icc: true,
            masquerade: true,
            userland_proxy: true,
            rules: Policy::default(),
            table: "berth".into(),
            disabled: false,
        }
    }
}

/// Which rules there are, of all bridge networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Those for IPv4 (`--iptables`).
    pub v4: bool,
    /// Those for IPv6 (`--ip6tables`).
    pub v6: bool,
    /// Published ports can be reached at containers' own addresses, too
    /// (`--allow-direct-routing`).
    pub direct: bool,
    /// Packets that have this firewall mark reach all ports of containers
    /// (`--bridge-accept-fwmark`): its bits, and those that count.
    pub accept_mark: Option<(u32, u32)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            v4: true,
            v6: true,
            direct: false,
            accept_mark: None,
        }
    }
}

impl Policy {
    /// Whether there are rules for the family of `ip`.
    pub(crate) fn covers(&self, ip: &IpAddr) -> bool {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }
}
