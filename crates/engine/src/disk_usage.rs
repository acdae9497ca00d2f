//! `docker system df`: what is kept takes on disk. Blocks: it adds up files.

use std::collections::HashMap;

use berth_wire as wire;

use crate::options::{DiskUsageOptions, ListOptions};
use crate::shared::Shared;
use crate::{Error, Result, list, volumes};

/// What is asked for, added up.
pub(crate) fn disk_usage(shared: &Shared, options: DiskUsageOptions) -> Result<wire::DiskUsage> {
    Ok(wire::DiskUsage {
        image_usage: options.images.then(|| images(shared)).transpose()?,
        container_usage: options.containers.then(|| containers(shared)).transpose()?,
        volume_usage: options.volumes.then(|| volumes(shared)).transpose()?,
        // Nothing builds.
        build_cache_usage: options.build_cache.then(wire::BuildCacheDiskUsage::default),
    })
}

fn containers(shared: &Shared) -> Result<wire::ContainersDiskUsage> {
    let all = list::list(
        shared,
        &ListOptions {
            all: true,
            size: true,
            ..ListOptions::default()
        },
    )?;
    let active = |container: &wire::ContainerSummary| {
        matches!(
            container.state.as_str(),
            "running" | "paused" | "restarting"
        )
    };
    Ok(wire::ContainersDiskUsage {
        active_count: count(all.iter().filter(|one| active(one))),
        total_count: count(&all),
        reclaimable: all
            .iter()
            .filter(|one| !active(one))
            .map(|one| one.size_rw)
            .sum(),
        total_size: all.iter().map(|one| one.size_rw).sum(),
        items: all,
    })
}

fn images(shared: &Shared) -> Result<wire::ImagesDiskUsage> {
    let mut users: HashMap<String, i64> = HashMap::new();
    for handle in shared.table.load().all() {
        *users.entry(handle.view().record.image.clone()).or_default() += 1;
    }
    let all = shared.images.list(&berth_images::Filters::new(), true);
    let mut all = all.map_err(Error::from_lower)?;
    for image in &mut all {
        image.containers = users.get(&image.id).copied().unwrap_or(0);
    }
    let total_size = shared.images.disk_size(|_| true);
    let used = |image: &berth_images::Image| users.contains_key(image.id().as_str());
    let in_use = shared.images.disk_size(used);
    Ok(wire::ImagesDiskUsage {
        active_count: count(all.iter().filter(|image| image.containers > 0)),
        total_count: count(&all),
        // What an unused image shares with one in use stays for that one.
        reclaimable: total_size.saturating_sub(in_use),
        total_size,
        items: all,
    })
}

/// Volumes that something else is mounted for take nothing of this host's disk that we know of.
fn volumes(shared: &Shared) -> Result<wire::VolumesDiskUsage> {
    let index = shared.volumes.load();
    let mut all = Vec::new();
    for volume in index.values().filter(|volume| volume.mount.is_none()) {
        let size = berth_volumes::disk_usage(&shared.volumes.data(&volume.name));
        let usage = wire::VolumeUsage {
            ref_count: count(&volume.users),
            size: i64::try_from(size).unwrap_or(i64::MAX),
        };
        // One that goes meanwhile is not told.
        if let Ok(told) = volumes::inspect(&shared.volumes, &volume.name) {
            all.push((usage, told));
        }
    }
    let sum = |used: fn(i64) -> bool| {
        let chosen = all.iter().map(|(usage, _)| usage);
        chosen
            .filter(|usage| used(usage.ref_count))
            .map(|usage| usage.size)
            .sum()
    };
    Ok(wire::VolumesDiskUsage {
        active_count: count(all.iter().filter(|(usage, _)| usage.ref_count > 0)),
        total_count: count(&all),
        reclaimable: sum(|users| users == 0),
        total_size: sum(|_| true),
        items: all
            .into_iter()
            .map(|(usage, volume)| wire::Volume {
                usage_data: Some(usage),
                ..volume
            })
            .collect(),
    })
}

fn count<T>(things: impl IntoIterator<Item = T>) -> i64 {
    i64::try_from(things.into_iter().count()).unwrap_or(i64::MAX)
}
