//! Containers.

use serde_json::{Map, Value, json};

use super::{SNAPSHOTTER, each, fill, inner};
use crate::ApiVersion;

/// How many characters of an ID are its short form.
const SHORT_ID: usize = 12;

/// `GET /containers/json`.
pub fn container_list(list: &mut Value, version: ApiVersion) {
    for container in each(list) {
        if version.before(46)
            && let Some(Value::Object(host)) = container.get_mut("HostConfig")
        {
            host.remove("Annotations");
        }
        if version.before(48) {
            container.remove("ImageManifestDescriptor");
        }
        if version.before(52) {
            container.remove("Health");
        }
    }
}

/// `GET /containers/{id}/json`.
pub fn container_inspect(container: &mut Value, version: ApiVersion) {
    if version.before(42) {
        // The field went with 1.42; docker-py and others of that time read it.
        if let Some(host) = inner(container, "HostConfig") {
            fill(host, "KernelMemory", 0);
        }
    }
    if version.before(45) {
        short_id_aliases(container);
    }
    let Some(object) = container.as_object_mut() else {
        return;
    };
    if version.before(48) {
        object.remove("ImageManifestDescriptor");
    }
    if version.before(52) {
        graph_driver(object);
        if let Some(config) = object.get_mut("Config").and_then(Value::as_object_mut) {
            fill(config, "OnBuild", Value::Null);
        }
        if let Some(settings) = object
            .get_mut("NetworkSettings")
            .and_then(Value::as_object_mut)
        {
            flat_network_settings(settings);
        }
    }
}

/// Below 1.45, containers in networks of users had their short ID and host name as aliases.
fn short_id_aliases(container: &mut Value) {
    let short: String = container["Id"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(SHORT_ID)
        .collect();
    let hostname = container["Config"]["Hostname"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let networks = inner(container, "NetworkSettings").and_then(|s| s.get_mut("Networks"));
    let Some(networks) = networks.and_then(Value::as_object_mut) else {
        return;
    };
    for (name, endpoint) in networks {
        if matches!(name.as_str(), "bridge" | "host" | "none" | "default") {
            continue;
        }
        let Some(endpoint) = endpoint.as_object_mut() else {
            continue;
        };
        let mut aliases: Vec<Value> = Vec::new();
        let old = endpoint
            .get("Aliases")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let own = [&short, &hostname].map(|name| Value::from(name.as_str()));
        for alias in old.into_iter().chain(own) {
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        endpoint.insert("Aliases".to_owned(), aliases.into());
    }
}

/// Below 1.52, a snapshotter was shown as a graph driver without data.
fn graph_driver(container: &mut Map<String, Value>) {
    let storage = container.remove("Storage");
    let name = storage
        .as_ref()
        .and_then(|s| s.pointer("/RootFS/Snapshot/Name")?.as_str());
    let name = name.unwrap_or(SNAPSHOTTER);
    fill(
        container,
        "GraphDriver",
        json!({ "Data": null, "Name": name }),
    );
}

/// Below 1.52, the default bridge's endpoint was also shown without its network.
fn flat_network_settings(settings: &mut Map<String, Value>) {
    let bridge = settings
        .get("Networks")
        .and_then(|n| n.get("bridge"))
        .cloned();
    let bridge = bridge.unwrap_or_default();
    for name in [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "IPAddress",
        "IPv6Gateway",
        "MacAddress",
    ] {
        let value = bridge.get(name).cloned().unwrap_or_else(|| "".into());
        fill(settings, name, value);
    }
    for name in ["GlobalIPv6PrefixLen", "IPPrefixLen"] {
        fill(
            settings,
            name,
            bridge.get(name).cloned().unwrap_or_else(|| 0.into()),
        );
    }
    // Of before 1.21, and shown with nothing in it ever since.
    fill(settings, "Bridge", "");
    fill(settings, "HairpinMode", false);
    fill(settings, "LinkLocalIPv6Address", "");
    fill(settings, "LinkLocalIPv6PrefixLen", 0);
    fill(settings, "SecondaryIPAddresses", Value::Null);
    fill(settings, "SecondaryIPv6Addresses", Value::Null);
}
