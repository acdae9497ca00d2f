//! Making a network.

use std::collections::BTreeMap;
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

/// The driver of networks that name none.
const BRIDGE: &str = "bridge";
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
    mut request: wire::NetworkCreateRequest,
) -> Result<wire::NetworkCreateResponse> {
    shared.open_for_change()?;
    check(&request)?;
    fill_in(&mut request, &live.user.default_network_opts);
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
        return Err(Error::invalid("invalid name: name is empty"));
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
            let message = format!("plugin {other:?} not found");
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

/// Adds the daemon's default options that the request does not give itself. What the request says
/// of IPv4 and IPv6 stands before an option that says so too.
fn fill_in(
    request: &mut wire::NetworkCreateRequest,
    defaults: &BTreeMap<String, BTreeMap<String, String>>,
) {
    let driver = match request.driver.as_str() {
        "" => BRIDGE,
        driver => driver,
    };
    for (key, value) in defaults.get(driver).into_iter().flatten() {
        let options = &mut request.options;
        options.entry(key.clone()).or_insert_with(|| value.clone());
    }
    for (said, key) in [
        (request.enable_ipv4, "enable_ipv4"),
        (request.enable_ipv6, "enable_ipv6"),
    ] {
        if said.is_some() {
            request.options.remove(&format!("{DRIVER}{key}"));
        }
    }
}

/// What dockerd's driver knows and ours does not do.
const MISSING: [&str; 6] = [
    "bridge.gateway_mode_ipv4",
    "bridge.gateway_mode_ipv6",
    "bridge.inhibit_ipv4",
    "bridge.trusted_host_interfaces",
    "host_ipv4",
    "host_ipv6",
];

/// Takes the driver's options over into the specification; whether there is to be IPv6. Options
/// of the driver that are not honoured are refused; others are nobody's and only shown, as dockerd
/// does.
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
                let ip = value.parse::<IpAddr>();
                spec.bind_ip = ip.map_err(|_| unreadable(key, value, "nil ip"))?;
            }
            "driver.mtu" => match mtu(key, value)? {
                // It is not said.
                0 => {}
                mtu => spec.mtu = mtu,
            },
            "container_iface_prefix" => spec.ifname_prefix.clone_from(value),
            "enable_ipv6" if request.enable_ipv6.is_none() => ipv6 = switch(key, value)?,
            "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" if value == "nat" => {}
            "enable_ipv4" if switch(key, value)? => {}
            other if other == "enable_ipv4" || MISSING.contains(&other) => {
                let message = format!("network option {key}={value} is not supported yet");
                return Err(Error::new(Kind::NotImplemented, message));
            }
            _ => {}
        }
    }
    Ok(ipv6)
}

/// dockerd's words for an option's value that it cannot read.
fn unreadable(key: &str, value: &str, why: &str) -> Error {
    Error::invalid(format!("failed to parse {key} value: {value} ({why})"))
}

/// An MTU, in bytes.
fn mtu(key: &str, value: &str) -> Result<u32> {
    let number: i64 = value.parse().map_err(|_| {
        let why = format!("strconv.Atoi: parsing {value:?}: invalid syntax");
        unreadable(key, value, &why)
    })?;
    u32::try_from(number).map_err(|_| Error::invalid(format!("invalid MTU number: {number}")))
}

/// Go's words for true and false.
fn switch(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        // The daemon itself reads these two, the driver the others.
        _ if key.ends_with(".enable_ipv4") || key.ends_with(".enable_ipv6") => {
            let message = format!("driver-opt {key:?} is not a valid bool");
            Err(Error::invalid(message))
        }
        _ => {
            let why = format!("strconv.ParseBool: parsing {value:?}: invalid syntax");
            Err(unreadable(key, value, &why))
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn default_options_are_for_networks_of_their_driver_that_do_not_give_them() {
        let own = |options: &[(&str, &str)]| request(options).options;
        let defaults = BTreeMap::from([
            (
                "bridge".to_owned(),
                own(&[
                    ("a", "1"),
                    ("b", "2"),
                    ("com.docker.network.enable_ipv6", "true"),
                ]),
            ),
            ("overlay".to_owned(), own(&[("c", "3")])),
        ]);
        let mut asked = request(&[("b", "mine")]);
        fill_in(&mut asked, &defaults);
        let all = own(&[
            ("a", "1"),
            ("b", "mine"),
            ("com.docker.network.enable_ipv6", "true"),
        ]);
        assert_eq!(asked.options, all);
        let mut said = wire::NetworkCreateRequest {
            driver: "bridge".to_owned(),
            enable_ipv6: Some(false),
            ..request(&[])
        };
        fill_in(&mut said, &defaults);
        assert_eq!(said.options, own(&[("a", "1"), ("b", "2")]));
    }

    #[test]
    fn what_the_driver_cannot_do_is_refused() {
        let refused = |key: &str, value: &str| {
            let key = format!("com.docker.network.{key}");
            let refused = apply(&mut NetworkSpec::default(), &request(&[(&key, value)]));
            refused.expect_err("refused").to_string()
        };
        for (key, value) in [
            ("bridge.gateway_mode_ipv4", "routed"),
            ("bridge.inhibit_ipv4", "true"),
        ] {
            assert!(
                refused(key, value).ends_with("is not supported yet"),
                "{key}"
            );
        }
        assert_eq!(
            refused("bridge.enable_icc", "perhaps"),
            "failed to parse com.docker.network.bridge.enable_icc value: perhaps \
             (strconv.ParseBool: parsing \"perhaps\": invalid syntax)"
        );
        assert_eq!(
            refused("driver.mtu", "wide"),
            "failed to parse com.docker.network.driver.mtu value: wide \
             (strconv.Atoi: parsing \"wide\": invalid syntax)"
        );
        assert_eq!(refused("driver.mtu", "-1"), "invalid MTU number: -1");
        assert_eq!(
            refused("bridge.host_binding_ipv4", "here"),
            "failed to parse com.docker.network.bridge.host_binding_ipv4 value: here (nil ip)"
        );
        assert_eq!(
            refused("enable_ipv6", "perhaps"),
            "driver-opt \"com.docker.network.enable_ipv6\" is not a valid bool"
        );
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
