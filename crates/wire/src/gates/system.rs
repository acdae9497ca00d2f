//! The daemon, and what happens.

use serde_json::{Map, Value, json};

use super::image::written_image_list;
use super::{container_list, each, fill};
use crate::{ApiVersion, Event};

/// `GET /version`: the same for all versions.
pub fn version(_: &mut Value, _: ApiVersion) {}

/// `GET /info`.
pub fn info(info: &mut Value, version: ApiVersion) {
    let Some(info) = info.as_object_mut() else {
        return;
    };
    if version.before(44)
        && let Some(Value::Object(runtimes)) = info.get_mut("Runtimes")
    {
        for runtime in runtimes.values_mut().filter_map(Value::as_object_mut) {
            runtime.remove("status");
        }
    }
    if version.before(46) {
        info.remove("Containerd");
    }
    if version.before(47)
        && let Some(Value::Object(registry)) = info.get_mut("RegistryConfig")
    {
        fill(registry, "AllowNondistributableArtifactsCIDRs", Value::Null);
        fill(
            registry,
            "AllowNondistributableArtifactsHostnames",
            Value::Null,
        );
    }
    if version.before(49) {
        info.remove("FirewallBackend");
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(Value::Object(commit)) = info.get_mut(name) {
                let id = commit.get("ID").cloned().unwrap_or_default();
                fill(commit, "Expected", id);
            }
        }
    }
    if version.before(50) {
        info.remove("DiscoveredDevices");
        fill(info, "BridgeNfIptables", false);
        fill(info, "BridgeNfIp6tables", false);
    }
    if version.before(53) {
        info.remove("NRI");
    }
    if version.before(25) {
        bare_security_options(info);
    }
}

/// `GET /system/df` without `verbose`: below 1.52 the lists alone, from which the client adds up for
/// itself; since then the sums, and the lists beside them for clients that ask for no version and know
/// nothing of the sums. The value must have been made with all its items.
pub fn disk_usage(usage: &mut Value, version: ApiVersion) {
    let mut old = Map::new();
    let layers = usage
        .get("ImageUsage")
        .and_then(|images| images.get("TotalSize"));
    let layers = layers.cloned().unwrap_or_default();
    old.insert("LayersSize".to_owned(), layers);
    for (name, kind) in [
        ("Images", "ImageUsage"),
        ("Containers", "ContainerUsage"),
        ("Volumes", "VolumeUsage"),
        ("BuildCache", "BuildCacheUsage"),
    ] {
        let asked = usage.get_mut(kind).and_then(Value::as_object_mut);
        let items = asked.map(|kind| kind.remove("Items").unwrap_or_else(|| json!([])));
        old.insert(name.to_owned(), items.unwrap_or_default());
    }
    if version.before(42) {
        old.insert("BuilderSize".to_owned(), 0.into());
    }
    if let Some(images) = old.get_mut("Images").filter(|images| images.is_array()) {
        // Here, and only here, older versions were told how many containers use an image.
        let users: Vec<_> = each(images)
            .map(|image| image.get("Containers").cloned().unwrap_or_default())
            .collect();
        written_image_list(images, version);
        for (image, users) in each(images).zip(users) {
            image.insert("Containers".to_owned(), users);
        }
    }
    if let Some(containers) = old.get_mut("Containers") {
        container_list(containers, version);
    }
    match usage.as_object_mut() {
        Some(usage) if !version.before(52) => {
            usage.extend(old.into_iter().filter(|(_, value)| !value.is_null()));
        }
        _ => {
            if let Some(layers) = old.get_mut("LayersSize").filter(|size| size.is_null()) {
                *layers = 0.into();
            }
            *usage = Value::Object(old);
        }
    }
}

/// Below 1.25, security options were plain names.
fn bare_security_options(info: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = info.get_mut("SecurityOptions") else {
        return;
    };
    for option in options {
        let name = option.as_str().and_then(|text| {
            let name = text.strip_prefix("name=")?;
            Some(name.split(',').next().unwrap_or(name).to_owned())
        });
        if let Some(name) = name {
            *option = name.into();
        }
    }
}

/// Whether clients of a version know of an event at all: that images are made, they do since 1.46.
#[must_use]
pub fn event_is_known(event: &Event, version: ApiVersion) -> bool {
    !(version.before(46) && event.kind == "image" && event.action == "create")
}

/// One event of `GET /events`.
pub fn event(event: &mut Value, version: ApiVersion) {
    if !version.before(52) {
        return;
    }
    let Some(event) = event.as_object_mut() else {
        return;
    };
    let kind = event
        .get("Type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_container = kind == "container";
    if !is_container && kind != "image" {
        return;
    }
    // Docker's own CLI falls over without them up to 25.0.
    let actor = event.get("Actor").cloned().unwrap_or_default();
    let action = event.get("Action").cloned().unwrap_or_default();
    fill(event, "status", action);
    fill(event, "id", actor.get("ID").cloned().unwrap_or_default());
    if is_container {
        let image = actor.pointer("/Attributes/image").cloned();
        fill(event, "from", image.unwrap_or_else(|| "".into()));
    }
}
