//! `docker system df`: what is kept takes on disk. Blocks: it adds up files.

use std::collections::HashMap;

use berth_wire as wire;

use crate::options::{DiskUsageOptions, ListOptions};
use crate::shared::Shared;
use crate::{Error, Result, list};

/// What is asked for, added up.
pub(crate) fn disk_usage(shared: &Shared, options: DiskUsageOptions) -> Result<wire::DiskUsage> {
    // There are none: no volumes, and nothing that builds.
    let nothing = |asked: bool| asked.then(wire::EmptyDiskUsage::default);
    Ok(wire::DiskUsage {
        image_usage: options
            .images
            .then(|| images(shared, options))
            .transpose()?,
        container_usage: options
            .containers
            .then(|| containers(shared, options))
            .transpose()?,
        volume_usage: nothing(options.volumes),
        build_cache_usage: nothing(options.build_cache),
    })
}

fn containers(shared: &Shared, options: DiskUsageOptions) -> Result<wire::ContainersDiskUsage> {
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
        items: if options.verbose { all } else { Vec::new() },
    })
}

fn images(shared: &Shared, options: DiskUsageOptions) -> Result<wire::ImagesDiskUsage> {
    let mut users: HashMap<String, i64> = HashMap::new();
    for handle in shared.table.load().all() {
        *users.entry(handle.view().record.image.clone()).or_default() += 1;
    }
    let all = shared.images.list(&berth_images::Filters::new(), true);
    let mut all = all.map_err(Error::from_lower)?;
    for image in &mut all {
        image.containers = users.get(&image.id).copied().unwrap_or(0);
    }
    let total_size = shared.images.disk_size();
    let (used, unused): (Vec<_>, Vec<_>) = all.iter().partition(|image| image.containers > 0);
    let own = |image: &&wire::ImageSummary| image.size - image.shared_size;
    Ok(wire::ImagesDiskUsage {
        active_count: count(&used),
        total_count: count(&all),
        // What an unused image shares with another one stays for that one.
        reclaimable: unused.iter().map(own).sum(),
        total_size,
        items: if options.verbose { all } else { Vec::new() },
    })
}

fn count<T>(things: impl IntoIterator<Item = T>) -> i64 {
    i64::try_from(things.into_iter().count()).unwrap_or(i64::MAX)
}
