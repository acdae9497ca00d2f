//! Names: image records that point to manifests, and what becomes of what they pointed to.

use std::sync::Arc;

use berth_ctrd::{Client, Labels};
use berth_reference::{Digest, Reference};

use crate::image::{Image, dangling_name};
use crate::manifest::Descriptor;
use crate::metadata::Metadata;
use crate::{Error, Images, Result};

impl Images {
    /// Gives the image `source` the further name `target`, away from whatever had it. 1 RPC,
    /// a few more when another image loses the name.
    ///
    /// # Errors
    /// When there is no such image, or `target` has a digest.
    pub async fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        if target.digest().is_some() {
            return Err(Error::Invalid("refusing to create a tag with a digest reference".into()));
        }
        let target = target.clone().tagged();
        let _writing = self.inner.writing.lock().await;
        let image = self.resolve(source)?;
        self.point(&self.inner.client, Some(&target), image.metadata.clone()).await?;
        self.emit("tag", image.id().to_string(), target.familiar(), Some(&image));
        Ok(())
    }

    /// Makes `name`, or a dangling record, point to an image whose blobs are all there.
    pub(crate) async fn name(
        &self,
        client: &Client,
        name: Option<&Reference>,
        metadata: Arc<Metadata>,
    ) -> Result<Arc<Image>> {
        let _writing = self.inner.writing.lock().await;
        self.point(client, name, metadata).await
    }

    /// Persists and publishes; `writing` is held.
    async fn point(
        &self,
        client: &Client,
        name: Option<&Reference>,
        metadata: Arc<Metadata>,
    ) -> Result<Arc<Image>> {
        let id = metadata.target.digest.clone();
        let record = name.map_or_else(|| dangling_name(&id), Reference::to_string);
        let before = self.inner.table.load_full();
        let old = before.record(&record).map(|r| r.target.digest.clone());
        if let Some(old) = old.as_deref().and_then(|old| Digest::parse(old).ok()) {
            if old != id {
                self.keep(client, &old).await?;
            }
        }
        self.persist(client, &record, metadata).await?;
        let dangling = dangling_name(&id);
        if name.is_some() && self.inner.table.load().record(&dangling).is_some() {
            self.delete_record(client, &dangling, false).await?;
        }
        self.by_id(&id).ok_or_else(|| Error::NotFound(id.to_string()))
    }

    /// Keeps the image `old`, which is about to lose a name, as a dangling one if that was its
    /// only name.
    async fn keep(&self, client: &Client, old: &Digest) -> Result<()> {
        match self.by_id(old) {
            Some(image) if image.records.len() == 1 && !image.is_dangling() => {
                self.persist(client, &dangling_name(old), image.metadata.clone()).await
            }
            _ => Ok(()),
        }
    }

    /// Makes a dangling record for an image that is about to lose all its names; `writing` is
    /// held.
    pub(crate) async fn dangle(&self, image: &Image) -> Result<()> {
        let name = dangling_name(image.id());
        self.persist(&self.inner.client, &name, image.metadata.clone()).await
    }

    async fn persist(&self, client: &Client, name: &str, metadata: Arc<Metadata>) -> Result<()> {
        let target = without_annotations(&metadata.target);
        let images = client.images();
        let record = match images.create(name, &target, &Labels::new()).await {
            Err(e) if e.is_already_exists() => {
                images.update(name, &target, &Labels::new()).await?
            }
            other => other?,
        };
        self.publish_record(record, metadata);
        Ok(())
    }

    /// Removes one record; `writing` is held.
    pub(crate) async fn delete_record(
        &self,
        client: &Client,
        name: &str,
        sync: bool,
    ) -> Result<()> {
        match client.images().delete(name, sync).await {
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
        self.publish_removal(name);
        Ok(())
    }
}

/// The target as image records hold it.
fn without_annotations(target: &Descriptor) -> berth_ctrd::Descriptor {
    berth_ctrd::Descriptor { annotations: Labels::new(), ..target.to_containerd() }
}
