//! The shapes of older API versions, made of the newest one.
//!
//! Each gate takes a value as it was written, in the newest shape, and changes what clients of an
//! older version expect otherwise. A gate for the newest version changes nothing. Only long lists of
//! much asked for things are changed before they are written.

mod container;
mod image;
mod network;
mod system;
#[cfg(test)]
mod tests;

pub use container::{container_inspect, container_list};
#[cfg(test)]
pub(crate) use image::written_image_list;
pub use image::{image_inspect, image_list};
pub use network::{network_inspect, network_list};
pub use system::{disk_usage, event, event_is_known, info, version};

use serde_json::{Map, Value};

/// The snapshotter that older versions show as `GraphDriver`, where the value does not name one.
const SNAPSHOTTER: &str = "overlayfs";

/// Adds what is not there yet.
fn fill(object: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if !object.contains_key(name) {
        object.insert(name.to_owned(), value.into());
    }
}

/// The object called `name` in `value`.
fn inner<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Map<String, Value>> {
    value.get_mut(name)?.as_object_mut()
}

/// The objects of a list.
fn each(list: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}
