//! Push: from the content store to a registry.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_ctrd::Client;
use berth_reference::{Digest, Reference};
use berth_registry::{Credentials, Mounted, Repository};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::image::Image;
use crate::lease::Lease;
use crate::manifest::{Descriptor, Document, MAX_JSON, Manifest};
use crate::progress::Progress;
use crate::retry::Retry;
use crate::{Error, Images, Platform, Result, sources};

/// How often a blob's upload is tried.
const ATTEMPTS: usize = 5;
/// How deep indexes may be nested.
const MAX_DEPTH: usize = 4;

/// What is to be pushed, and where.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The image's name, which is also where it goes. Without tag and digest, every tag of the
    /// repository is pushed.
    pub reference: Reference,
    /// Push one platform's manifest alone.
    pub platform: Option<Platform>,
    /// Who we are to the registry.
    pub credentials: Option<Credentials>,
}

/// A target and what is below it, in the order in which a registry takes it.
#[derive(Debug, Default)]
struct Tree {
    /// Configurations and layers, each once.
    blobs: Vec<Descriptor>,
    /// Manifests and indexes; what refers to others comes behind them. The target is the last.
    documents: Vec<(Descriptor, Bytes)>,
}

/// One push of one name.
struct Push<'a> {
    images: &'a Images,
    client: &'a Client,
    reference: &'a Reference,
    repository: &'a Repository,
    progress: &'a Progress,
}

impl Images {
    /// Pushes an image, or all of a repository's, and reports it. RPCs: 1 for each manifest, and 4
    /// for each blob that the registry lacks.
    ///
    /// # Errors
    /// [`Error::NoTag`], [`Error::NoTags`]; when the registry, containerd or the image itself
    /// fails.
    pub async fn push(&self, request: &PushRequest, progress: &Progress) -> Result<()> {
        let reference = &request.reference;
        let refers = format!("The push refers to repository [{}]", reference.name());
        progress.message(None, refers).await;
        if !reference.is_name_only() {
            return self.push_one(reference, request, progress).await;
        }
        let names = self.tags_of(reference);
        if names.is_empty() {
            return Err(Error::NoTags(reference.familiar_name()));
        }
        for name in &names {
            self.push_one(name, request, progress).await?;
        }
        Ok(())
    }

    /// The names with a tag of a repository, in order.
    pub(crate) fn tags_of(&self, repository: &Reference) -> Vec<Reference> {
        let table = self.inner.table.load();
        let names = table.images().flat_map(|image| &image.records);
        let names = names.filter_map(|record| Reference::parse(record).ok());
        let mut names: Vec<_> = names
            .filter(|name| name.name() == repository.name() && name.tag().is_some())
            .collect();
        names.sort_by_key(Reference::to_string);
        names
    }

    async fn push_one(
        &self,
        reference: &Reference,
        request: &PushRequest,
        progress: &Progress,
    ) -> Result<()> {
        let no_tag = || Error::NoTag(reference.familiar());
        let image = self.resolve(&reference.to_string()).map_err(|_| no_tag())?;
        if reference.digest().is_none() && !image.records.contains(&reference.to_string()) {
            return Err(no_tag());
        }
        // What is being sent must not be collected meanwhile.
        let lease = self.lease().await?;
        lease.protect(image.id()).await?;
        let chosen = self
            .to_push(&lease, &image, request.platform.as_ref(), progress)
            .await?;
        let target = self
            .send_tree(&lease, reference, request, chosen, progress)
            .await?;
        if target.digest != *image.id() && request.platform.is_none() {
            let aux = json!({
                "manifestPushedInsteadOfIndex": true,
                "originalIndex": image.target().to_wire(),
                "selectedManifest": target.to_wire(),
            });
            progress.aux(aux).await;
        }
        if let Some(tag) = reference.tag() {
            let (digest, size) = (&target.digest, target.size);
            progress
                .message(None, format!("{tag}: digest: {digest} size: {size}"))
                .await;
            let aux = json!({"Tag": tag, "Digest": digest, "Size": size});
            progress.aux(aux).await;
        }
        self.emit(
            "push",
            reference.familiar(),
            reference.familiar_name(),
            Some(&image),
        );
        Ok(())
    }

    /// The tree that is pushed for an image: all of it or, where part of an index is not here, its
    /// manifest for this host.
    async fn to_push(
        &self,
        lease: &Lease,
        image: &Arc<Image>,
        platform: Option<&Platform>,
        progress: &Progress,
    ) -> Result<Tree> {
        let client = lease.client();
        if let Some(platform) = platform {
            let found = self
                .find_manifest(client, image.target(), platform, false)
                .await?;
            let found = found.ok_or_else(|| other_platform(image, platform))?;
            return self.tree(client, &found.descriptor).await;
        }
        match self.tree(client, image.target()).await {
            Err(Error::Missing(what)) => match image.manifest() {
                Some(manifest) if manifest.digest != *image.id() => {
                    self.tree(client, manifest).await
                }
                _ => {
                    let desc = image.target().to_wire();
                    progress
                        .aux(json!({"contentMissing": true, "desc": desc}))
                        .await;
                    Err(Error::Missing(what))
                }
            },
            other => other,
        }
    }

    /// What `target` refers to. 1 RPC for each document and each blob.
    ///
    /// # Errors
    /// [`Error::Missing`] when not all of it is here.
    async fn tree(&self, client: &Client, target: &Descriptor) -> Result<Tree> {
        let content = client.content();
        let mut tree = Tree::default();
        let mut seen = BTreeSet::new();
        let mut waiting = vec![(0, target.clone())];
        while let Some((depth, descriptor)) = waiting.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let digest = descriptor.digest.as_str();
            let data = match content.read_all(digest, MAX_JSON).await {
                Ok(data) => data,
                Err(e) if e.is_not_found() => return Err(Error::Missing(digest.to_owned())),
                Err(e) => return Err(e.into()),
            };
            match Document::parse(&descriptor.digest, &data)? {
                Document::Index(index) if depth < MAX_DEPTH => {
                    let below = index.manifests.into_iter().map(|d| (depth + 1, d));
                    waiting.extend(below);
                }
                Document::Index(_) => {
                    let message = format!("{digest}: indexes nested too deep");
                    return Err(Error::Corrupt(message));
                }
                Document::Manifest(manifest) => tree.add(manifest, &mut seen),
            }
            tree.documents.push((descriptor, data));
        }
        // Found from the top down, sent from the bottom up.
        tree.documents.reverse();
        for blob in &tree.blobs {
            match content.info(blob.digest.as_str()).await {
                Ok(_) => {}
                Err(e) if e.is_not_found() => return Err(Error::Missing(blob.digest.to_string())),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(tree)
    }

    /// Sends a tree, and makes the name point to its target, which is returned.
    async fn send_tree(
        &self,
        lease: &Lease,
        reference: &Reference,
        request: &PushRequest,
        tree: Tree,
        progress: &Progress,
    ) -> Result<Descriptor> {
        let client = lease.client();
        let mut sources = BTreeSet::new();
        for blob in &tree.blobs {
            let labels = client.content().info(blob.digest.as_str()).await?.labels;
            sources.extend(sources::repositories(&labels, reference).map(str::to_owned));
        }
        let sources: Vec<String> = sources.into_iter().collect();
        let registry = &self.inner.registry;
        let repository = registry.target(reference, request.credentials.clone(), &sources);
        let push = Push {
            images: self,
            client,
            reference,
            repository: &repository,
            progress,
        };
        // Tells at once, and once, that nobody answers or that we may not.
        if let Some((target, _)) = tree.documents.last() {
            repository
                .has_manifest(&target.digest, &target.media_type)
                .await?;
        }
        let blobs: FuturesUnordered<_> = tree.blobs.iter().map(|blob| push.blob(blob)).collect();
        blobs.try_collect::<()>().await?;
        let last = tree.documents.len().saturating_sub(1);
        for (n, (descriptor, data)) in tree.documents.iter().enumerate() {
            push.document(descriptor, data.clone(), n == last).await?;
        }
        match tree.documents.into_iter().next_back() {
            Some((target, _)) => Ok(target),
            None => Err(Error::Corrupt("there is nothing to push".to_owned())),
        }
    }
}

impl Tree {
    fn add(&mut self, manifest: Manifest, seen: &mut BTreeSet<Digest>) {
        for blob in manifest.layers.into_iter().chain([manifest.config]) {
            // What may not be distributed is had from where the manifest says.
            if !blob.is_foreign() && seen.insert(blob.digest.clone()) {
                self.blobs.push(blob);
            }
        }
    }
}

impl Push<'_> {
    /// Brings one blob there, by the cheapest way.
    async fn blob(&self, blob: &Descriptor) -> Result<()> {
        let id = blob.digest.short();
        let show = blob.is_layer();
        if show {
            self.progress.update(id, "Waiting").await;
        }
        let lanes = self.images.inner.lanes.load_full();
        let _permit = lanes
            .uploads
            .acquire()
            .await
            .map_err(|_| Error::Cancelled)?;
        let mut retry = Retry::new(ATTEMPTS);
        loop {
            match self.attempt(blob, show).await {
                Ok(status) => {
                    if show {
                        self.progress.update(id, &status).await;
                    }
                    return self.remember(blob).await;
                }
                Err(Error::Registry(error)) => {
                    tracing::info!(%error, blob = %blob.digest, "upload broke off");
                    let shown = show.then_some((self.progress, id));
                    retry.pause(error, shown).await?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// One try at it; says how it got there.
    async fn attempt(&self, blob: &Descriptor, show: bool) -> Result<String> {
        let digest = &blob.digest;
        if self.repository.has_blob(digest).await? {
            return Ok("Layer already exists".to_owned());
        }
        let labels = self.client.content().info(digest.as_str()).await?.labels;
        let mut upload = None;
        // Their label does not tell ports apart: some may be of another registry on that host.
        for source in sources::repositories(&labels, self.reference) {
            if source == self.reference.path() {
                continue;
            }
            match self.repository.mount(digest, source).await? {
                Mounted::Yes => return Ok(format!("Mounted from {source}")),
                Mounted::No(begun) => upload = Some(begun),
            }
        }
        let upload = match upload {
            Some(upload) => upload,
            None => self.repository.begin().await?,
        };
        let size = u64::try_from(blob.size)
            .map_err(|_| Error::Corrupt(format!("blob {digest} has a negative size")))?;
        let content = self.client.content().read(digest.as_str(), 0, 0).await?;
        let (progress, id) = (self.progress.clone(), digest.short().to_owned());
        let mut sent = 0;
        let counted = content.map(move |part| {
            let part = part.map_err(std::io::Error::other)?;
            sent += part.len() as u64;
            if show {
                progress.count(&id, "Pushing", sent, size);
            }
            Ok(part)
        });
        self.repository.send(upload, digest, size, counted).await?;
        Ok("Pushed".to_owned())
    }

    /// Notes that the repository has a blob, so that another push can mount it from there.
    async fn remember(&self, blob: &Descriptor) -> Result<()> {
        let content = self.client.content();
        let labels = content.info(blob.digest.as_str()).await?.labels;
        if let Some(more) = sources::extended(&labels, self.reference) {
            content.update_labels(blob.digest.as_str(), &more).await?;
        }
        Ok(())
    }

    /// Sends a manifest or index; the target gets the name.
    async fn document(&self, descriptor: &Descriptor, data: Bytes, target: bool) -> Result<()> {
        let parsed = Document::parse(&descriptor.digest, &data)?;
        let media_type = match descriptor.media_type.as_str() {
            "" => parsed.media_type(),
            known => known,
        };
        let digest = descriptor.digest.as_str();
        let name = match self.reference.tag() {
            Some(tag) if target => tag,
            _ => digest,
        };
        let mut retry = Retry::new(ATTEMPTS);
        loop {
            let put = self.repository.put_manifest(name, media_type, data.clone());
            match put.await {
                Ok(()) => return self.remember(descriptor).await,
                Err(error) => retry.pause(error, None).await?,
            }
        }
    }
}

fn other_platform(image: &Image, platform: &Platform) -> Error {
    let name = image.tags().first().cloned();
    Error::OtherPlatform {
        name: name.unwrap_or_else(|| image.id().to_string()),
        platform: platform.to_string(),
    }
}
