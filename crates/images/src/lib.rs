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

mod ahead;
mod archive;
mod attestations;
mod changes;
mod commit;
mod distribution;
mod error;
mod fetch;
mod flights;
#[cfg(fuzzing)]
pub mod fuzzing;
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
mod platforms;
mod progress;
mod pull;
mod push;
mod remove;
mod retry;
mod room;
mod save;
mod sizes;
mod sources;
mod spool;
mod stream;
mod table;
mod unpack;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use berth_ctrd::{Client, Snapshots};
use berth_fault as fault;
use berth_reference::Digest;
use berth_registry::Registry;
use tokio::sync::Semaphore;

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
pub use push::PushRequest;
pub use remove::{InUse, Usage};
pub use stream::Input;

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

/// Limits of pulls and pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many layers are downloaded at a time, over all pulls: `max-concurrent-downloads`.
    pub downloads: usize,
    /// How many layers are uploaded at a time, over all pushes: `max-concurrent-uploads`.
    pub uploads: usize,
    /// How often a layer's download is tried: `max-download-attempts`.
    pub attempts: usize,
}

/// What [`Images`] needs.
pub struct Options {
    /// The containerd to keep images in.
    pub client: Client,
    /// The snapshotter to unpack into, e.g. `overlayfs`.
    pub snapshotter: String,
    /// The way to registries.
    pub registry: Registry,
    /// The limits of pulls and pushes.
    pub limits: Limits,
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
    /// Replaced whole when a limit changes; what holds the former one's permits runs on.
    lanes: ArcSwap<Lanes>,
    flights: flights::Flights,
    /// Leases that an earlier daemon left.
    orphans: std::sync::Mutex<Vec<String>>,
    /// Whether a path that containerd tells is the same file here.
    same_files: tokio::sync::OnceCell<bool>,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images")
            .field("snapshotter", &self.inner.snapshotter)
            .finish_non_exhaustive()
    }
}

/// The limits as they are kept.
#[derive(Debug)]
struct Lanes {
    downloads: Arc<Semaphore>,
    /// Layers that are unpacked while they come: as many as downloads.
    unpacking: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    /// At least 1.
    attempts: usize,
}

impl Lanes {
    fn new(limits: Limits) -> Lanes {
        let lanes = |many: usize| Arc::new(Semaphore::new(many.clamp(1, Semaphore::MAX_PERMITS)));
        Lanes {
            downloads: lanes(limits.downloads),
            unpacking: lanes(limits.downloads),
            uploads: lanes(limits.uploads),
            attempts: limits.attempts.max(1),
        }
    }
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
                lanes: ArcSwap::from_pointee(Lanes::new(options.limits)),
                flights: flights::Flights::default(),
                orphans: std::sync::Mutex::default(),
                same_files: tokio::sync::OnceCell::new(),
            }),
        }
    }

    /// Sets the limits of pulls and pushes. What runs or waits already is not counted, and tries
    /// as often as it would have.
    pub fn set_limits(&self, limits: Limits) {
        self.inner.lanes.store(Arc::new(Lanes::new(limits)));
    }

    /// The way to registries.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
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
