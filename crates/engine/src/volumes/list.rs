//! `docker volume ls` and `inspect`.

use berth_volumes::DRIVER;
use berth_wire::{self as wire, Filters};

use super::{Volume, Volumes};
use crate::{Error, Result};

const FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];

pub(crate) fn list(volumes: &Volumes, filters: &Filters) -> Result<wire::VolumeList> {
    let invalid = |error: wire::InvalidFilter| Error::invalid(error.to_string());
    filters.validate(&FILTERS).map_err(invalid)?;
    let dangling = filters.flag("dangling").map_err(invalid)?;
    let index = volumes.load();
    let chosen: Vec<_> = index
        .values()
        .filter(|volume| {
            dangling.is_none_or(|wanted| wanted == volume.users.is_empty())
                && filters.exact("driver", DRIVER)
                && filters.pattern("name", &volume.name)
                && filters.labels("label", &volume.record.labels)
        })
        .collect();
    let warning = |volume: &&std::sync::Arc<Volume>| {
        let reason = volume.damaged.as_ref()?;
        Some(format!("volume {}: {reason}", volume.name))
    };
    Ok(wire::VolumeList {
        warnings: chosen.iter().filter_map(warning).collect(),
        volumes: chosen
            .into_iter()
            .map(|volume| show(volumes, volume))
            .collect(),
    })
}

pub(crate) fn inspect(volumes: &Volumes, name: &str) -> Result<wire::Volume> {
    Ok(show(volumes, &*volumes.find(name)?))
}

/// As clients see it.
pub(super) fn show(volumes: &Volumes, volume: &Volume) -> wire::Volume {
    wire::Volume {
        created_at: volume
            .record
            .created
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        driver: DRIVER.to_owned(),
        labels: volume.record.labels.clone(),
        mountpoint: volumes.data(&volume.name).display().to_string(),
        name: volume.name.clone(),
        options: volume.record.options.clone(),
        scope: "local".to_owned(),
        usage_data: None,
    }
}
