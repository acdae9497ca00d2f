//! Networks as `docker network ls` and `inspect` show them.

use std::collections::BTreeMap;

use berth_net::{NetworkSpec, Subnet};
use berth_wire::{self as wire, Filters};

use super::{Found, Record, all, find};
use crate::shared::Shared;
use crate::{Error, Result};

const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// The networks that `filters` let through.
///
/// # Errors
/// A filter that there is not.
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
    let chosen = all(shared).into_iter().filter(|network| {
        let (none, kind) = (
            BTreeMap::new(),
            if network.is_users() {
                "custom"
            } else {
                "builtin"
            },
        );
        let labels = match network {
            Found::Users(record) => &record.labels,
            Found::Predefined(_) => &none,
        };
        filters.pattern("name", network.name())
            && filters.pattern("id", network.id())
            && filters.exact("driver", network.driver())
            && filters.exact("scope", "local")
            && filters.exact("type", kind)
            && filters.labels("label", labels)
            && dangling.is_none_or(|wanted| wanted == is_dangling(shared, network))
    });
    Ok(chosen.map(|network| show(&network)).collect())
}

/// Nobody is in it; the predefined ones are never so.
fn is_dangling(shared: &Shared, network: &Found) -> bool {
    network.is_users()
        && !shared
            .net
            .endpoints()
            .values()
            .any(|endpoint| endpoint.network_id == network.id())
}

/// A network in full.
///
/// # Errors
/// There is none.
pub(crate) fn inspect(shared: &Shared, term: &str) -> Result<wire::NetworkInspect> {
    let found = find(shared, term)?;
    let mut shown = show(&found);
    shown.containers = Some(attached(shared, &found));
    Ok(shown)
}

fn show(network: &Found) -> wire::NetworkInspect {
    match network {
        Found::Predefined(network) => predefined(network),
        Found::Users(record) => users(record),
    }
}

fn predefined(network: &berth_net::Network) -> wire::NetworkInspect {
    wire::NetworkInspect {
        name: network.name.to_owned(),
        id: network.id.clone(),
        created: wire::rfc3339_nano(network.created),
        scope: "local".to_owned(),
        driver: network.driver.to_owned(),
        enable_ipv4: true,
        enable_ipv6: network
            .subnets
            .iter()
            .any(|subnet| subnet.net.addr().is_ipv6()),
        ipam: wire::Ipam {
            driver: "default".to_owned(),
            config: network.subnets.iter().map(configured).collect(),
            ..Default::default()
        },
        options: network.options.clone(),
        ..Default::default()
    }
}

/// A subnet of the default bridge as the daemon's options have it.
fn configured(subnet: &Subnet) -> wire::IpamConfig {
    let gateway = subnet.default_gateway.map(|ip| {
        let name = match ip.is_ipv6() {
            false => "DefaultGatewayIPv4",
            true => "DefaultGatewayIPv6",
        };
        (name.to_owned(), ip.to_string())
    });
    wire::IpamConfig {
        subnet: subnet.net.to_string(),
        ip_range: subnet.range.map(|net| net.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.to_string(),
        auxiliary_addresses: gateway.into_iter().collect(),
    }
}

fn users(record: &Record) -> wire::NetworkInspect {
    wire::NetworkInspect {
        name: record.name.clone(),
        id: record.id.clone(),
        created: wire::rfc3339_nano(record.created),
        scope: "local".to_owned(),
        driver: "bridge".to_owned(),
        enable_ipv4: record.spec.v4.is_some(),
        enable_ipv6: record.spec.v6.is_some(),
        ipam: wire::Ipam {
            driver: "default".to_owned(),
            options: record.ipam_options.clone(),
            config: subnets(&record.spec, &record.asked),
        },
        internal: record.spec.internal,
        attachable: record.attachable,
        options: record.options.clone(),
        labels: record.labels.clone(),
        ..Default::default()
    }
}

/// The subnets as the user gave them, with what was left open filled in.
fn subnets(spec: &NetworkSpec, asked: &[wire::IpamConfig]) -> Vec<wire::IpamConfig> {
    let shown = |subnet: &Subnet| {
        let net = subnet.net.to_string();
        let mut config = asked
            .iter()
            .find(|config| config.subnet == net)
            .cloned()
            .unwrap_or_default();
        config.subnet = net;
        config.gateway = subnet.gateway.to_string();
        config
    };
    spec.subnets().map(shown).collect()
}

fn attached(shared: &Shared, network: &Found) -> BTreeMap<String, wire::EndpointResource> {
    let mut attached = BTreeMap::new();
    for handle in shared.table.load().all() {
        let view = handle.view();
        let mut endpoints = view.endpoints().iter();
        let Some(endpoint) = endpoints.find(|endpoint| endpoint.network_id == network.id()) else {
            continue;
        };
        let resource = wire::EndpointResource {
            name: view.record.name.clone(),
            endpoint_id: endpoint.endpoint_id.clone(),
            mac_address: endpoint.mac.to_string(),
            ipv4_address: format!("{}/{}", endpoint.ip, endpoint.prefix_len),
            ipv6_address: endpoint
                .v6
                .as_ref()
                .map(|v6| format!("{}/{}", v6.ip, v6.prefix_len))
                .unwrap_or_default(),
        };
        attached.insert(view.record.id.clone(), resource);
    }
    attached
}
