//! What stands in an image's manifest and configuration, read once.

use std::collections::{BTreeMap, BTreeSet};

use berth_ctrd::Client;
use berth_reference::{Digest, chain_ids};
use futures::StreamExt;

use crate::manifest::{ConfigFile, Descriptor, Document, Index, MAX_JSON, Manifest};
use crate::{Images, Platform, Result};

/// How deep indexes may be nested.
const MAX_DEPTH: usize = 4;
/// How many snapshots' sizes are asked for at a time.
const SIZES: usize = 8;

/// What is known of one target digest. It never changes, as it is content-addressed.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) target: Descriptor,
    /// The platform manifest that `config` is of; `None` when none is complete.
    pub(crate) manifest: Option<Descriptor>,
    pub(crate) config_digest: Option<Digest>,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) config: ConfigFile,
    pub(crate) chain: Vec<Digest>,
    pub(crate) created: Option<jiff::Timestamp>,
    pub(crate) content_size: i64,
    pub(crate) unpacked_size: i64,
    /// The unpacked size of each layer, from the base up; fewer when it is not unpacked.
    pub(crate) layer_sizes: Vec<i64>,
}

impl Metadata {
    /// False when something was missing that may be there later.
    pub(crate) fn is_complete(&self) -> bool {
        self.manifest.is_some() && self.layer_sizes.len() == self.chain.len()
    }

    /// True when it is for this host and complete.
    pub(crate) fn runs_here(&self) -> bool {
        self.is_complete() && Platform::host().distance(&self.config.platform()).is_some()
    }
}

impl Images {
    /// The manifest or index of a digest. 1 RPC.
    pub(crate) async fn read_document(&self, client: &Client, digest: &Digest) -> Result<Document> {
        let data = client.content().read_all(digest.as_str(), MAX_JSON).await?;
        Document::parse(digest, &data)
    }

    /// Reads what `target` says about the image for this host or, failing that, for any
    /// platform. 2 RPCs and 1 for each layer; 1 more for an index.
    ///
    /// # Errors
    /// When containerd does not answer; blobs that are missing or broken are no error.
    pub(crate) async fn read_metadata(
        &self,
        client: &Client,
        target: &Descriptor,
    ) -> Result<Metadata> {
        let found = self
            .find_manifest(client, target, &Platform::host(), true)
            .await?;
        Ok(self.complete_metadata(client, target, found).await)
    }

    /// The metadata of `target`, given what was found for its platform. 1 RPC for each layer.
    pub(crate) async fn complete_metadata(
        &self,
        client: &Client,
        target: &Descriptor,
        found: Option<Found>,
    ) -> Metadata {
        let mut metadata = Metadata {
            target: target.clone(),
            manifest: None,
            config_digest: None,
            layers: Vec::new(),
            config: ConfigFile::default(),
            chain: Vec::new(),
            created: None,
            content_size: target.size,
            unpacked_size: 0,
            layer_sizes: Vec::new(),
        };
        let Some(found) = found else { return metadata };
        let blobs = [&found.manifest.config, &found.descriptor];
        let blobs = found.manifest.layers.iter().chain(blobs);
        // A layer that comes twice lies there once. The sizes are whatever the manifest says.
        let blobs: BTreeMap<_, _> = blobs.map(|blob| (&blob.digest, blob.size.max(0))).collect();
        metadata.content_size = blobs.into_values().fold(0, i64::saturating_add);
        if found.descriptor.digest != target.digest {
            metadata.content_size = metadata.content_size.saturating_add(target.size.max(0));
        }
        metadata.chain = chain_ids(&found.config.rootfs.diff_ids);
        metadata.created = found.config.created.as_deref().and_then(|c| c.parse().ok());
        metadata.config_digest = Some(found.manifest.config.digest);
        metadata.layers = found.manifest.layers;
        metadata.manifest = Some(found.descriptor);
        metadata.config = found.config;
        self.measure(client, &mut metadata).await;
        metadata
    }

    /// Asks for the sizes of the unpacked layers. 1 RPC for each.
    pub(crate) async fn measure(&self, client: &Client, metadata: &mut Metadata) {
        let snapshots = self.snapshots(client);
        let sizes: Vec<Option<i64>> = futures::stream::iter(metadata.chain.clone())
            .map(|chain_id| {
                let snapshots = snapshots.clone();
                async move {
                    snapshots
                        .usage(chain_id.as_str())
                        .await
                        .ok()
                        .map(|(size, _)| size)
                }
            })
            .buffered(SIZES)
            .collect()
            .await;
        metadata.layer_sizes = sizes.into_iter().map_while(|size| size).collect();
        metadata.unpacked_size = metadata.layer_sizes.iter().sum();
    }

    /// The manifest for `platform` below `target` with its configuration; with `any`, for
    /// another platform when there is none. `None` when nothing fitting is in the content store.
    pub(crate) async fn find_manifest(
        &self,
        client: &Client,
        target: &Descriptor,
        platform: &Platform,
        any: bool,
    ) -> Result<Option<Found>> {
        let mut waiting = vec![(0, target.clone())];
        let mut seen = BTreeSet::new();
        let mut other = None;
        while let Some((depth, descriptor)) = waiting.pop() {
            // Nested indexes may list the same thing over and over.
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let manifest = match self.read_document(client, &descriptor.digest).await {
                Ok(Document::Manifest(manifest)) => manifest,
                Ok(Document::Index(index)) => {
                    if depth < MAX_DEPTH {
                        let order = in_order(&index, platform, any);
                        waiting.extend(order.into_iter().rev().map(|d| (depth + 1, d)));
                    }
                    continue;
                }
                Err(e) => {
                    passable(e)?;
                    continue;
                }
            };
            match self.read_config(client, &manifest).await {
                Ok(config) if manifest.layers.iter().all(Descriptor::is_layer) => {
                    let fits = platform.distance(&config.platform()).is_some();
                    let found = Found {
                        descriptor,
                        manifest,
                        config,
                    };
                    if fits {
                        return Ok(Some(found));
                    }
                    other.get_or_insert(found);
                }
                Ok(_) => {}
                Err(e) => passable(e)?,
            }
        }
        Ok(if any { other } else { None })
    }

    pub(crate) async fn read_config(
        &self,
        client: &Client,
        manifest: &Manifest,
    ) -> Result<ConfigFile> {
        let digest = &manifest.config.digest;
        let data = client.content().read_all(digest.as_str(), MAX_JSON).await?;
        ConfigFile::parse(digest, &data)
    }
}

/// The manifests of an index worth looking at, best first; with `any`, those for other platforms
/// too.
fn in_order(index: &Index, platform: &Platform, any: bool) -> Vec<Descriptor> {
    let best = platform.choose(&index.manifests);
    let others = index
        .manifests
        .iter()
        .filter(|d| any && !d.is_attestation());
    // Those that were chosen come twice; the second time they are known.
    best.iter().copied().chain(others).cloned().collect()
}

/// A platform's manifest and configuration.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) config: ConfigFile,
}

/// Lets pass what says that one blob is missing or broken; containerd being away is an error.
fn passable(e: crate::Error) -> Result<()> {
    match e {
        crate::Error::Containerd(e) if !e.is_not_found() && e.is_unreachable() => Err(e.into()),
        _ => Ok(()),
    }
}
