//! Images together with the containers that use them, for the API.

use std::collections::HashMap;
use std::sync::Arc;

use berth_images::{Filters, InUse, Platform, Usage};
use berth_wire as wire;

use super::Engine;
use crate::shared::Shared;
use crate::{Error, Result};

impl Engine {
    /// What `docker images` shows. With `manifests` containerd is asked about each of them; else
    /// no RPC.
    ///
    /// # Errors
    /// Filters that are none; `before` or `since` an image that is not there.
    pub async fn image_list(
        &self,
        filters: &Filters,
        shared_size: bool,
        manifests: bool,
    ) -> Result<Vec<wire::ImageSummary>> {
        let images = self.images();
        let listed = images.list(filters, shared_size);
        let mut listed = listed.map_err(Error::from_lower)?;
        let users = self.image_users();
        for summary in &mut listed {
            let of_it = users.get(&summary.id).map_or(&[][..], Vec::as_slice);
            summary.containers = i64::try_from(of_it.len()).unwrap_or(i64::MAX);
            if !manifests {
                continue;
            }
            // It may be gone by now.
            if let Ok(image) = images.resolve(&summary.id) {
                let found = images.manifests(&image, of_it).await;
                summary.manifests = found.map_err(Error::from_lower)?;
            }
        }
        Ok(listed)
    }

    /// The snapshotter that images are unpacked into. No RPC.
    pub fn snapshotter(&self) -> &str {
        self.shared.images.snapshotter()
    }

    /// What `docker image inspect` shows, of one platform if one is given. No RPC without
    /// `platform` and `manifests`.
    ///
    /// # Errors
    /// There is no such image, or it is not for that platform.
    pub async fn image_inspect(
        &self,
        name: &str,
        platform: Option<&Platform>,
        manifests: bool,
    ) -> Result<wire::ImageInspect> {
        let images = self.images();
        let image = match platform {
            Some(platform) => images.for_platform(name, platform).await,
            None => images.resolve(name),
        };
        let image = image.map_err(Error::from_lower)?;
        let mut shown = image.inspect();
        if manifests {
            let users = self.image_users().remove(&shown.id).unwrap_or_default();
            let found = images.manifests(&image, &users).await;
            shown.manifests = found.map_err(Error::from_lower)?;
        }
        Ok(shown)
    }

    /// Removes an image, or a name of one.
    ///
    /// # Errors
    /// There is none, or it is in use.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        prune: bool,
    ) -> Result<Vec<wire::ImageDeleteItem>> {
        // Parents that only this image keeps do not exist apart in containerd's store.
        let _ = prune;
        let shared = self.shared.clone();
        let in_use: InUse = Arc::new(move |image| usage(&shared, image));
        self.shared
            .images
            .remove(name, force, in_use)
            .await
            .map_err(Error::from_lower)
    }

    /// The containers of each image, by their ids.
    fn image_users(&self) -> HashMap<String, Vec<String>> {
        let mut users: HashMap<String, Vec<String>> = HashMap::new();
        for handle in self.shared.table.load().all() {
            let view = handle.view();
            let of_it = users.entry(view.record.image.clone()).or_default();
            of_it.push(view.record.id.clone());
        }
        users
    }
}

/// Which containers use an image.
pub(super) fn usage(shared: &Shared, image: &berth_reference::Digest) -> Usage {
    let mut usage = Usage::default();
    let image = image.to_string();
    for handle in shared.table.load().all() {
        let view = handle.view();
        if view.record.image != image {
            continue;
        }
        let place = if view.run.status.is_up() {
            &mut usage.running
        } else {
            &mut usage.stopped
        };
        *place = Some(view.record.id.clone());
    }
    usage
}
