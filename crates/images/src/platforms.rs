//! The platforms of an image: each manifest of its index, and the image as one of them has it.

use std::sync::Arc;

use berth_ctrd::Client;
use berth_reference::{Digest, Reference, chain_ids};
use berth_wire as wire;

use crate::attestations::ABOUT;
use crate::image::Image;
use crate::manifest::{Descriptor, Document, Manifest};
use crate::{Error, Images, Platform, Result, fault};

/// What is asked of whoever removes a platform: dockerd's own words, its dashes included.
const FORCE: &str = "Content will be removed from all images referencing this variant. \
    Use \u{2014}-force to force delete.";

impl Images {
    /// Removes what is here of an image for `platforms`: their manifests, and what nothing else
    /// refers to. The image keeps its names. Of images that list the same manifests it is gone as
    /// well, so it takes `force`; layers that others share stay, and so do containers. RPCs: as
    /// many as reading an image anew takes for each platform and each image that had it, and 3.
    ///
    /// # Errors
    /// As [`Images::resolve`]; [`Error::NoPlatform`], and then nothing is removed.
    pub async fn remove_platforms(
        &self,
        name: &str,
        platforms: &[Platform],
        force: bool,
    ) -> Result<Vec<wire::ImageDeleteItem>> {
        if !force {
            return Err(Error::Invalid(FORCE.to_owned()));
        }
        let (images, name, platforms) = (self.clone(), name.to_owned(), platforms.to_vec());
        crate::whole(async move {
            let removed = images.remove_manifests(&name, &platforms).await?;
            images.collect().await?;
            let deleted = removed.into_iter().map(|digest| wire::ImageDeleteItem {
                deleted: digest.to_string(),
                ..Default::default()
            });
            Ok(deleted.collect())
        })
        .await
    }

    async fn remove_manifests(&self, name: &str, platforms: &[Platform]) -> Result<Vec<Digest>> {
        let _writing = self.inner.writing.lock().await;
        let image = self.resolve(name)?;
        let client = &self.inner.client;
        let mut removed = Vec::new();
        for platform in platforms {
            let found = self.exactly(&image, name, platform).await?;
            if !removed.contains(&found) {
                removed.push(found);
            }
        }
        for digest in &removed {
            match client.content().delete(digest.as_str()).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => fault::point("rmi:manifest"),
            }
        }
        let mut now = Vec::new();
        for image in self.all() {
            if image
                .manifest()
                .is_some_and(|m| removed.contains(&m.digest))
            {
                now.push(self.read_metadata(client, image.target()).await?);
            }
        }
        self.replace_metadata(now);
        Ok(removed)
    }

    /// The manifest of an image for exactly `platform`, not for one that `platform` would run, too.
    async fn exactly(&self, image: &Image, name: &str, platform: &Platform) -> Result<Digest> {
        let client = &self.inner.client;
        let found = self.find_manifest(client, image.target(), platform, false);
        if let Some(found) = found.await? {
            let told = found.descriptor.platform;
            let is = told.unwrap_or_else(|| found.config.platform()).normal();
            let wanted = platform.normal();
            if (is.os, is.architecture, is.variant)
                == (wanted.os, wanted.architecture, wanted.variant)
            {
                return Ok(found.descriptor.digest);
            }
        }
        let asked = Reference::parse(name).map(|r| r.tagged().familiar());
        let mut tags = image.tags().iter();
        let known = tags.clone().find(|tag| asked.as_ref().ok() == Some(*tag));
        let known = known.or_else(|| tags.next());
        Err(Error::NoPlatform {
            name: known.map_or_else(|| image.id().to_string(), String::clone),
            image: image.id().to_string(),
            platform: platform.to_string(),
        })
    }

    /// The image as it is for `platform`. RPCs: as many as reading an image anew takes.
    ///
    /// # Errors
    /// As [`Images::resolve`]; [`Error::OtherPlatform`] when there is none, or not all of it.
    pub async fn for_platform(&self, name: &str, platform: &Platform) -> Result<Arc<Image>> {
        let image = self.resolve(name)?;
        let client = &self.inner.client;
        let target = image.target();
        let found = self.find_manifest(client, target, platform, false).await?;
        let found = found.ok_or_else(|| Error::OtherPlatform {
            name: name.to_owned(),
            platform: platform.to_string(),
        })?;
        let metadata = self.complete_metadata(client, target, Some(found)).await;
        Ok(Arc::new(Image {
            metadata: Arc::new(metadata),
            ..Image::clone(&image)
        }))
    }

    /// What is here of each manifest of an image, in the index's order. `users` are the containers
    /// of the image. RPCs: 2 for the image and each manifest, 1 for each blob and layer.
    ///
    /// # Errors
    /// When containerd does not answer; what is missing is told as such.
    pub async fn manifests(
        &self,
        image: &Image,
        users: &[String],
    ) -> Result<Vec<wire::ManifestSummary>> {
        let client = &self.inner.client;
        let all = match self.read_document(client, image.id()).await {
            Ok(Document::Index(index)) => index.manifests,
            Ok(Document::Manifest(_)) => vec![image.target().clone()],
            Err(Error::Containerd(e)) if e.is_not_found() => vec![image.target().clone()],
            Err(e) => return Err(e),
        };
        let mut summaries = Vec::new();
        for descriptor in all {
            let own = image.manifest().map(|m| &m.digest) == Some(&descriptor.digest);
            let users = if own { users } else { &[] };
            summaries.push(self.manifest(client, &descriptor, users).await?);
        }
        Ok(summaries)
    }

    async fn manifest(
        &self,
        client: &Client,
        descriptor: &Descriptor,
        users: &[String],
    ) -> Result<wire::ManifestSummary> {
        let manifest = match self.read_document(client, &descriptor.digest).await {
            Ok(Document::Manifest(manifest)) => Some(manifest),
            Ok(Document::Index(_)) => None,
            Err(Error::Containerd(e)) if e.is_not_found() => None,
            Err(e) => return Err(e),
        };
        let mut summary = wire::ManifestSummary {
            id: descriptor.digest.to_string(),
            descriptor: descriptor.to_wire(),
            ..Default::default()
        };
        let (mut unpacked, mut config) = (0, None);
        if let Some(manifest) = &manifest {
            let (content, available) = self.present(client, descriptor, manifest).await?;
            summary.size.content = content;
            summary.available = available;
            config = self.read_config(client, manifest).await.ok();
        }
        if let Some(about) = descriptor.annotations.get(ABOUT)
            && descriptor.is_attestation()
        {
            summary.kind = "attestation".to_owned();
            summary.attestation_data = Some(wire::AttestationData {
                about: about.clone(),
            });
        } else if manifest.is_none() && descriptor.platform.is_none() {
            summary.kind = "unknown".to_owned();
        } else {
            summary.kind = "image".to_owned();
            let config = config.unwrap_or_default();
            unpacked = self.unpacked(client, &config.rootfs.diff_ids).await;
            let told = descriptor.platform.clone();
            let platform = told.unwrap_or_else(|| config.platform());
            summary.image_data = Some(wire::ImageData {
                platform: platform.to_wire(),
                containers: users.to_vec(),
                size: wire::ImageDataSize { unpacked },
            });
        }
        summary.size.total = summary.size.content.saturating_add(unpacked);
        Ok(summary)
    }

    /// How many bytes of a manifest and its blobs are here, and whether that is all.
    async fn present(
        &self,
        client: &Client,
        descriptor: &Descriptor,
        manifest: &Manifest,
    ) -> Result<(i64, bool)> {
        let (mut bytes, mut all) = (descriptor.size.max(0), true);
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            match client.content().info(blob.digest.as_str()).await {
                Ok(info) => bytes = bytes.saturating_add(info.size.max(0)),
                Err(e) if e.is_not_found() => all = false,
                Err(e) => return Err(e.into()),
            }
        }
        Ok((bytes, all))
    }

    /// The size of the layers that are unpacked, in bytes.
    async fn unpacked(&self, client: &Client, diff_ids: &[Digest]) -> i64 {
        let snapshots = self.snapshots(client);
        let mut sum: i64 = 0;
        for chain_id in chain_ids(diff_ids) {
            match snapshots.usage(chain_id.as_str()).await {
                Ok((size, _)) => sum = sum.saturating_add(size),
                // What stands on one that is missing is missing too.
                Err(_) => break,
            }
        }
        sum
    }
}
