//! Names: image records that point to manifests, and what becomes of what they pointed to.

use std::sync::Arc;

use berth_ctrd::{Client, Labels};
use berth_reference::{Digest, Reference};

use crate::image::{Image, dangling_name};
use crate::lease::Lease;
use crate::manifest::Descriptor;
use crate::metadata::Metadata;
use crate::{Error, Images, Result, fault};

/// What an event is to say once a change is there.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) action: &'static str,
    /// The actor.
    pub(crate) id: String,
    /// The attribute `name`.
    pub(crate) name: String,
}

impl Images {
    /// Gives the image `source` the further name `target`, away from whatever had it. 1 RPC,
    /// a few more when another image loses the name.
    ///
    /// # Errors
    /// When there is no such image, or `target` has a digest.
    pub async fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        if target.digest().is_some() {
            return Err(Error::Invalid(
                "refusing to create a tag with a digest reference".into(),
            ));
        }
        let target = target.clone().tagged();
        let (images, source) = (self.clone(), source.to_owned());
        crate::whole(async move {
            let _writing = images.inner.writing.lock().await;
            let image = images.resolve(&source)?;
            let client = &images.inner.client;
            images
                .point(client, Some(&target), image.metadata.clone())
                .await?;
            images.emit(
                "tag",
                image.id().to_string(),
                target.familiar(),
                Some(&image),
            );
            Ok(())
        })
        .await
    }

    /// Makes `names`, or a dangling record when there are none, point to an image whose blobs
    /// are all there, and tells so.
    pub(crate) async fn name(
        &self,
        lease: &Lease,
        names: &[Reference],
        metadata: Arc<Metadata>,
        event: Told,
    ) -> Result<Arc<Image>> {
        let (images, lease, names) = (self.clone(), lease.clone(), names.to_vec());
        crate::whole(async move {
            let _writing = images.inner.writing.lock().await;
            let client = lease.client();
            if names.is_empty() {
                images.point(client, None, metadata.clone()).await?;
            }
            for name in &names {
                images.point(client, Some(name), metadata.clone()).await?;
            }
            let id = &metadata.target.digest;
            let image = images
                .by_id(id)
                .ok_or_else(|| Error::NotFound(id.to_string()))?;
            images.emit(event.action, event.id, event.name, Some(&image));
            Ok(image)
        })
        .await
    }

    /// Persists and publishes; `writing` is held.
    async fn point(
        &self,
        client: &Client,
        name: Option<&Reference>,
        metadata: Arc<Metadata>,
    ) -> Result<()> {
        let id = metadata.target.digest.clone();
        if name.is_none() && self.by_id(&id).is_some() {
            // It has a name already, or is as dangling as it will be.
            return Ok(());
        }
        let record = name.map_or_else(|| dangling_name(&id), Reference::to_string);
        let before = self.inner.table.load_full();
        let old = before.record(&record).map(|r| r.target.digest.clone());
        match old.as_deref().map(Digest::parse) {
            Some(Ok(old)) if old != id => {
                self.keep(client, &old).await?;
                fault::point("name:kept");
            }
            _ => {}
        }
        self.persist(client, &record, metadata).await?;
        fault::point("name:recorded");
        let dangling = dangling_name(&id);
        if name.is_some() && self.inner.table.load().record(&dangling).is_some() {
            self.delete_record(client, &dangling, false).await?;
            fault::point("name:cleared");
        }
        Ok(())
    }

    /// Keeps the image `old`, which is about to lose a name, as a dangling one if that was its
    /// only name.
    async fn keep(&self, client: &Client, old: &Digest) -> Result<()> {
        match self.by_id(old) {
            Some(image) if image.names().count() == 1 => {
                self.persist(client, &dangling_name(old), image.metadata.clone())
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Makes a dangling record for an image that is about to lose all its names; `writing` is
    /// held.
    pub(crate) async fn dangle(&self, image: &Image) -> Result<()> {
        let name = dangling_name(image.id());
        self.persist(&self.inner.client, &name, image.metadata.clone())
            .await
    }

    async fn persist(&self, client: &Client, name: &str, metadata: Arc<Metadata>) -> Result<()> {
        let target = without_annotations(&metadata.target);
        let images = client.images();
        let record = match images.create(name, &target, &Labels::new()).await {
            Err(e) if e.is_already_exists() => images.update(name, &target, &Labels::new()).await?,
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
    berth_ctrd::Descriptor {
        annotations: Labels::new(),
        ..target.to_containerd()
    }
}
