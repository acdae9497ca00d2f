//! `docker volume prune`.

use std::sync::atomic::Ordering;

use berth_volumes::{ANONYMOUS, disk_usage};
use berth_wire::{self as wire, Filters, InvalidFilter};

use super::{Volume, Volumes};
use crate::{Error, Result};

const FILTERS: [&str; 3] = ["label", "label!", "all"];

/// Removes the volumes that no container has: only those that nobody named, unless the filter
/// `all` says otherwise, and never those that have options, which take no room of ours. Blocks.
///
/// # Errors
/// A filter that there is not, or another prune is running. What cannot be removed is no error: it
/// stays.
pub(crate) fn prune(volumes: &Volumes, filters: &Filters) -> Result<wire::VolumesPruned> {
    let invalid = |error: InvalidFilter| Error::invalid(error.to_string());
    filters.validate(&FILTERS).map_err(invalid)?;
    let all = every(filters).map_err(invalid)?;
    if volumes.pruning.swap(true, Ordering::AcqRel) {
        return Err(Error::conflict("a prune operation is already running"));
    }
    let _done = Done(volumes);
    let mut pruned = wire::VolumesPruned::default();
    for (name, volume) in volumes.load().iter() {
        if !wanted(volume, filters, all) {
            continue;
        }
        let size = disk_usage(&volumes.data(name));
        match volumes.remove(name, false) {
            Ok(()) => {
                pruned.space_reclaimed += size;
                pruned.volumes_deleted.push(name.clone());
            }
            Err(error) => tracing::warn!(volume = name, %error, "pruning a volume"),
        }
    }
    let reclaimed = pruned.space_reclaimed.to_string();
    volumes.tell("", "prune", &[("reclaimed", reclaimed)]);
    Ok(pruned)
}

/// Lets the next prune begin.
struct Done<'a>(&'a Volumes);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.pruning.store(false, Ordering::Release);
    }
}

/// The filter `all`, whose values are those of Go's `ParseBool`.
fn every(filters: &Filters) -> Result<bool, InvalidFilter> {
    let values = filters.get("all");
    match values[..] {
        [] => Ok(false),
        ["1" | "t" | "T" | "true" | "TRUE" | "True"] => Ok(true),
        ["0" | "f" | "F" | "false" | "FALSE" | "False"] => Ok(false),
        _ => Err(InvalidFilter::values("all", &values)),
    }
}

fn wanted(volume: &Volume, filters: &Filters, all: bool) -> bool {
    let labels = &volume.record.labels;
    volume.users.is_empty()
        && volume.record.options.is_empty()
        && volume.damaged.is_none()
        && (all || labels.contains_key(ANONYMOUS))
        && filters.labels("label", labels)
        && !(filters.contains("label!") && filters.labels("label!", labels))
}
