//! Save: images as one archive that is Docker's format and an OCI layout at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_reference::{Digest, Reference};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::archive;
use crate::image::{DANGLING, Image};
use crate::manifest::{Descriptor, Document, Index, MAX_JSON, OCI_INDEX};
use crate::{Error, Images, Platform, Result};

/// How many chunks wait for a slow client.
const DEPTH: usize = 4;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Images {
    /// The archive of the named images. A name saves that name, and one without a tag all of the
    /// repository's; an ID saves the image without names. Dropping the stream ends it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for any of them, before the first byte.
    pub async fn save(
        &self,
        names: &[String],
        platforms: &[Platform],
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for name in names.iter().flat_map(|name| self.meant_by(name)) {
            let mut image = self.resolve(&name)?;
            let mut chosen = BTreeSet::new();
            for platform in platforms {
                let one = self.for_platform(&name, platform).await?;
                chosen.extend(one.manifest().map(|m| m.digest.clone()));
                image = one;
            }
            let named = match Reference::parse(&name).map(Reference::tagged) {
                Ok(r) if image.records.contains(&r.to_string()) => vec![r],
                _ => Vec::new(),
            };
            match wanted
                .iter_mut()
                .find(|known| known.image.id() == image.id())
            {
                Some(known) => known.names.extend(named),
                None => wanted.push(Wanted {
                    image,
                    names: named,
                    chosen,
                }),
            }
        }
        let (tx, rx) = mpsc::channel(DEPTH);
        let images = self.clone();
        tokio::spawn(async move {
            let mut archive = Archive {
                images: &images,
                output: &tx,
                written: BTreeSet::new(),
            };
            if let Err(e) = archive.write(&wanted).await {
                let _ = tx.send(Err(e)).await;
            }
        });
        Ok(futures::stream::unfold(rx, |mut rx| async move {
            rx.recv().await.map(|part| (part, rx))
        }))
    }
}

impl Images {
    /// A repository's name alone means all its tags, unless it is the beginning of an ID.
    fn meant_by(&self, name: &str) -> Vec<String> {
        let alone = Reference::parse(name)
            .ok()
            .filter(|name| name.tag().is_none() && name.digest().is_none());
        let tags = alone.map(|name| self.tags_of(&name)).unwrap_or_default();
        let is_id = || {
            self.resolve(name)
                .is_ok_and(|image| image.id().encoded().starts_with(name))
        };
        match tags.is_empty() || is_id() {
            true => vec![name.to_owned()],
            false => tags.iter().map(Reference::to_string).collect(),
        }
    }
}

/// One image to save.
struct Wanted {
    image: Arc<Image>,
    names: Vec<Reference>,
    /// The manifests to save; all where empty.
    chosen: BTreeSet<Digest>,
}

struct Archive<'a> {
    images: &'a Images,
    output: &'a mpsc::Sender<Result<Bytes>>,
    written: BTreeSet<Digest>,
}

impl Archive<'_> {
    async fn write(&mut self, wanted: &[Wanted]) -> Result<()> {
        // What is being sent must not be collected meanwhile.
        let lease = self.images.lease().await?;
        for each in wanted {
            lease.protect(each.image.id()).await?;
        }
        let mut index = Vec::new();
        let mut saved = Vec::new();
        for Wanted {
            image,
            names,
            chosen,
        } in wanted
        {
            self.tree(image.target().clone(), chosen).await?;
            saved.extend(saved_image(image, names));
            index.extend(index_entries(image, names));
            let id = image.id().to_string();
            self.images.emit("save", id.clone(), id, Some(image));
        }
        let index = Index {
            schema_version: 2,
            media_type: OCI_INDEX.to_owned(),
            manifests: index,
        };
        self.json("index.json", &index).await?;
        self.json("manifest.json", &saved).await?;
        self.json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))
            .await?;
        self.send(Bytes::from(vec![0; 1024])).await
    }

    /// A target and everything below it that is in the content store; of its manifests only the
    /// `chosen` ones, if there are any.
    async fn tree(&mut self, target: Descriptor, chosen: &BTreeSet<Digest>) -> Result<()> {
        let mut waiting = vec![target.clone()];
        let mut seen = BTreeSet::new();
        while let Some(descriptor) = waiting.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let client = &self.images.inner.client;
            let document = match client
                .content()
                .read_all(descriptor.digest.as_str(), MAX_JSON)
                .await
            {
                Ok(data) => Document::parse(&descriptor.digest, &data)?,
                // One platform of many that was never pulled.
                Err(e) if e.is_not_found() && descriptor.digest != target.digest => continue,
                Err(e) => return Err(e.into()),
            };
            match document {
                Document::Index(list) => waiting.extend(list.manifests),
                Document::Manifest(_)
                    if !chosen.is_empty() && !chosen.contains(&descriptor.digest) =>
                {
                    continue;
                }
                Document::Manifest(manifest) => {
                    let complete = self.has(&manifest.layers).await?;
                    if !complete && descriptor.digest != target.digest {
                        continue;
                    }
                    self.blob(&manifest.config).await?;
                    for layer in &manifest.layers {
                        self.blob(layer).await?;
                    }
                }
            }
            self.blob(&descriptor).await?;
        }
        Ok(())
    }

    async fn has(&self, layers: &[Descriptor]) -> Result<bool> {
        let content = self.images.inner.client.content();
        for layer in layers {
            match content.info(layer.digest.as_str()).await {
                Ok(_) => {}
                Err(e) if e.is_not_found() => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    async fn blob(&mut self, descriptor: &Descriptor) -> Result<()> {
        if !self.written.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        let content = self.images.inner.client.content();
        let digest = descriptor.digest.as_str();
        let stream = match content.read(digest, 0, 0).await {
            Ok(stream) => stream,
            Err(e) if e.is_not_found() => return Err(Error::Missing(digest.to_owned())),
            Err(e) => return Err(e.into()),
        };
        let size = content.info(digest).await?.size.max(0) as u64;
        self.send(archive::header(&blob_path(&descriptor.digest), size)?)
            .await?;
        futures::pin_mut!(stream);
        let mut sent = 0;
        while let Some(part) = stream.next().await {
            let part = part?;
            sent += part.len() as u64;
            self.send(part).await?;
        }
        if sent != size {
            return Err(Error::Corrupt(format!(
                "{digest}: read {sent} of {size} bytes"
            )));
        }
        self.send(archive::padding(size)).await
    }

    async fn json(&self, path: &str, value: &impl Serialize) -> Result<()> {
        let data = serde_json::to_vec(value).map_err(|e| Error::Corrupt(e.to_string()))?;
        let size = data.len() as u64;
        self.send(archive::header(path, size)?).await?;
        self.send(data.into()).await?;
        self.send(archive::padding(size)).await
    }

    async fn send(&self, data: Bytes) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.output
            .send(Ok(data))
            .await
            .map_err(|_| Error::Cancelled)
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.encoded())
}

fn saved_image(image: &Image, names: &[Reference]) -> Option<SavedImage> {
    let tags: Vec<String> = names
        .iter()
        .filter(|name| name.tag().is_some())
        .map(Reference::familiar)
        .collect();
    Some(SavedImage {
        config: blob_path(image.metadata.config_digest.as_ref()?),
        repo_tags: Some(tags).filter(|tags| !tags.is_empty()),
        layers: image
            .metadata
            .layers
            .iter()
            .map(|l| blob_path(&l.digest))
            .collect(),
    })
}

/// One entry of the index for each name, or one without.
fn index_entries(image: &Image, names: &[Reference]) -> Vec<Descriptor> {
    let entry = |annotations| Descriptor {
        annotations,
        ..image.target().clone()
    };
    let named = names
        .iter()
        .filter(|name| !name.to_string().starts_with(DANGLING));
    let mut entries: Vec<Descriptor> = named
        .map(|name| {
            let mut annotations = BTreeMap::new();
            annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
            if let Some(tag) = name.tag() {
                let key = "org.opencontainers.image.ref.name".to_owned();
                annotations.insert(key, tag.to_owned());
            }
            entry(annotations)
        })
        .collect();
    if entries.is_empty() {
        entries.push(entry(BTreeMap::new()));
    }
    entries
}
