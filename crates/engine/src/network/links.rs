//! Links: a container's own words for others. In networks of users they are names in its DNS, in
//! the default network lines in its `/etc/hosts`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use berth_config::Live;

use super::BRIDGE;
use crate::container::handle::{Handle, View};
use crate::container::record::Record;
use crate::shared::Shared;
use crate::{Error, Result, files};

/// Links in a network of users: the container's own word for another, and a name of that one that
/// renames do not change.
pub(super) fn words(shared: &Shared, links: &[String]) -> BTreeMap<String, String> {
    let named = links.iter().map(|link| split(link));
    named
        .map(|(target, alias)| {
            let target = match shared.table.find(target) {
                Ok(handle) => handle.view().record.short_id().to_owned(),
                Err(_) => target.to_owned(),
            };
            (alias.to_owned(), target)
        })
        .collect()
}

/// `container:alias`, or `container` for both; dockerd writes `/container:/own/alias`.
fn split(link: &str) -> (&str, &str) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    (
        target.trim_start_matches('/'),
        alias.rsplit('/').next().unwrap_or(alias),
    )
}

/// The containers that the record's links in the default network name, with the words for them.
fn linked<'r>(shared: &Shared, record: &'r Record) -> Result<Vec<(Arc<Handle>, &'r str)>> {
    let links = record.host.links.iter().map(|link| split(link));
    links
        .map(|(target, alias)| match shared.table.find(target) {
            Ok(handle) => Ok((handle, alias)),
            // Not "not found": clients would take it for the image, and pull that.
            Err(error) => Err(Error::invalid(format!(
                "could not get container for {target}: {error}"
            ))),
        })
        .collect()
}

/// Whether a record has a link of this alias.
pub(crate) fn has_link(record: &Record, alias: &str) -> bool {
    record.host.links.iter().any(|link| split(link).1 == alias)
}

/// Takes the link of this alias out of a record.
pub(crate) fn unlink(record: &mut Record, alias: &str) {
    record.host.links.retain(|link| split(link).1 != alias);
}

/// Refuses links to what there is not.
///
/// # Errors
/// There is no such container.
pub(super) fn check(shared: &Shared, record: &Record) -> Result<()> {
    linked(shared, record).map(drop)
}

/// Refuses to start with links in the default network to what does not run.
///
/// # Errors
/// Docker's words.
pub(super) fn check_running(shared: &Shared, record: &Record) -> Result<()> {
    if record.host.network_mode != BRIDGE {
        return Ok(());
    }
    for (handle, alias) in linked(shared, record)? {
        let view = handle.view();
        if !view.run.status.is_running() {
            return Err(Error::conflict(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                view.record.name, record.name
            )));
        }
    }
    Ok(())
}

/// What `/etc/hosts` says of the containers that a record links to in the default network.
pub(crate) fn linked_hosts(shared: &Shared, record: &Record) -> Vec<(IpAddr, String)> {
    if record.host.network_mode != BRIDGE {
        return Vec::new();
    }
    let Ok(linked) = linked(shared, record) else {
        return Vec::new();
    };
    let line = |(handle, alias): (Arc<Handle>, &str)| {
        let view = handle.view();
        let address = address(&view)?;
        let (id, name) = (view.record.short_id(), &view.record.name);
        let names = match alias == name {
            true => format!("{alias} {id}"),
            false => format!("{alias} {id} {name}"),
        };
        Some((address, names))
    };
    linked.into_iter().filter_map(line).collect()
}

/// A container's address in the default network.
fn address(view: &View) -> Option<IpAddr> {
    let mut endpoints = view.run.endpoints.iter();
    let endpoint = endpoints.find(|endpoint| endpoint.network == BRIDGE)?;
    Some(IpAddr::V4(endpoint.ip))
}

/// A container has a new address: those that run and link to it are told.
pub(crate) async fn refresh_linked(shared: Arc<Shared>, record: Arc<Record>, live: Arc<Live>) {
    let known = shared.table.load();
    for handle in known.all() {
        let view = handle.view();
        let own = &view.record;
        let of_it = !own.host.links.is_empty()
            && view.run.status.is_running()
            && own.host.network_mode == BRIDGE
            && linked(&shared, own)
                .is_ok_and(|linked| linked.iter().any(|(other, _)| **other.id() == *record.id));
        if !of_it {
            continue;
        }
        let endpoints = &view.run.endpoints;
        if let Err(error) = files::complete_hosts(&shared, own, &live, endpoints).await {
            tracing::warn!(id = %own.id, %error, "telling a linked container of a new address");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_clients_and_dockerd_write_them() {
        assert_eq!(split("db:store"), ("db", "store"));
        assert_eq!(split("db"), ("db", "db"));
        assert_eq!(split("/db:/web/store"), ("db", "store"));
    }
}
