//! The predefined networks, as `docker network` shows them.

use std::collections::BTreeMap;

use berth_net::Network;
use berth_wire::{self as wire, Filters};

use crate::shared::Shared;
use crate::{Error, Result};

const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

pub(crate) fn list(shared: &Shared, filters: &Filters) -> Result<Vec<wire::NetworkInspect>> {
    let invalid = |error: wire::InvalidFilter| Error::invalid(error.to_string());
    filters.validate(&FILTERS).map_err(invalid)?;
    let dangling = filters.flag("dangling").map_err(invalid)?;
    if let Some(kind) = filters
        .get("type")
        .into_iter()
        .find(|kind| !matches!(*kind, "builtin" | "custom"))
    {
        return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
    }
    let chosen = shared.net.networks().into_iter().filter(|network| {
        filters.pattern("name", network.name)
            && filters.pattern("id", &network.id)
            && filters.exact("driver", network.driver)
            && filters.exact("scope", "local")
            && filters.exact("type", "builtin")
            && filters.labels("label", &BTreeMap::new())
            // The predefined ones are never dangling.
            && dangling != Some(true)
    });
    Ok(chosen.map(|network| show(shared, network, false)).collect())
}

pub(crate) fn find(shared: &Shared, name: &str) -> Result<wire::NetworkInspect> {
    let networks = shared.net.networks();
    let exact = networks
        .iter()
        .find(|network| network.id == name || network.name == name);
    let mut prefixed = networks
        .iter()
        .filter(|network| !name.is_empty() && network.id.starts_with(name));
    let found = match (exact, prefixed.next(), prefixed.next()) {
        (Some(network), ..) | (None, Some(network), None) => network.clone(),
        (None, Some(_), Some(_)) => {
            return Err(Error::invalid(format!(
                "network {name} is ambiguous (2 matches found on name)"
            )));
        }
        (None, None, _) => return Err(Error::not_found(format!("network {name} not found"))),
    };
    Ok(show(shared, found, true))
}

fn show(shared: &Shared, network: Network, containers: bool) -> wire::NetworkInspect {
    let config = network.subnet.map(|subnet| wire::IpamConfig {
        subnet: subnet.trunc().to_string(),
        ip_range: network
            .ip_range
            .map(|range| range.to_string())
            .unwrap_or_default(),
        gateway: network
            .gateway
            .map(|gateway| gateway.to_string())
            .unwrap_or_default(),
        ..Default::default()
    });
    let attached = containers.then(|| attached(shared, &network));
    wire::NetworkInspect {
        name: network.name.to_owned(),
        id: network.id,
        created: wire::rfc3339_nano(network.created),
        scope: "local".to_owned(),
        driver: network.driver.to_owned(),
        enable_ipv4: true,
        ipam: wire::Ipam {
            driver: "default".to_owned(),
            config: config.into_iter().collect(),
            ..Default::default()
        },
        containers: attached,
        options: network.options,
        ..Default::default()
    }
}

fn attached(shared: &Shared, network: &Network) -> BTreeMap<String, wire::EndpointResource> {
    let mut attached = BTreeMap::new();
    for handle in shared.table.load().all() {
        let view = handle.view();
        let Some(endpoint) = view
            .endpoint()
            .filter(|endpoint| endpoint.network_id == network.id)
        else {
            continue;
        };
        let resource = wire::EndpointResource {
            name: view.record.name.clone(),
            endpoint_id: endpoint.endpoint_id.clone(),
            mac_address: endpoint.mac.to_string(),
            ipv4_address: format!("{}/{}", endpoint.ip, endpoint.prefix_len),
            ipv6_address: String::new(),
        };
        attached.insert(view.record.id.clone(), resource);
    }
    attached
}
