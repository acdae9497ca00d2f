//! Images.

use serde_json::{Map, Value, json};

use super::{SNAPSHOTTER, fill};
use crate::{ApiVersion, ContainerConfig, ImageSummary, ZERO_TIME};

/// `GET /images/json`. The list is changed before it is written: of a long one, a tree of JSON in
/// between costs more than all the rest.
pub fn image_list(list: &mut [ImageSummary], version: ApiVersion) {
    for image in list {
        if version.before(43) {
            nameless(image);
        }
        if version.before(44) {
            image.virtual_size = Some(image.size);
        }
        if version.before(48) {
            image.descriptor = None;
        }
        if version.before(51) {
            image.containers = -1;
        }
    }
}

/// [`image_list`] of a list that is written already.
pub(crate) fn written_image_list(list: &mut Value, version: ApiVersion) {
    if let Ok(mut images) = serde_json::from_value::<Vec<ImageSummary>>(list.clone()) {
        image_list(&mut images, version);
        *list = serde_json::to_value(images).unwrap_or_default();
    }
}

/// Below 1.43, an image without a name was called `<none>`.
fn nameless(image: &mut ImageSummary) {
    if image.repo_tags.is_empty() && image.repo_digests.is_empty() {
        image.repo_tags.push("<none>:<none>".to_owned());
        image.repo_digests.push("<none>@<none>".to_owned());
    }
}

/// `GET /images/{name}/json`.
pub fn image_inspect(image: &mut Value, version: ApiVersion) {
    let Some(image) = image.as_object_mut() else {
        return;
    };
    if version.before(44) {
        let size = image.get("Size").cloned().unwrap_or_default();
        fill(image, "VirtualSize", size);
        fill(image, "Created", ZERO_TIME);
    }
    if version.before(45) {
        fill(image, "Container", "");
        fill(image, "ContainerConfig", nothing_run());
    }
    if version.before(48) {
        image.remove("Descriptor");
        image.remove("Manifests");
    }
    if version.before(52) {
        for name in ["Parent", "Comment", "DockerVersion", "Author"] {
            fill(image, name, "");
        }
        fill(
            image,
            "GraphDriver",
            json!({ "Data": null, "Name": SNAPSHOTTER }),
        );
        if let Some(config) = image.get_mut("Config").and_then(Value::as_object_mut) {
            full_config(config, version);
        }
    }
}

/// The configuration of the container that the image was committed from: none, but an object.
fn nothing_run() -> Value {
    let mut config = serde_json::to_value(ContainerConfig::default()).unwrap_or_default();
    if let Some(config) = config.as_object_mut() {
        config.insert("Labels".to_owned(), Value::Null);
        config.insert("OnBuild".to_owned(), Value::Null);
    }
    config
}

/// Below 1.52, what is empty was not left out; below 1.50, all of a container's was there.
fn full_config(config: &mut Map<String, Value>, version: ApiVersion) {
    for name in ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "Volumes"] {
        fill(config, name, Value::Null);
    }
    for name in ["User", "WorkingDir"] {
        fill(config, name, "");
    }
    if version.before(50) {
        for name in ["Domainname", "Hostname", "Image"] {
            fill(config, name, "");
        }
        for name in [
            "AttachStderr",
            "AttachStdin",
            "AttachStdout",
            "OpenStdin",
            "StdinOnce",
            "Tty",
        ] {
            fill(config, name, false);
        }
    }
}
