//! Pull: from a registry into the content store and the snapshotter, in one flow.

use std::sync::Arc;

use berth_ctrd::{Client, Committed, Labels};
use berth_reference::{Digest, Reference};
use berth_registry::{Credentials, Manifest as Fetched, Repository};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;

use crate::ahead::{Ahead, Arrival};
use crate::fetch::Fetch;
use crate::image::Image;
use crate::lease::Lease;
use crate::load::snapshot_label;
use crate::manifest::{ConfigFile, Descriptor, Document, MAX_JSON, Manifest};
use crate::metadata::Found;
use crate::names::Told;
use crate::progress::Progress;
use crate::retry::Retry;
use crate::unpack::Unpack;
use crate::{Error, Images, Platform, Result, fault, sources};

/// What is to be pulled.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The image's name; without tag and digest, `latest` is meant.
    pub reference: Reference,
    /// The platform wanted; the host's where not given.
    pub platform: Option<Platform>,
    /// Who we are to the registry.
    pub credentials: Option<Credentials>,
}

/// A pull whose registry has answered. Dropping it, or the future of [`Pull::run`], cancels it;
/// what nobody else pulls, too, is collected then.
#[derive(Debug)]
pub struct Pull {
    pub(crate) images: Images,
    repository: Repository,
    reference: Reference,
    platform: Option<Platform>,
    old: Option<Arc<Image>>,
    /// What the name points to; `None` when it is what we have already.
    wanted: Option<Wanted>,
}

/// What a registry says that a name points to.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The index or manifest itself.
    target: Descriptor,
    root: Fetched,
    /// The manifest for the platform.
    descriptor: Descriptor,
    data: Bytes,
    pub(crate) manifest: Manifest,
}

impl Images {
    /// The names with tags that a registry has of a repository, for a pull of all of them. No RPC.
    ///
    /// # Errors
    /// The registry's in dockerd's words.
    pub async fn remote_tags(
        &self,
        repository: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<Vec<Reference>> {
        let there = self.inner.registry.repository(repository, credentials);
        let tags = there.tags().await?;
        let named = tags.iter().map(|tag| Ok(repository.with_tag(tag)?));
        named.collect()
    }

    /// Asks the registry what `request` names. Everything that can be refused before the first
    /// byte of progress is refused here. No RPC.
    ///
    /// # Errors
    /// The registry's in dockerd's words; [`Error::Platform`].
    pub async fn pull(&self, request: PullRequest) -> Result<Pull> {
        let reference = match request.reference.digest() {
            // What a tag beside the digest points to does not matter.
            Some(digest) => request.reference.with_digest(digest.clone()),
            None => request.reference.tagged(),
        };
        let repository = self
            .inner
            .registry
            .repository(&reference, request.credentials);
        let what = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(berth_reference::DEFAULT_TAG).to_owned(),
        };
        let old = self.resolve(&reference.to_string()).ok();
        let mut pull = Pull {
            images: self.clone(),
            repository,
            reference,
            platform: request.platform,
            old,
            wanted: None,
        };
        if pull.is_current(&what).await {
            return Ok(pull);
        }
        let root = pull.document(&what).await?;
        let document = Document::parse(&root.digest, &root.data)?;
        let target = Descriptor::new(document.media_type(), root.digest.clone(), root.data.len());
        let (descriptor, data, manifest) = match document {
            Document::Manifest(manifest) => (target.clone(), root.data.clone(), manifest),
            Document::Index(index) => pull.choose(&index.manifests).await?,
        };
        pull.wanted = Some(Wanted {
            target,
            root,
            descriptor,
            data,
            manifest,
        });
        Ok(pull)
    }
}

impl Pull {
    /// True when a HEAD request shows that the name still points to the complete image we have.
    /// Registries do not count it against their limits.
    async fn is_current(&self, what: &str) -> bool {
        let Some(old) = &self.old else { return false };
        let wanted = self.platform.clone().unwrap_or_else(Platform::host);
        let complete = old.metadata.is_complete()
            && wanted.distance(&old.metadata.config.platform()).is_some();
        complete && matches!(self.repository.digest(what).await, Ok(Some(d)) if d == *old.id())
    }

    /// A manifest or index, asked for again where the registry asks for patience.
    async fn document(&self, what: &str) -> Result<Fetched> {
        let mut retry = Retry::new(self.images.inner.lanes.load().attempts);
        loop {
            match self.repository.manifest(what).await {
                Ok(found) => return Ok(found),
                Err(error) => retry.patience(error).await?,
            }
        }
    }

    async fn choose(&self, manifests: &[Descriptor]) -> Result<(Descriptor, Bytes, Manifest)> {
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let best = platform.choose(manifests);
        let Some(descriptor) = best.first() else {
            return Err(Error::Platform(platform.to_string()));
        };
        let fetched = self.document(descriptor.digest.as_str()).await?;
        match Document::parse(&fetched.digest, &fetched.data)? {
            Document::Manifest(manifest) => Ok(((*descriptor).clone(), fetched.data, manifest)),
            Document::Index(_) => Err(Error::Corrupt(format!(
                "{}: an index within an index",
                descriptor.digest
            ))),
        }
    }

    /// Does the pull and reports it. RPCs: 3 for each layer to unpack, 4 where containerd does it, and
    /// 1 to learn its size; 8 around them, 9 for an index; 0 when the image is up to date.
    ///
    /// # Errors
    /// When the registry, containerd or the image itself fails.
    pub async fn run(self, progress: &Progress) -> Result<Arc<Image>> {
        let shown = self.reference.familiar();
        let tag = self
            .reference
            .tag()
            .map_or_else(|| self.reference.to_string(), str::to_owned);
        progress
            .message(
                Some(&tag),
                format!("Pulling from {}", self.reference.path()),
            )
            .await;
        let before = self.old.as_ref().map(|image| image.id().clone());
        let image = match (&self.wanted, &self.old) {
            (Some(wanted), _) => self.fetch_where_there_is_room(wanted, progress).await?,
            (None, Some(old)) => {
                let told = self.told();
                self.images.emit(told.action, told.id, told.name, Some(old));
                old.clone()
            }
            // `pull` makes no other.
            _ => return Err(Error::NotFound(shown)),
        };
        progress
            .message(None, format!("Digest: {}", image.id()))
            .await;
        let status = if before.as_ref() == Some(image.id()) {
            format!("Status: Image is up to date for {shown}")
        } else {
            format!("Status: Downloaded newer image for {shown}")
        };
        progress.message(None, status).await;
        self.images.drop_orphans().await;
        Ok(image)
    }

    /// Fetches, unpacks and names what is wanted, under a lease.
    pub(crate) async fn fetch(
        &self,
        lease: &Lease,
        wanted: &Wanted,
        progress: &Progress,
    ) -> Result<Arc<Image>> {
        let Wanted {
            target,
            root,
            descriptor,
            data,
            manifest,
        } = wanted;
        only_layers(manifest)?;
        for layer in &manifest.layers {
            progress
                .update(layer.digest.short(), "Pulling fs layer")
                .await;
        }
        let client = lease.client();
        let (config, config_data) = self.config(&manifest.config).await?;
        self.layers(lease, manifest, &config, progress).await?;
        let mut labels = self.source();
        if let Some(chain) = berth_reference::chain_id(&config.rootfs.diff_ids) {
            labels.extend(snapshot_label(self.images.snapshotter(), &chain));
        }
        let digest = &manifest.config.digest;
        self.put(client, "config", digest, config_data, labels)
            .await?;
        let document = Document::Manifest(manifest.clone());
        let labels = self.with_source(document.gc_labels());
        self.put(client, "manifest", &descriptor.digest, data.clone(), labels)
            .await?;
        if descriptor.digest != target.digest {
            let document = Document::parse(&root.digest, &root.data)?;
            let labels = self.with_source(document.gc_labels());
            self.put(client, "index", &target.digest, root.data.clone(), labels)
                .await?;
        }
        let found = Found {
            descriptor: descriptor.clone(),
            manifest: manifest.clone(),
            config,
        };
        // Of an index that we have for this host already, another platform was pulled beside it.
        let metadata = match self.images.by_id(&target.digest) {
            Some(known) if known.metadata.runs_here() => known.metadata.clone(),
            _ => Arc::new(
                self.images
                    .complete_metadata(client, target, Some(found))
                    .await,
            ),
        };
        let names = std::slice::from_ref(&self.reference);
        self.images.name(lease, names, metadata, self.told()).await
    }

    /// The configuration, verified.
    async fn config(&self, descriptor: &Descriptor) -> Result<(ConfigFile, Bytes)> {
        let mut retry = Retry::new(self.images.inner.lanes.load().attempts);
        let data = loop {
            let found = self.repository.small_blob(&descriptor.digest, MAX_JSON);
            match found.await {
                Ok(Some(data)) => break data,
                Ok(None) => {
                    return Err(Error::Corrupt(format!(
                        "image configuration {} is larger than {MAX_JSON} bytes",
                        descriptor.digest
                    )));
                }
                Err(error) => retry.pause(error, None).await?,
            }
        };
        let actual = Digest::of(&data);
        if actual != descriptor.digest {
            return Err(Error::Corrupt(format!(
                "image config verification failed for digest {}",
                descriptor.digest
            )));
        }
        Ok((ConfigFile::parse(&actual, &data)?, data))
    }

    /// Downloads and unpacks all layers, both at once.
    async fn layers(
        &self,
        lease: &Lease,
        manifest: &Manifest,
        config: &ConfigFile,
        progress: &Progress,
    ) -> Result<()> {
        let ahead = Ahead::of_pull(&self.images, lease);
        let done = self.layers_with(&ahead, lease, manifest, config, progress);
        let done = done.await;
        ahead.end().await;
        done
    }

    async fn layers_with(
        &self,
        ahead: &Ahead<'_>,
        lease: &Lease,
        manifest: &Manifest,
        config: &ConfigFile,
        progress: &Progress,
    ) -> Result<()> {
        let diff_ids = &config.rootfs.diff_ids;
        let unpack = Unpack {
            images: &self.images,
            lease,
            layers: &manifest.layers,
            diff_ids,
            progress,
        };
        let fetch = Fetch {
            images: &self.images,
            client: lease.client(),
            repository: &self.repository,
            progress,
            ahead,
        };
        let (done, ready): (Vec<_>, Vec<_>) = manifest
            .layers
            .iter()
            .map(|_| oneshot::channel::<Option<Arrival>>())
            .unzip();
        let downloads = FuturesUnordered::new();
        for (n, (layer, done)) in manifest.layers.iter().zip(done).enumerate() {
            let mut labels = self.source();
            if let Some(diff_id) = diff_ids.get(n).filter(|d| **d != layer.digest) {
                labels.insert("containerd.io/uncompressed".to_owned(), diff_id.to_string());
            }
            let fetch = &fetch;
            downloads.push(async move {
                let _ = done.send(fetch.layer(layer, &labels).await?);
                Ok::<_, Error>(())
            });
        }
        // A failed download ends both.
        tokio::try_join!(downloads.try_collect::<()>(), unpack.run(ready))?;
        Ok(())
    }

    async fn put(
        &self,
        client: &Client,
        kind: &str,
        digest: &Digest,
        data: Bytes,
        labels: Labels,
    ) -> Result<()> {
        let _flight = self.images.inner.flights.join(digest.as_str()).await;
        let content = client.content();
        let reference = format!("{kind}-{digest}");
        if content
            .put(&reference, digest.as_str(), data, &labels)
            .await?
            == Committed::Existing
        {
            // Whoever wrote it may not have come as far as labelling it.
            content.update_labels(digest.as_str(), &labels).await?;
        }
        fault::point("pull:document");
        Ok(())
    }

    fn told(&self) -> Told {
        Told {
            action: "pull",
            id: self.reference.familiar(),
            name: self.reference.familiar_name(),
        }
    }

    /// Where a blob comes from: lets a push to the same registry mount it.
    fn source(&self) -> Labels {
        self.with_source(Labels::new())
    }

    fn with_source(&self, mut labels: Labels) -> Labels {
        labels.extend(sources::label(&self.reference));
        labels
    }
}

/// Refuses artifacts that are no images.
fn only_layers(manifest: &Manifest) -> Result<()> {
    let odd = manifest.layers.iter().find(|l| !l.is_layer());
    odd.map_or(Ok(()), |odd| {
        let media_type = Some(odd.media_type.as_str()).filter(|m| !m.is_empty());
        let media_type = media_type.unwrap_or("\"\"");
        Err(Error::Invalid(format!(
            "unsupported media type {media_type}"
        )))
    })
}
