//! Removing networks: one by name, or all that nobody uses.

use std::sync::Arc;

use berth_errdefs::Kind;
use berth_wire::Filters;
use jiff::Timestamp;

use super::{Found, Record, find, tell};
use crate::shared::{Shared, blocking};
use crate::{Error, Result, fault};

/// Removes a network. To be run to its end, whoever asked for it.
///
/// # Errors
/// There is none, it is predefined, or containers are in it.
pub(crate) async fn remove(shared: Arc<Shared>, term: String) -> Result<()> {
    let _changing = shared.networks.changing.lock().await;
    match find(&shared, &term)? {
        Found::Users(record) => discard(&shared, &record).await,
        Found::Predefined(network) => Err(Error::new(
            Kind::Forbidden,
            format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            ),
        )),
    }
}

/// Removes the networks that nobody uses, that `filters` let through and that were made before
/// `until`; their names.
///
/// # Errors
/// A filter that there is not. One that cannot be removed is passed over.
pub(crate) async fn prune(
    shared: Arc<Shared>,
    filters: Filters,
    until: Option<Timestamp>,
) -> Result<Vec<String>> {
    let invalid = |error: berth_wire::InvalidFilter| Error::invalid(error.to_string());
    filters
        .validate(&["label", "label!", "until"])
        .map_err(invalid)?;
    let _changing = shared.networks.changing.lock().await;
    let mut removed = Vec::new();
    for record in shared.networks.load().values() {
        let chosen = filters.labels("label", &record.labels)
            && !filters
                .get("label!")
                .iter()
                .any(|label| has_label(record, label))
            && until.is_none_or(|until| record.created < until);
        if !chosen || is_wanted(&shared, record) {
            continue;
        }
        match discard(&shared, record).await {
            Ok(()) => removed.push(record.name.clone()),
            Err(error) => tracing::warn!(name = record.name, %error, "pruning a network"),
        }
    }
    Ok(removed)
}

fn has_label(record: &Record, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => record.labels.get(key).is_some_and(|own| own == value),
        None => record.labels.contains_key(label),
    }
}

/// Whether a container is in it that runs. Those that do not run lose it, as with dockerd.
fn is_wanted(shared: &Shared, record: &Record) -> bool {
    let endpoints = shared.net.endpoints();
    endpoints
        .values()
        .any(|endpoint| endpoint.network_id == record.id)
}

/// Takes the network down and its record away.
async fn discard(shared: &Arc<Shared>, record: &Arc<Record>) -> Result<()> {
    match shared.net.remove_network(&record.id).await {
        // It could not be brought back at the daemon's start: there is only the record.
        Ok(()) | Err(berth_net::Error::NoNetwork(_)) => {}
        Err(error) => {
            return Err(Error::from_lower(error).context("error while removing network"));
        }
    }
    fault::point("network:unmade");
    let (gone, id) = (shared.clone(), record.id.clone());
    blocking(move || gone.networks.records.remove(&id).map_err(Error::from_lower)).await?;
    fault::point("network:removed");
    shared.networks.change(|networks| {
        networks.remove(&record.name);
    });
    tell(shared, "destroy", record);
    Ok(())
}
