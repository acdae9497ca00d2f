//! Load: image archives as `docker save`, BuildKit and OCI tools write them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use berth_archive::Compression;
use berth_ctrd::{Client, Labels};
use berth_reference::{Digest, Reference, chain_id};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::ahead::{Ahead, Arrival};
use crate::archive;
use crate::image::Image;
use crate::lease::{Lease, unique};
use crate::manifest::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, Descriptor, Document, Index, Manifest,
    check_depth,
};
use crate::metadata::Found;
use crate::names::Told;
use crate::progress::Progress;
use crate::spool::{Node, Spool, Stored};
use crate::stream::{Input, bridge};
use crate::unpack::Unpack;
use crate::{Error, Images, Platform, Result, fault, import};

/// How deep links and nested indexes are followed.
const MAX_DEPTH: usize = 8;
/// Names the image in an index.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// The OCI's own name annotation, often only a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One image of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What one image of the archive is to be called.
#[derive(Debug)]
struct Named {
    target: Descriptor,
    names: Vec<Reference>,
}

impl Images {
    /// Loads all images of an archive: Docker's or an OCI layout, plain, gzip, zstd, bzip2 or xz.
    /// Its blobs go straight into the content store. Reports `Loaded image: X` for each name.
    ///
    /// # Errors
    /// [`Error::Archive`] for what is no image archive, or a hostile one.
    pub async fn load(
        &self,
        input: Input,
        platforms: &[Platform],
        progress: &Progress,
    ) -> Result<Vec<Arc<Image>>> {
        let lease = &self.lease().await?;
        let ahead = Ahead::of_load(self, lease);
        let loaded = self.load_with(&ahead, lease, input, platforms, progress);
        let loaded = loaded.await;
        ahead.end().await;
        loaded
    }

    async fn load_with(
        &self,
        ahead: &Ahead<'_>,
        lease: &Lease,
        input: Input,
        platforms: &[Platform],
        progress: &Progress,
    ) -> Result<Vec<Arc<Image>>> {
        let stored = Stored::default();
        let spool = Spool {
            lease,
            ahead,
            stored,
        };
        let read = |body, parts: mpsc::Sender<_>| archive::read(body, &parts);
        let (_, stored) = bridge(input, read, |parts| spool.run(parts)).await?;
        fault::point("load:stored");
        let mut load = Load {
            images: self,
            lease,
            client: lease.client(),
            nodes: stored.nodes,
            arrivals: stored.arrivals,
            platforms,
            progress,
        };
        let found = load.images_in().await?;
        let mut loaded = Vec::new();
        for named in found {
            loaded.push(load.one(named).await?);
        }
        Ok(loaded)
    }
}

/// An archive whose files are all in the content store.
struct Load<'a> {
    images: &'a Images,
    lease: &'a Lease,
    client: &'a Client,
    nodes: HashMap<String, Node>,
    /// Layers that are being unpacked already.
    arrivals: HashMap<Digest, Arrival>,
    /// Those that are wanted; whatever there is where empty.
    platforms: &'a [Platform],
    progress: &'a Progress,
}

impl Load<'_> {
    /// The images that the archive says it has.
    async fn images_in(&self) -> Result<Vec<Named>> {
        if self.nodes.contains_key("oci-layout") {
            let index = self.memory("index.json").ok_or_else(|| {
                Error::Archive("missing index.json in OCI layout 1.0.0".to_owned())
            })?;
            let index: Index = json("index.json", index)?;
            return Ok(self.of_index(index));
        }
        let Some(saved) = self.memory("manifest.json") else {
            return Err(Error::Archive("unrecognized image format".to_owned()));
        };
        let saved: Vec<SavedImage> = json("manifest.json", saved)?;
        let mut found = Vec::new();
        for image in saved {
            let names = image
                .repo_tags
                .iter()
                .flatten()
                .map(|name| parse_name(name));
            let names = names.collect::<Result<_>>()?;
            found.push(Named {
                target: self.docker_manifest(&image).await?,
                names,
            });
        }
        Ok(found)
    }

    fn of_index(&self, index: Index) -> Vec<Named> {
        let mut found: Vec<Named> = Vec::new();
        for descriptor in index.manifests {
            if descriptor.is_attestation() {
                continue;
            }
            let annotations = &descriptor.annotations;
            let name = annotations
                .get(IMAGE_NAME)
                .or_else(|| annotations.get(REF_NAME));
            let name = name.and_then(|name| parse_name(name).ok());
            match found
                .iter_mut()
                .find(|n| n.target.digest == descriptor.digest)
            {
                Some(known) => known.names.extend(name),
                None => found.push(Named {
                    target: descriptor,
                    names: name.into_iter().collect(),
                }),
            }
        }
        found
    }

    /// Writes the manifest that an archive of Docker's own format lacks.
    async fn docker_manifest(&self, image: &SavedImage) -> Result<Descriptor> {
        let (digest, size, _) = self.blob(&image.config)?;
        let config = Descriptor::new(DOCKER_CONFIG, digest.clone(), size as usize);
        let paths = image.layers.as_deref().unwrap_or_default();
        check_depth(paths.len())?;
        let mut layers = Vec::new();
        for path in paths {
            let (digest, size, compression) = self.blob(path)?;
            let (mut digest, mut size) = (digest.clone(), size);
            let suffix = match compression {
                Compression::None => "",
                Compression::Gzip => ".gzip",
                Compression::Zstd => ".zstd",
                Compression::Bzip2 | Compression::Xz => {
                    (digest, size) = self.repack(&digest).await?;
                    ".gzip"
                }
            };
            let media_type = format!("{DOCKER_LAYER}{suffix}");
            layers.push(Descriptor::new(&media_type, digest, size as usize));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: DOCKER_MANIFEST.to_owned(),
            config,
            layers,
        };
        let document = Document::Manifest(manifest.clone());
        put_json(
            self.client,
            DOCKER_MANIFEST,
            &manifest,
            &document.gc_labels(),
        )
        .await
    }

    /// A layer compressed by what containerd does not undo, compressed by gzip. 5 RPCs.
    async fn repack(&self, digest: &Digest) -> Result<(Digest, u64)> {
        let blob = self.client.content().read(digest.as_str(), 0, 0).await?;
        let input = blob.map(|part| part.map_err(std::io::Error::other));
        let (_, stored) = bridge(
            Box::pin(input),
            |body, chunks| import::pack(body, &chunks),
            |chunks| import::store(self.lease, chunks),
        )
        .await?;
        Ok(stored)
    }

    /// Unpacks and names one image.
    async fn one(&mut self, named: Named) -> Result<Arc<Image>> {
        let mut target = named.target;
        target.annotations.clear();
        let document = self.images.read_document(self.client, &target.digest).await;
        let document = document.map_err(|e| missing(e, &target.digest))?;
        target.media_type = document.media_type().to_owned();
        self.label(&target, document.clone()).await?;
        let found = self.wanted(&target).await?;
        if let Some(found) = &found {
            self.unpack(found).await?;
        } else if let Document::Manifest(manifest) = &document {
            // Its configuration is missing or broken: there is nothing to show or run.
            return Err(Error::Missing(manifest.config.digest.to_string()));
        }
        let metadata = self
            .images
            .complete_metadata(self.client, &target, found)
            .await;
        let id = target.digest.to_string();
        let name = named
            .names
            .first()
            .map_or_else(|| id.clone(), Reference::familiar);
        let told = Told {
            action: "load",
            id,
            name,
        };
        let image = self
            .images
            .name(self.lease, &named.names, Arc::new(metadata), told)
            .await?;
        if named.names.is_empty() {
            self.progress
                .stream(format!("Loaded image ID: {}\n", image.id()))
                .await;
        }
        for name in &named.names {
            self.progress
                .stream(format!("Loaded image: {}\n", name.familiar()))
                .await;
        }
        Ok(image)
    }

    /// The manifest to unpack: that for this host or, where platforms are wanted, for the first of
    /// them; the others are unpacked here.
    async fn wanted(&mut self, target: &Descriptor) -> Result<Option<Found>> {
        let (images, client) = (self.images, self.client);
        let Some((first, others)) = self.platforms.split_first() else {
            let host = Platform::host();
            return images.find_manifest(client, target, &host, true).await;
        };
        let missing = |platform: &Platform| Error::OtherPlatform {
            name: target.digest.to_string(),
            platform: platform.to_string(),
        };
        for other in others {
            let found = images.find_manifest(client, target, other, false).await?;
            self.unpack(&found.ok_or_else(|| missing(other))?).await?;
        }
        let found = images.find_manifest(client, target, first, false).await?;
        found.ok_or_else(|| missing(first)).map(Some)
    }

    async fn unpack(&mut self, found: &Found) -> Result<()> {
        for (layer, diff_id) in found
            .manifest
            .layers
            .iter()
            .zip(&found.config.rootfs.diff_ids)
        {
            if layer.digest != *diff_id {
                let key = "containerd.io/uncompressed".to_owned();
                let labels = Labels::from([(key, diff_id.to_string())]);
                let content = self.client.content();
                let updated = content.update_labels(layer.digest.as_str(), &labels).await;
                updated.map_err(|e| missing(e.into(), &layer.digest))?;
            }
        }
        let silent = Progress::none();
        let unpack = Unpack {
            images: self.images,
            lease: self.lease,
            layers: &found.manifest.layers,
            diff_ids: &found.config.rootfs.diff_ids,
            progress: &silent,
        };
        let arrived = found.manifest.layers.iter().map(|layer| {
            let (tell, told) = oneshot::channel();
            // Where a layer comes twice, the second one's turn finds it unpacked.
            let _ = tell.send(self.arrivals.remove(&layer.digest));
            told
        });
        unpack.run(arrived.collect()).await?;
        for layer in &found.manifest.layers {
            let size = layer.size.max(0) as u64;
            self.progress
                .count(layer.digest.short(), "Loading layer", size, size);
        }
        if let Some(chain) = chain_id(&found.config.rootfs.diff_ids) {
            let labels = snapshot_label(self.images.snapshotter(), &chain);
            let digest = &found.manifest.config.digest;
            self.client
                .content()
                .update_labels(digest.as_str(), &labels)
                .await?;
        }
        Ok(())
    }

    /// Labels a document and what is below it, so that garbage collection follows them.
    async fn label(&self, target: &Descriptor, document: Document) -> Result<()> {
        let content = self.client.content();
        let mut waiting = vec![(0, target.digest.clone(), document)];
        // Nested indexes may list the same thing over and over.
        let mut seen = BTreeSet::from([target.digest.clone()]);
        while let Some((depth, digest, document)) = waiting.pop() {
            let labels = document.gc_labels();
            content.update_labels(digest.as_str(), &labels).await?;
            let Document::Index(index) = document else {
                continue;
            };
            if depth >= MAX_DEPTH {
                let message = "invalid archive: indexes nested too deep";
                return Err(Error::Archive(message.to_owned()));
            }
            for child in index.manifests {
                if !seen.insert(child.digest.clone()) {
                    continue;
                }
                // Archives often hold one platform of many.
                match self.images.read_document(self.client, &child.digest).await {
                    Ok(document) => waiting.push((depth + 1, child.digest, document)),
                    Err(Error::Containerd(e)) if e.is_not_found() => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    fn memory(&self, path: &str) -> Option<&Bytes> {
        match self.nodes.get(path) {
            Some(Node::Memory(data)) => Some(data),
            _ => None,
        }
    }

    /// The blob that a path of `manifest.json` means.
    fn blob(&self, path: &str) -> Result<(&Digest, u64, Compression)> {
        let mut at = archive::inner_path(path)?;
        for _ in 0..MAX_DEPTH {
            match self.nodes.get(&at) {
                Some(Node::Blob {
                    digest,
                    size,
                    compression,
                }) => {
                    return Ok((digest, *size, *compression));
                }
                Some(Node::Link(target)) => at = target.clone(),
                _ => break,
            }
        }
        Err(Error::Archive(format!(
            "invalid archive: there is no file {path:?} in it"
        )))
    }
}

fn json<T: for<'de> Deserialize<'de>>(name: &str, data: &Bytes) -> Result<T> {
    serde_json::from_slice(data)
        .map_err(|e| Error::Archive(format!("invalid archive: invalid {name}: {e}")))
}

fn parse_name(name: &str) -> Result<Reference> {
    Ok(Reference::parse(name)?.tagged())
}

pub(crate) fn missing(e: Error, digest: &Digest) -> Error {
    match e {
        Error::Containerd(e) if e.is_not_found() => Error::Missing(digest.to_string()),
        other => other,
    }
}

/// The label by which a configuration holds on to its topmost snapshot.
pub(crate) fn snapshot_label(snapshotter: &str, chain: &Digest) -> Labels {
    Labels::from([(
        format!("containerd.io/gc.ref.snapshot.{snapshotter}"),
        chain.to_string(),
    )])
}

/// Writes a document of our own making. 1 RPC.
pub(crate) async fn put_json(
    client: &Client,
    media_type: &str,
    document: &impl serde::Serialize,
    labels: &Labels,
) -> Result<Descriptor> {
    let data = serde_json::to_vec(document).map_err(|e| Error::Corrupt(e.to_string()))?;
    let digest = Digest::of(&data);
    let descriptor = Descriptor::new(media_type, digest.clone(), data.len());
    client
        .content()
        .put(&unique("put"), digest.as_str(), data.into(), labels)
        .await?;
    fault::point("document:stored");
    Ok(descriptor)
}
