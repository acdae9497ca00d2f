//! Volumes, for the API.

use std::sync::Arc;

use berth_wire as wire;

use super::Engine;
use crate::shared::{Shared, blocking};
use crate::volumes::{self, Wanted};
use crate::{Error, Result};

impl Engine {
    /// The volumes that `filters` let through.
    ///
    /// # Errors
    /// A filter that there is not.
    pub fn volumes(&self, filters: &wire::Filters) -> Result<wire::VolumeList> {
        volumes::list(&self.shared.volumes, filters)
    }

    /// A volume.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn volume(&self, name: &str) -> Result<wire::Volume> {
        volumes::inspect(&self.shared.volumes, name)
    }

    /// Makes a volume, or finds the one that there is.
    ///
    /// # Errors
    /// The name, the driver or an option is wrong, or the disk refuses.
    pub async fn volume_create(&self, request: wire::VolumeCreate) -> Result<wire::Volume> {
        self.shared.open_for_change()?;
        change(&self.shared, move |shared| {
            let wanted = Wanted {
                name: request.name,
                driver: request.driver,
                labels: request.labels,
                options: request.driver_opts,
                container: None,
            };
            let name = shared.volumes.create(wanted)?.name.clone();
            volumes::inspect(&shared.volumes, &name)
        })
        .await
    }

    /// Removes a volume with its data; with `force` one that there is not is fine.
    ///
    /// # Errors
    /// There is none, or containers use it.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let name = name.to_owned();
        change(&self.shared, move |shared| {
            shared.volumes.remove(&name, force)
        })
        .await
    }

    /// Removes the volumes that nobody uses: see [`volumes::prune`].
    ///
    /// # Errors
    /// A filter that there is not, or another prune is running.
    pub async fn volumes_prune(&self, filters: wire::Filters) -> Result<wire::VolumesPruned> {
        change(&self.shared, move |shared| {
            volumes::prune(&shared.volumes, &filters)
        })
        .await
    }
}

/// Changes go on to their end on a thread of their own, whatever becomes of the caller.
async fn change<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
) -> Result<T, Error> {
    let shared = shared.clone();
    blocking(move || work(&shared)).await
}
