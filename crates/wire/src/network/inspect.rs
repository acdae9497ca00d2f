//! A network as it is.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// A network: `GET /networks/{id}` and, without containers, `GET /networks`.
    pub struct NetworkInspect {
        /// Its name.
        name: String = "Name";
        /// Its ID.
        id: String = "Id";
        /// When it was created, RFC 3339.
        created: String = "Created" time;
        /// `local`.
        scope: String = "Scope";
        /// Its driver: `bridge`, `host`, `null` …
        driver: String = "Driver";
        /// It has IPv4 addresses.
        enable_ipv4: bool = "EnableIPv4";
        /// It has IPv6 addresses.
        enable_ipv6: bool = "EnableIPv6";
        /// Its subnets.
        ipam: Ipam = "IPAM";
        /// It has no way out.
        internal: bool = "Internal";
        /// Containers can join it by hand (swarm).
        attachable: bool = "Attachable";
        /// It is the swarm's routing mesh.
        ingress: bool = "Ingress";
        /// The network that it has its configuration from.
        config_from: ConfigReference = "ConfigFrom";
        /// It is only a configuration for others.
        config_only: bool = "ConfigOnly";
        /// The running containers in it, by ID; `None` in a list.
        containers: Option<BTreeMap<String, EndpointResource>> = "Containers" omit;
        /// Options of the driver.
        options: BTreeMap<String, String> = "Options";
        /// Its labels.
        labels: BTreeMap<String, String> = "Labels";
        /// The other hosts in it (swarm).
        peers: Vec<PeerInfo> = "Peers" omit;
        /// How many of its addresses are in use; `None` in a list.
        status: Option<NetworkStatus> = "Status" omit;
    }

    /// The subnets of a network.
    pub struct Ipam {
        /// Who gives addresses: `default`.
        driver: String = "Driver";
        /// Options of the driver.
        options: BTreeMap<String, String> = "Options" null;
        /// The subnets.
        config: Vec<IpamConfig> = "Config";
    }

    /// A subnet.
    pub struct IpamConfig {
        /// `172.17.0.0/16`.
        subnet: String = "Subnet" omit;
        /// The part of it that containers get addresses from.
        ip_range: String = "IPRange" omit;
        /// The gateway's address.
        gateway: String = "Gateway" omit;
        /// Addresses that are taken, and what by.
        auxiliary_addresses: BTreeMap<String, String> = "AuxiliaryAddresses" omit;
    }

    /// The network that a configuration is from.
    pub struct ConfigReference {
        /// Its name; empty for none.
        network: String = "Network";
    }

    /// A running container in a network.
    pub struct EndpointResource {
        /// Its name.
        name: String = "Name";
        /// The endpoint's ID.
        endpoint_id: String = "EndpointID";
        /// Its MAC address.
        mac_address: String = "MacAddress";
        /// Its IPv4 address with the prefix length.
        ipv4_address: String = "IPv4Address";
        /// Its IPv6 address with the prefix length.
        ipv6_address: String = "IPv6Address";
    }

    /// Another host in a network (swarm).
    pub struct PeerInfo {
        /// Its name.
        name: String = "Name";
        /// Its address.
        ip: String = "IP";
    }

    /// How much of a network is in use.
    pub struct NetworkStatus {
        /// Its addresses.
        ipam: IpamStatus = "IPAM";
    }

    /// How many addresses of a network are in use.
    pub struct IpamStatus {
        /// By subnet.
        subnets: BTreeMap<String, SubnetStatus> = "Subnets" omit;
    }

    /// How many addresses of a subnet are in use.
    pub struct SubnetStatus {
        /// In use.
        ips_in_use: u64 = "IPsInUse";
        /// Still to be had.
        dynamic_ips_available: u64 = "DynamicIPsAvailable";
    }
}
