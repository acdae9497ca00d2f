//! What a container has changed: what it has written, beside what it was made of.
//!
//! An overlay keeps the two apart, so nothing needs to be asked. Any other snapshotter makes one
//! tree of both, which is compared with the parent of the container's snapshot: containerd makes a
//! view of that for as long.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, LazyLock};

use berth_ctrd::Snapshots;
use berth_rootfs::{Base, Change, Layer, View, Written};
use jiff::Timestamp;
use tokio::runtime::Handle as Runtime;

use crate::container::handle::Handle;
use crate::container::record::Record;
use crate::create::{GC_ROOT, OWNER, random_id};
use crate::shared::{Shared, blocking};
use crate::tree::{self, Access, Shown};
use crate::{Error, Result};

/// Labels a view with the run of the daemon that made it: one of another run is in nobody's use.
const RUN: &str = "berth/run";
static THIS_RUN: LazyLock<String> = LazyLock::new(random_id);

/// Whether a snapshot with these labels is one that is being looked into.
pub(crate) fn is_in_use(labels: &BTreeMap<String, String>) -> bool {
    labels.get(RUN) == Some(&*THIS_RUN)
}

/// What a container has written and what it was made of, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Changed {
    written: Written,
    /// Dropped before the snapshot that it shows, which may be in use until then.
    before: Option<View>,
    _parent: Option<Parent>,
}

impl Changed {
    /// No RPC with an overlay; else 2.
    ///
    /// # Errors
    /// A tree cannot be mounted.
    pub(crate) async fn of(shared: &Arc<Shared>, handle: &Arc<Handle>) -> Result<Changed> {
        let record = handle.view().record.clone();
        let separate = tree::written(&record).filter(|_| is_separate(&record));
        let parent = match &separate {
            Some(_) => None,
            None => Parent::view(shared, &record).await?,
        };
        let (shared, handle) = (shared.clone(), handle.clone());
        blocking(move || {
            let (written, before) = match separate {
                Some(upper) => (Written::Upper(upper), image(&shared, &record)?),
                None => {
                    let tree = tree::open(&shared, &handle, Shown::RootOnly, Access::Read, None)?;
                    let open = |parent: &Parent| mount(&shared, parent.layers.clone());
                    let before = parent.as_ref().map(open).transpose()?;
                    (Written::Whole(tree.into_view()), before)
                }
            };
            Ok(Changed {
                written,
                before,
                _parent: parent,
            })
        })
        .await
    }

    /// What differs, in the order of a walk. Blocks.
    pub(crate) fn list(&self) -> Result<Vec<Change>> {
        berth_rootfs::changes(&self.written, self.before.as_ref()).map_err(Error::from_lower)
    }

    /// The same as an image layer. Blocks.
    pub(crate) fn pack(&self, out: impl Write) -> berth_rootfs::Result<()> {
        berth_rootfs::pack_changes(&self.written, self.before.as_ref(), out)
    }
}

/// Whether what was written lies apart from what was there before.
fn is_separate(record: &Record) -> bool {
    record.base.is_empty() || record.rootfs.iter().any(|mount| mount.kind == "overlay")
}

/// The image of an overlay, as one tree; `None` when the container was made of nothing. Blocks.
fn image(shared: &Shared, record: &Record) -> Result<Option<View>> {
    let mut layers = tree::layers(record);
    let Some(layer) = layers.iter_mut().find(|layer| layer.kind == "overlay") else {
        return Ok(None);
    };
    layer.options.retain(|option| {
        !["upperdir=", "workdir="]
            .iter()
            .any(|own| option.starts_with(own))
    });
    let lower = |option: &String| option.strip_prefix("lowerdir=").map(str::to_owned);
    let lower = layer.options.iter().find_map(lower).unwrap_or_default();
    if !lower.contains(':') {
        // The kernel merges no less than two.
        *layer = Layer {
            kind: "bind".to_owned(),
            source: lower,
            options: Vec::new(),
        };
    }
    mount(shared, layers).map(Some)
}

fn mount(shared: &Shared, layers: Vec<Layer>) -> Result<View> {
    View::open(&Base::Snapshot(layers), &[], &shared.io_root).map_err(Error::from_lower)
}

/// A view, in containerd's sense, of the snapshot that a container's was made on. Dropping it
/// removes it; one that a killed daemon left goes at the next start, like any snapshot that is
/// labelled as ours and belongs to no container.
#[derive(Debug)]
struct Parent {
    snapshots: Snapshots,
    key: String,
    layers: Vec<Layer>,
    runtime: Runtime,
}

impl Parent {
    /// `None` for a container that was made of nothing. 1 RPC, and 1 when it is dropped.
    async fn view(shared: &Shared, record: &Record) -> Result<Option<Parent>> {
        if record.base.is_empty() {
            return Ok(None);
        }
        // Made first: when we are dropped while containerd answers, it goes all the same.
        let mut parent = Parent {
            snapshots: shared.client.snapshots(&record.snapshotter),
            key: random_id(),
            layers: Vec::new(),
            runtime: Runtime::current(),
        };
        let labels = BTreeMap::from([
            (GC_ROOT.to_owned(), Timestamp::now().to_string()),
            (OWNER.to_owned(), parent.key.clone()),
            (RUN.to_owned(), THIS_RUN.clone()),
        ]);
        let mounts = parent.snapshots.view(&parent.key, &record.base, &labels);
        let mounts = mounts.await.map_err(Error::from_lower)?;
        parent.layers = mounts.iter().map(tree::layer).collect();
        Ok(Some(parent))
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let (snapshots, key) = (self.snapshots.clone(), std::mem::take(&mut self.key));
        self.runtime.spawn(async move {
            match snapshots.remove(&key).await {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, key, "removing the view of a snapshot");
                }
                _ => {}
            }
        });
    }
}
