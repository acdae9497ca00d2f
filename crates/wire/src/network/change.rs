//! Making networks, and moving containers between them.

use std::collections::BTreeMap;

use super::{ConfigReference, EndpointSettings, Ipam};
use crate::object::object;

object! {
    /// The body of `POST /networks/create`.
    pub struct NetworkCreateRequest {
        /// Its name.
        name: String = "Name";
        /// Its driver; empty for `bridge`.
        driver: String = "Driver";
        /// `local`, or empty for the same.
        scope: String = "Scope";
        /// It has IPv4 addresses; `None` is yes.
        enable_ipv4: Option<bool> = "EnableIPv4";
        /// It has IPv6 addresses; `None` is no.
        enable_ipv6: Option<bool> = "EnableIPv6";
        /// Its subnets.
        ipam: Option<Ipam> = "IPAM";
        /// It has no way out.
        internal: bool = "Internal";
        /// Containers can join it by hand (swarm).
        attachable: bool = "Attachable";
        /// It is the swarm's routing mesh.
        ingress: bool = "Ingress";
        /// It is only a configuration for others.
        config_only: bool = "ConfigOnly";
        /// The network that it has its configuration from.
        config_from: Option<ConfigReference> = "ConfigFrom";
        /// Options of the driver.
        options: BTreeMap<String, String> = "Options";
        /// Its labels.
        labels: BTreeMap<String, String> = "Labels";
    }

    /// The answer to `POST /networks/create`.
    pub struct NetworkCreateResponse {
        /// The network's ID.
        id: String = "Id";
        /// What the client is to be warned of.
        warning: String = "Warning";
    }

    /// The body of `POST /networks/{id}/connect`.
    pub struct NetworkConnectRequest {
        /// The container's name or ID.
        container: String = "Container";
        /// How it is to be in the network.
        endpoint_config: Option<EndpointSettings> = "EndpointConfig";
    }

    /// The body of `POST /networks/{id}/disconnect`.
    pub struct NetworkDisconnectRequest {
        /// The container's name or ID.
        container: String = "Container";
        /// Also when the container is gone or will not.
        force: bool = "Force";
    }
}
