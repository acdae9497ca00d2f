//! Making a network.

use std::net::IpAddr;
use std::sync::Arc;

use berth_config::Live;
use berth_errdefs::Kind;
use berth_net::NetworkSpec;
use berth_store::Durability;
use berth_wire as wire;
use jiff::Timestamp;

use super::{FILE, Record, ipam, tell};
use crate::create::random_id;
use crate::shared::{Shared, blocking};
use crate::{Error, Result, fault};

/// What the bridge driver's options begin with.
const DRIVER: &str = "com.docker.network.";

/// Makes a network. To be run to its end, whoever asked for it.
///
/// # Errors
/// Docker's words for a name that is taken, a driver that there is not, subnets that are wrong or
/// overlap; a clear one for what Berth cannot do.
pub(crate) async fn create(
    shared: Arc<Shared>,
    live: Arc<Live>,
    request: wire::NetworkCreateRequest,
) -> Result<wire::NetworkCreateResponse> {
    shared.open_for_change()?;
    check(&request)?;
    let _changing = shared.networks.changing.lock().await;
    if shared.networks.load().contains_key(&request.name) {
        return Err(Error::conflict(format!(
            "network with name {} already exists",
            request.name
        )));
    }
    let mut spec = NetworkSpec {
        id: random_id(),
        name: request.name.clone(),
        internal: request.internal,
        mtu: live.bridge.mtu,
        ..NetworkSpec::default()
    };
    let ipv6 = apply(&mut spec, &request)?;
    let asked = request.ipam.unwrap_or_default();
    let subnets = ipam::requests(&asked, ipv6)?;
    let made = shared.net.create_network(spec, subnets).await;
    let spec = made.map_err(Error::from_lower)?;
    fault::point("network:made");
    let record = Arc::new(Record {
        id: spec.id.clone(),
        spec,
        name: request.name,
        created: Timestamp::now(),
        attachable: request.attachable,
        options: request.options,
        labels: request.labels,
        ipam_options: asked.options,
        asked: asked.config,
    });
    if let Err(error) = save(&shared, &record).await {
        if let Err(error) = shared.net.remove_network(&record.id).await {
            tracing::warn!(%error, "removing a network that could not be written down");
        }
        return Err(error);
    }
    fault::point("network:saved");
    let published = record.clone();
    shared.networks.change(|networks| {
        networks.insert(published.name.clone(), published.clone());
    });
    tell(&shared, "create", &record);
    Ok(wire::NetworkCreateResponse {
        id: record.id.clone(),
        warning: String::new(),
    })
}

async fn save(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<()> {
    let (shared, record) = (shared.clone(), record.clone());
    blocking(move || {
        let records = &shared.networks.records;
        let saved = records.save(&record.id, FILE, &*record, Durability::Synced);
        saved.map_err(Error::from_lower)
    })
    .await
}

/// Refuses what cannot be a network, or not one of Berth's.
fn check(request: &wire::NetworkCreateRequest) -> Result<()> {
    let refused = |kind, message: String| Err(Error::new(kind, message));
    let name = &request.name;
    if name.trim().is_empty() {
        return Err(Error::invalid("invalid network name: name is empty"));
    }
    if matches!(name.as_str(), "bridge" | "host" | "none" | "default") {
        let message = format!("operation is not permitted on predefined {name} network ");
        return refused(Kind::Forbidden, message);
    }
    match request.driver.as_str() {
        "" | "bridge" => {}
        kind @ ("host" | "null") => {
            let message = format!("only one instance of {kind:?} network is allowed");
            return refused(Kind::Forbidden, message);
        }
        kind @ ("macvlan" | "ipvlan" | "overlay") => {
            let message = format!("network driver {kind} is not supported yet");
            return refused(Kind::NotImplemented, message);
        }
        other => {
            let message = format!(
                "could not find plugin {other} in v1 plugin registry: plugin {other:?} not found"
            );
            return refused(Kind::NotFound, message);
        }
    }
    let unsupported = [
        (request.ingress, "ingress networks are"),
        (request.config_only, "configuration-only networks are"),
        (
            request
                .config_from
                .as_ref()
                .is_some_and(|from| !from.network.is_empty()),
            "networks with another one's configuration are",
        ),
        (
            request.enable_ipv4 == Some(false),
            "networks without IPv4 are",
        ),
        (
            !matches!(request.scope.as_str(), "" | "local"),
            "networks of more than this host are",
        ),
    ];
    match unsupported.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => refused(Kind::NotImplemented, format!("{what} not supported yet")),
        None => Ok(()),
    }
}

/// Takes the driver's options over into the specification; whether there is to be IPv6. Options
/// of the driver that are not honoured are refused; others are nobody's and only shown.
fn apply(spec: &mut NetworkSpec, request: &wire::NetworkCreateRequest) -> Result<bool> {
    let mut ipv6 = request.enable_ipv6.unwrap_or(false);
    for (key, value) in &request.options {
        let Some(option) = key.strip_prefix(DRIVER) else {
            continue;
        };
        match option {
            "bridge.name" => spec.bridge.clone_from(value),
            "bridge.enable_icc" => spec.icc = switch(key, value)?,
            "bridge.enable_ip_masquerade" => spec.masquerade = switch(key, value)?,
            "bridge.host_binding_ipv4" => {
                let invalid = |_| Error::invalid(format!("invalid value for {key}: {value}"));
                spec.bind_ip = value.parse::<IpAddr>().map_err(invalid)?;
            }
            "driver.mtu" => {
                let invalid = |_| Error::invalid(format!("invalid value for {key}: {value}"));
                spec.mtu = value.parse().map_err(invalid)?;
            }
            "container_iface_prefix" => spec.ifname_prefix.clone_from(value),
            "enable_ipv6" if request.enable_ipv6.is_none() => ipv6 = switch(key, value)?,
            "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" if value == "nat" => {}
            "enable_ipv4" if switch(key, value)? => {}
            "enable_ipv6" => {}
            _ => {
                let message = format!("network option {key}={value} is not supported yet");
                return Err(Error::new(Kind::NotImplemented, message));
            }
        }
    }
    Ok(ipv6)
}

/// Go's words for true and false.
fn switch(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!(
            "driver-opt {key:?} is not a valid bool: {value:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn request(options: &[(&str, &str)]) -> wire::NetworkCreateRequest {
        let options = options.iter();
        let options: BTreeMap<_, _> = options
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        wire::NetworkCreateRequest {
            name: "n".to_owned(),
            options,
            ..wire::NetworkCreateRequest::default()
        }
    }

    #[test]
    fn the_drivers_options_reach_the_specification() {
        let mut spec = NetworkSpec::default();
        let asked = request(&[
            ("com.docker.network.bridge.name", "br7"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "0"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("com.docker.network.driver.mtu", "1400"),
            ("com.docker.network.enable_ipv6", "true"),
            ("org.example.note", "kept"),
        ]);
        assert!(apply(&mut spec, &asked).expect("known"));
        assert_eq!((spec.bridge.as_str(), spec.mtu), ("br7", 1400));
        assert!(!spec.icc && !spec.masquerade);
        assert_eq!(spec.bind_ip.to_string(), "127.0.0.1");
    }

    #[test]
    fn what_the_driver_cannot_do_is_refused() {
        for (key, value) in [
            ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
            ("com.docker.network.bridge.inhibit_ipv4", "true"),
            ("com.docker.network.bridge.enable_icc", "perhaps"),
            ("com.docker.network.driver.mtu", "wide"),
        ] {
            let refused = apply(&mut NetworkSpec::default(), &request(&[(key, value)]));
            assert!(refused.is_err(), "{key}");
        }
    }

    #[test]
    fn drivers_and_names_in_dockers_words() {
        let told = |name: &str, driver: &str| {
            let request = wire::NetworkCreateRequest {
                name: name.to_owned(),
                driver: driver.to_owned(),
                ..wire::NetworkCreateRequest::default()
            };
            check(&request).map_err(|error| error.to_string()).err()
        };
        assert_eq!(told("n", "bridge"), None);
        assert!(
            told("n", "nosuch").is_some_and(|text| text.contains("plugin \"nosuch\" not found"))
        );
        assert_eq!(
            told("n", "host").as_deref(),
            Some("only one instance of \"host\" network is allowed")
        );
        assert_eq!(
            told("bridge", "").as_deref(),
            Some("operation is not permitted on predefined bridge network ")
        );
    }
}
