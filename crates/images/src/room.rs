//! Pulls for which there is no room: room is made of what others left, and what came is kept.

use std::sync::Arc;

use crate::image::Image;
use crate::lease::Lease;
use crate::progress::Progress;
use crate::pull::Wanted;
use crate::unpack::is_extraction;
use crate::{Images, Pull, Result};

impl Pull {
    /// Fetches what is wanted. Where there is no room for it, once more without what was kept of earlier
    /// pulls; where there is none even then, what came is kept for the next one. RPCs: as
    /// [`Pull::fetch`], and 2; 1 for each layer, too, where there is no room.
    pub(crate) async fn fetch_where_there_is_room(
        &self,
        wanted: &Wanted,
        progress: &Progress,
    ) -> Result<Arc<Image>> {
        let images = &self.images;
        let lease = match images.pull_lease().await {
            Err(e) if e.is_out_of_space() && images.sweep_orphans().await => {
                images.pull_lease().await?
            }
            other => other?,
        };
        let mut fetched = self.fetch(&lease, wanted, progress).await;
        if no_room(&fetched) && images.has_orphans() {
            self.hold(&lease, wanted).await;
            images.sweep_orphans().await;
            fetched = self.fetch(&lease, wanted, progress).await;
        }
        if no_room(&fetched) {
            images.keep_blobs(lease).await;
        }
        fetched
    }

    /// Holds the layers that are there: the first one that there was no room for ended the others,
    /// some of them perhaps before they were found.
    async fn hold(&self, lease: &Lease, wanted: &Wanted) {
        for layer in &wanted.manifest.layers {
            if let Err(error) = lease.protect(&layer.digest).await {
                // It is downloaded again, if it goes.
                tracing::debug!(%error, layer = %layer.digest, "not held");
            }
        }
    }
}

fn no_room(fetched: &Result<Arc<Image>>) -> bool {
    matches!(fetched, Err(e) if e.is_out_of_space())
}

impl Images {
    /// Leaves a lease to the next pull, without the layers that were being unpacked: that is what filled
    /// the disk, and nobody goes on with it.
    async fn keep_blobs(&self, lease: Lease) {
        let dropped = match self.drop_extractions(lease.id()).await {
            Ok(()) => self.collect().await,
            failed => failed,
        };
        match dropped {
            Ok(()) => lease.leave(),
            // It goes with all the rest.
            Err(error) => tracing::warn!(%error, "after a pull for which there was no room"),
        }
    }

    /// Removes what was being unpacked under a lease; it goes with the next collection. 1 RPC, and 1 for
    /// each.
    pub(crate) async fn drop_extractions(&self, lease: &str) -> Result<()> {
        let snapshots = self.snapshots(&self.inner.client);
        let leases = self.inner.client.leases();
        let held = leases.snapshots(lease, self.snapshotter()).await?;
        for key in held.iter().filter(|key| is_extraction(key)) {
            match snapshots.remove(key).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
