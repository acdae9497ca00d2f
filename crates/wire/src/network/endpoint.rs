//! A container in a network.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// The networks that a new container is in.
    pub struct NetworkingConfig {
        /// By network name or ID.
        endpoints_config: BTreeMap<String, EndpointSettings> = "EndpointsConfig" null;
    }

    /// A container in a network: what is asked for, and what came of it.
    pub struct EndpointSettings {
        /// Addresses that are asked for.
        ipam_config: Option<EndpointIpamConfig> = "IPAMConfig";
        /// Links to other containers: `container:alias`.
        links: Vec<String> = "Links" null;
        /// Names it answers to in this network, beside its own.
        aliases: Vec<String> = "Aliases" null;
        /// Its MAC address, asked for or given.
        mac_address: String = "MacAddress";
        /// Options of the driver.
        driver_opts: BTreeMap<String, String> = "DriverOpts" null;
        /// Which network's gateway is the default one: the highest.
        gw_priority: i64 = "GwPriority";
        /// The network's ID.
        network_id: String = "NetworkID";
        /// The endpoint's ID; empty when the container does not run.
        endpoint_id: String = "EndpointID";
        /// The IPv4 gateway.
        gateway: String = "Gateway";
        /// Its IPv4 address.
        ip_address: String = "IPAddress";
        /// The length of the IPv4 subnet's prefix, in bits.
        ip_prefix_len: i64 = "IPPrefixLen";
        /// The IPv6 gateway.
        ipv6_gateway: String = "IPv6Gateway";
        /// Its IPv6 address.
        global_ipv6_address: String = "GlobalIPv6Address";
        /// The length of the IPv6 subnet's prefix, in bits.
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen";
        /// All names it has in this network's DNS.
        dns_names: Vec<String> = "DNSNames" null;
    }

    /// Addresses that are asked for.
    pub struct EndpointIpamConfig {
        /// IPv4.
        ipv4_address: String = "IPv4Address" omit;
        /// IPv6.
        ipv6_address: String = "IPv6Address" omit;
        /// Link-local ones.
        link_local_ips: Vec<String> = "LinkLocalIPs" omit;
    }
}
