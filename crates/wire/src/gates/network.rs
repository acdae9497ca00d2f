//! Networks.

use serde_json::{Value, json};

use super::{each, fill};
use crate::ApiVersion;

/// `GET /networks`.
pub fn network_list(list: &mut Value, version: ApiVersion) {
    for network in each(list) {
        if version.before(28) {
            fill(network, "Containers", json!({}));
        }
        network.remove("Status");
    }
}

/// `GET /networks/{id}`.
pub fn network_inspect(network: &mut Value, version: ApiVersion) {
    if version.before(52)
        && let Some(network) = network.as_object_mut()
    {
        network.remove("Status");
    }
}
