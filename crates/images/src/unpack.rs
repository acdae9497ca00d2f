//! Layers become snapshots, keyed by chain ID.

use berth_ctrd::{Labels, Mount};
use berth_reference::{Digest, chain_ids};

use tokio::sync::oneshot;

use crate::ahead::{Arrival, Unpacked};
use crate::image::Image;
use crate::lease::{Lease, unique};
use crate::load::snapshot_label;
use crate::manifest::Descriptor;
use crate::metadata::Metadata;
use crate::progress::Progress;
use crate::{Error, Images, Result, fault};

/// How often a layer is unpacked that others unpack, and have collected, at the same time.
const RACES: u32 = 5;
/// How the keys of snapshots begin that are being unpacked into.
pub(crate) const EXTRACTION: &str = "extract";
/// Tells the snapshotter what a snapshot is going to be.
const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";

/// The layers of one image on their way into the snapshotter.
#[derive(Debug)]
pub(crate) struct Unpack<'a> {
    pub(crate) images: &'a Images,
    /// Protects what is found and what is made.
    pub(crate) lease: &'a Lease,
    pub(crate) layers: &'a [Descriptor],
    pub(crate) diff_ids: &'a [Digest],
    pub(crate) progress: &'a Progress,
}

/// One layer, and where it goes.
#[derive(Debug)]
struct Job<'a> {
    layer: &'a Descriptor,
    diff_id: &'a Digest,
    /// The chain ID of what is below it; empty for nothing.
    parent: &'a str,
    chain_id: &'a Digest,
}

impl Images {
    /// Makes sure that the image's topmost snapshot is there to make a container's of. No RPC
    /// when it was there when the image was read or made; else as [`Images::unpack`].
    ///
    /// # Errors
    /// As [`Images::unpack`].
    pub async fn ensure_unpacked(&self, image: &Image) -> Result<()> {
        // What the caller holds may be older than what is known by now.
        let complete = |image: &Image| image.metadata.is_complete();
        if complete(image) || self.by_id(image.id()).is_some_and(|now| complete(&now)) {
            return Ok(());
        }
        self.unpack(image).await
    }

    /// Unpacks the image's layers from its blobs where snapshots are missing: for when
    /// containerd says that one is, whatever was known before. 5 RPCs when none is, 3 more for
    /// each layer; and 1 for each layer's size.
    ///
    /// # Errors
    /// [`Error::Missing`] when the image has no complete manifest here, or a blob is missing.
    pub async fn unpack(&self, image: &Image) -> Result<()> {
        let (Some(_), Some(config)) = (image.manifest(), &image.metadata.config_digest) else {
            return Err(Error::Missing(image.id().to_string()));
        };
        let lease = self.lease().await?;
        let client = lease.client();
        let unpack = Unpack {
            images: self,
            lease: &lease,
            layers: &image.metadata.layers,
            diff_ids: image.diff_ids(),
            progress: &Progress::none(),
        };
        unpack.run(Vec::new()).await?;
        if let Some(chain) = image.chain_id() {
            let labels = snapshot_label(self.snapshotter(), chain);
            client
                .content()
                .update_labels(config.as_str(), &labels)
                .await?;
        }
        let mut metadata = Metadata::clone(&image.metadata);
        self.measure(client, &mut metadata).await;
        self.publish_metadata(metadata).await;
        Ok(())
    }
}

impl Unpack<'_> {
    /// Unpacks what is not there yet. `ready` has a signal for each layer that is still on its
    /// way, so that unpacking overlaps with downloading; it is empty when all are there. 3 RPCs
    /// when all are unpacked; else 1 for each layer looked for, 3 for each unpacked and 2 when
    /// one is found.
    ///
    /// # Errors
    /// Also when a layer's digest is not what the configuration says.
    pub(crate) async fn run(&self, ready: Vec<oneshot::Receiver<Option<Arrival>>>) -> Result<()> {
        let mut ready = ready.into_iter();
        if self.layers.len() != self.diff_ids.len() {
            return Err(Error::Corrupt(format!(
                "mismatched image rootfs and manifest layers: {} diff IDs, {} layers",
                self.diff_ids.len(),
                self.layers.len()
            )));
        }
        let chain = chain_ids(self.diff_ids);
        let done = self.present(&chain).await?;
        for layer in &self.layers[..done] {
            arrived(ready.next()).await?;
            self.progress
                .update(layer.digest.short(), "Pull complete")
                .await;
        }
        for n in done..chain.len() {
            let ahead = arrived(ready.next()).await?;
            let id = self.layers[n].digest.short();
            self.progress.update(id, "Extracting").await;
            let ahead = match ahead {
                Some(ahead) => ahead.await.ok(),
                None => None,
            };
            let parent = n.checked_sub(1).map_or("", |below| chain[below].as_str());
            let job = Job {
                layer: &self.layers[n],
                diff_id: &self.diff_ids[n],
                parent,
                chain_id: &chain[n],
            };
            self.layer(&job, ahead).await?;
            self.progress.update(id, "Pull complete").await;
        }
        Ok(())
    }

    /// How many layers, from the base up, are unpacked already. They are ours to keep.
    async fn present(&self, chain: &[Digest]) -> Result<usize> {
        for (below, layer) in chain.iter().enumerate().rev() {
            if self.is_there(layer).await? && self.keep(layer).await? {
                return Ok(below + 1);
            }
        }
        Ok(0)
    }

    async fn is_there(&self, chain_id: &Digest) -> Result<bool> {
        let snapshots = self.images.snapshots(self.lease.client());
        match snapshots.stat(chain_id.as_str()).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Puts a snapshot that was seen under our lease; `false` when it has been collected before
    /// that, as nothing else holds what a broken-off pull or load had unpacked. 2 RPCs.
    async fn keep(&self, chain_id: &Digest) -> Result<bool> {
        let snapshotter = self.images.snapshotter();
        self.lease.protect_snapshot(snapshotter, chain_id).await?;
        self.is_there(chain_id).await
    }

    /// Unpacks one layer. Whoever else does so at the same time may be faster.
    async fn layer(&self, job: &Job<'_>, mut ahead: Option<Unpacked>) -> Result<()> {
        for _ in 0..RACES {
            if self.unpack(job, ahead.take()).await? || self.keep(job.chain_id).await? {
                return Ok(());
            }
        }
        let message = format!("snapshot {} comes and goes", job.chain_id);
        Err(Error::Corrupt(message))
    }

    /// One try at it; `false` when somebody else's snapshot is there instead.
    async fn unpack(&self, job: &Job<'_>, ahead: Option<Unpacked>) -> Result<bool> {
        let chain_id = job.chain_id;
        let _flight = self
            .images
            .inner
            .flights
            .join(&format!("snapshot {chain_id}"))
            .await;
        let snapshots = self.images.snapshots(self.lease.client());
        let key = format!("{} {chain_id}", unique(EXTRACTION));
        let labels = Labels::from([(SNAPSHOT_REF.to_owned(), chain_id.to_string())]);
        let mounts = match snapshots.prepare(&key, job.parent, &labels).await {
            Ok(mounts) => mounts,
            // The snapshot that it is going to be is there already.
            Err(e) if e.is_already_exists() => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        fault::point("unpack:prepared");
        let outcome = match self.fill(job, ahead, &mounts).await {
            Ok(()) => {
                fault::point("unpack:applied");
                match snapshots
                    .commit(chain_id.as_str(), &key, &Labels::new())
                    .await
                {
                    Ok(()) => {
                        fault::point("unpack:committed");
                        return Ok(true);
                    }
                    Err(e) if e.is_already_exists() => Ok(false),
                    Err(e) => Err(e.into()),
                }
            }
            Err(e) => Err(e),
        };
        // Where this fails, or is not reached because we were cancelled, the lease's end does it.
        let _ = snapshots.remove(&key).await;
        outcome
    }

    /// Puts what the layer has into the snapshot that is mounted so: what was unpacked ahead, or
    /// what containerd makes of the blob.
    async fn fill(&self, job: &Job<'_>, ahead: Option<Unpacked>, mounts: &[Mount]) -> Result<()> {
        let (layer, diff_id) = (job.layer, job.diff_id);
        let wrong = |actual: &str| {
            Err(Error::Corrupt(format!(
                "wrong diff id calculated on extraction {actual:?}, the image says {diff_id:?}"
            )))
        };
        if let Some(ahead) = ahead.filter(|ahead| ahead.is(layer)) {
            if ahead.diff_id != *diff_id {
                return wrong(ahead.diff_id.as_str());
            }
            if ahead.place(mounts, self.lease).await {
                return Ok(());
            }
        }
        let diffs = self.lease.client().diffs();
        match diffs.apply(&layer.to_containerd(), mounts).await {
            Ok(actual) if actual == diff_id.as_str() => Ok(()),
            Ok(actual) => wrong(&actual),
            Err(e) if e.is_not_found() => Err(Error::Missing(layer.digest.to_string())),
            Err(error) => Err(Error::Extract {
                layer: diff_id.clone(),
                error,
            }),
        }
    }
}

/// Whether this is the key of a snapshot that a layer is, or was, being unpacked into.
pub(crate) fn is_extraction(key: &str) -> bool {
    let start = key.strip_prefix(EXTRACTION);
    start.is_some_and(|rest| rest.starts_with('-'))
}

/// Waits for a layer's signal. When its sender is gone the download has failed, and the
/// download's own error is the one that shows.
async fn arrived(signal: Option<oneshot::Receiver<Option<Arrival>>>) -> Result<Option<Arrival>> {
    match signal {
        Some(signal) => signal.await.map_err(|_| Error::Cancelled),
        None => Ok(None),
    }
}
