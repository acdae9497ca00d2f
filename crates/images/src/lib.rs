//! Images: pull, load, import, tag, remove, list and inspect over containerd's stores.
//!
//! **One table behind one pointer.** What list, inspect and resolve answer stands in an
//! immutable `Table` that [`Images::refresh`] loads once and our own writes
//! replace: reading makes no containerd RPC. Manifests and configurations never change under
//! their digest, so what was read of them is kept for as long as an image refers to them.
//!
//! Everything is stored as Docker 29 stores it: in the namespace's image records by full
//! reference (`docker.io/library/busybox:latest`), or `moby-dangling@sha256:…` for an image
//! without a name; an image's ID is the digest of its record's target. Every write happens
//! under a lease, and changes are ordered: persist (the image record), publish (the table),
//! emit (the event), reply.

mod archive;
mod changes;
mod commit;
mod error;
mod fetch;
mod history;
mod image;
mod import;
mod inspect;
mod lease;
mod list;
mod load;
mod manifest;
mod metadata;
mod names;
mod platform;
mod progress;
mod pull;
mod remove;
mod save;
mod stream;
mod table;
mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use berth_ctrd::{Client, Snapshots};
use berth_reference::Digest;
use berth_registry::Registry;

pub use berth_wire::{JsonMessage, ProgressDetail};
pub use commit::Commit;
pub use error::{Error, Result};
pub use image::Image;
pub use import::Import;
pub use list::Filters;
pub use manifest::{Descriptor, HistoryEntry};
pub use platform::Platform;
pub use progress::Progress;
pub use pull::{Pull, PullRequest};
pub use remove::{InUse, Usage};
pub use stream::{Input, plain as decompress};

/// What happened to an image, as `docker events` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// `pull`, `load`, `import`, `tag`, `untag`, `delete`, `save`.
    pub action: &'static str,
    /// The actor's ID: the image ID or, for pull, the reference.
    pub id: String,
    /// The actor's attributes: `name` and the image's labels.
    pub attributes: BTreeMap<String, String>,
}

/// Where events go. Called after the change is visible to readers; must not block.
pub type EventSink = Arc<dyn Fn(ImageEvent) + Send + Sync>;

/// What [`Images`] needs.
pub struct Options {
    /// The containerd to keep images in.
    pub client: Client,
    /// The snapshotter to unpack into, e.g. `overlayfs`.
    pub snapshotter: String,
    /// The way to registries.
    pub registry: Registry,
    /// How many layers are downloaded at a time, over all pulls: `max-concurrent-downloads`.
    pub downloads: usize,
    /// Where events go.
    pub events: EventSink,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("snapshotter", &self.snapshotter)
            .finish_non_exhaustive()
    }
}

/// The images of one containerd namespace. Clones share everything.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    snapshotter: String,
    registry: Registry,
    events: EventSink,
    table: ArcSwap<table::Table>,
    /// Held by whoever changes image records, so that what is persisted and what is published
    /// are the same.
    writing: tokio::sync::Mutex<()>,
    /// Replaced whole when the limit changes; what holds the former one's permits runs on.
    downloads: ArcSwap<tokio::sync::Semaphore>,
    flights: fetch::Flights,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images")
            .field("snapshotter", &self.inner.snapshotter)
            .finish_non_exhaustive()
    }
}

fn permits(downloads: usize) -> tokio::sync::Semaphore {
    tokio::sync::Semaphore::new(downloads.clamp(1, tokio::sync::Semaphore::MAX_PERMITS))
}

impl Images {
    /// Without any images yet: call [`Images::refresh`]. No RPC.
    pub fn new(options: Options) -> Images {
        Images {
            inner: Arc::new(Inner {
                client: options.client,
                snapshotter: options.snapshotter,
                registry: options.registry,
                events: options.events,
                table: ArcSwap::default(),
                writing: tokio::sync::Mutex::default(),
                downloads: ArcSwap::from_pointee(permits(options.downloads)),
                flights: fetch::Flights::default(),
            }),
        }
    }

    /// Sets how many layers are downloaded at a time. Downloads that run or wait already are not
    /// counted.
    pub fn set_downloads(&self, downloads: usize) {
        self.inner.downloads.store(Arc::new(permits(downloads)));
    }

    /// The snapshotter's name.
    pub fn snapshotter(&self) -> &str {
        &self.inner.snapshotter
    }

    /// How many images there are. No RPC.
    pub fn count(&self) -> usize {
        self.inner.table.load().images().count()
    }

    /// All images, in no particular order. No RPC.
    pub fn all(&self) -> Vec<Arc<Image>> {
        self.inner.table.load().images().cloned().collect()
    }

    /// The image that a name, a name with digest, an ID or a unique prefix of one means. No RPC.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], or a name that is not one.
    pub fn resolve(&self, name: &str) -> Result<Arc<Image>> {
        self.inner.table.load().resolve(name)
    }

    /// As [`Images::resolve`], for a container that is to run on `platform`. No RPC.
    ///
    /// # Errors
    /// Also [`Error::OtherPlatform`], to which the CLI answers with a pull.
    pub fn resolve_for(&self, name: &str, platform: &Platform) -> Result<Arc<Image>> {
        let image = self.resolve(name)?;
        if platform.distance(&image.platform()).is_none() {
            return Err(Error::OtherPlatform {
                name: name.to_owned(),
                platform: platform.to_string(),
            });
        }
        Ok(image)
    }

    /// The image of exactly this ID. No RPC.
    pub fn by_id(&self, id: &Digest) -> Option<Arc<Image>> {
        self.inner.table.load().image(id).cloned()
    }

    fn snapshots(&self, client: &Client) -> Snapshots {
        client.snapshots(&self.inner.snapshotter)
    }

    /// Emits an event about an image: `id` is the actor, `name` its attribute.
    fn emit(&self, action: &'static str, id: String, name: String, image: Option<&Image>) {
        let mut attributes = image.map(|i| i.config().labels.clone()).unwrap_or_default();
        attributes.insert("name".to_owned(), name);
        (self.inner.events)(ImageEvent {
            action,
            id,
            attributes,
        });
    }
}

/// Does a change to its end even when whoever asked for it is gone meanwhile: what is persisted
/// is also published, and told.
async fn whole<T: Send + 'static>(
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(change).await {
        Ok(outcome) => outcome,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_) => Err(Error::Cancelled),
    }
}

#[cfg(test)]
mod tests;
