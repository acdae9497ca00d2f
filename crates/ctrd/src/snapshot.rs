//! Snapshots: the layers of images and the writable trees of containers.

use containerd_client::services::v1::snapshots as svc;
use containerd_client::types;
use serde::{Deserialize, Serialize};

use crate::client::CALL;
use crate::content::{Labels, from_labels, to_labels, to_time};
use crate::{Client, Error, Result};

/// One mount that makes up a snapshot, as the snapshotter describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The file system type, e.g. `overlay` or `bind`.
    pub kind: String,
    /// The source: a path or, for `overlay`, the word `overlay`.
    pub source: String,
    /// The place below the mount target; empty for the target itself.
    #[serde(default)]
    pub target: String,
    /// Options as `mount(8)` writes them, e.g. `lowerdir=…`.
    #[serde(default)]
    pub options: Vec<String>,
}

impl From<types::Mount> for Mount {
    fn from(m: types::Mount) -> Mount {
        Mount {
            kind: m.r#type,
            source: m.source,
            target: m.target,
            options: m.options,
        }
    }
}

impl From<Mount> for types::Mount {
    fn from(m: Mount) -> types::Mount {
        types::Mount {
            r#type: m.kind,
            source: m.source,
            target: m.target,
            options: m.options,
        }
    }
}

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// The snapshotter did not say.
    Unknown,
    /// A read-only view of a committed snapshot.
    View,
    /// A writable snapshot.
    Active,
    /// An immutable layer.
    Committed,
}

/// What is known about one snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotInfo {
    /// Its key; a committed layer's is its chain ID.
    pub key: String,
    /// The key of its parent; empty for a base.
    pub parent: String,
    /// What it is.
    pub kind: SnapshotKind,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created: Option<jiff::Timestamp>,
}

impl From<svc::Info> for SnapshotInfo {
    fn from(info: svc::Info) -> SnapshotInfo {
        let kind = match info.kind() {
            svc::Kind::Unknown => SnapshotKind::Unknown,
            svc::Kind::View => SnapshotKind::View,
            svc::Kind::Active => SnapshotKind::Active,
            svc::Kind::Committed => SnapshotKind::Committed,
        };
        SnapshotInfo {
            key: info.name,
            parent: info.parent,
            kind,
            labels: from_labels(info.labels),
            created: to_time(info.created_at),
        }
    }
}

/// The snapshots of one snapshotter. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Snapshots {
    client: Client,
    snapshotter: String,
}

impl Client {
    /// The snapshots of the named snapshotter, e.g. `overlayfs`. No RPC.
    pub fn snapshots(&self, snapshotter: &str) -> Snapshots {
        Snapshots {
            client: self.clone(),
            snapshotter: snapshotter.to_owned(),
        }
    }
}

impl Snapshots {
    /// The snapshotter's name.
    pub fn name(&self) -> &str {
        &self.snapshotter
    }

    /// Makes the writable snapshot `key` on top of `parent` (empty: on nothing) and says how
    /// to mount it. 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_already_exists`] when there is a snapshot of that key,
    /// [`Error::is_not_found`] when there is no such parent.
    pub async fn prepare(&self, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        let message = svc::PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: to_labels(labels),
        };
        let mut c = self.client.snapshots_client();
        let call = c.prepare(self.client.request(message));
        let answer = self.client.call("Snapshots.Prepare", CALL, call).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// Makes the read-only view `key` of the committed snapshot `parent`. 1 RPC.
    pub async fn view(&self, key: &str, parent: &str, labels: &Labels) -> Result<Vec<Mount>> {
        let message = svc::ViewSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: to_labels(labels),
        };
        let mut c = self.client.snapshots_client();
        let call = c.view(self.client.request(message));
        let answer = self.client.call("Snapshots.View", CALL, call).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// How to mount the active snapshot or view `key`. 1 RPC.
    pub async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let message = svc::MountsRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
        };
        let mut c = self.client.snapshots_client();
        let call = c.mounts(self.client.request(message));
        let answer = self.client.call("Snapshots.Mounts", CALL, call).await?;
        Ok(answer.mounts.into_iter().map(Mount::from).collect())
    }

    /// Turns the active snapshot `key` into the immutable layer `name`. 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_already_exists`] when somebody else committed `name` meanwhile; `key` is
    /// then still there.
    pub async fn commit(&self, name: &str, key: &str, labels: &Labels) -> Result<()> {
        let message = svc::CommitSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: to_labels(labels),
        };
        let mut c = self.client.snapshots_client();
        let call = c.commit(self.client.request(message));
        self.client.call("Snapshots.Commit", CALL, call).await
    }

    /// Removes the snapshot `key`. 1 RPC. It must have no children and must not be mounted.
    pub async fn remove(&self, key: &str) -> Result<()> {
        let message = svc::RemoveSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
        };
        let mut c = self.client.snapshots_client();
        let call = c.remove(self.client.request(message));
        self.client.call("Snapshots.Remove", CALL, call).await
    }

    /// What is known about the snapshot `key`. 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none.
    pub async fn stat(&self, key: &str) -> Result<SnapshotInfo> {
        let message = svc::StatSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
        };
        let mut c = self.client.snapshots_client();
        let call = c.stat(self.client.request(message));
        let answer = self.client.call("Snapshots.Stat", CALL, call).await?;
        answer
            .info
            .map(SnapshotInfo::from)
            .ok_or_else(|| Error::Protocol {
                method: "Snapshots.Stat",
                what: "no snapshot in it".to_owned(),
            })
    }

    /// All snapshots, or those that `filter` matches (containerd's filter syntax, e.g.
    /// `labels."x"==y`). 1 RPC, streamed.
    pub async fn list(&self, filter: Option<&str>) -> Result<Vec<SnapshotInfo>> {
        const METHOD: &str = "Snapshots.List";
        let message = svc::ListSnapshotsRequest {
            snapshotter: self.snapshotter.clone(),
            filters: filter.map(str::to_owned).into_iter().collect(),
        };
        let mut c = self.client.snapshots_client();
        let call = c.list(self.client.request(message));
        let mut stream = self.client.call(METHOD, CALL, call).await?;
        let mut found = Vec::new();
        while let Some(part) = crate::content::next(METHOD, &mut stream).await? {
            found.extend(part.info.into_iter().map(SnapshotInfo::from));
        }
        Ok(found)
    }

    /// The space that the snapshot itself takes, without its parents: `(bytes, inodes)`. 1 RPC.
    pub async fn usage(&self, key: &str) -> Result<(i64, i64)> {
        let message = svc::UsageRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
        };
        let mut c = self.client.snapshots_client();
        let call = c.usage(self.client.request(message));
        let answer = self.client.call("Snapshots.Usage", CALL, call).await?;
        Ok((answer.size, answer.inodes))
    }

    /// Has the snapshotter delete what removed snapshots left on disk. 1 RPC.
    pub async fn cleanup(&self) -> Result<()> {
        let message = svc::CleanupRequest {
            snapshotter: self.snapshotter.clone(),
        };
        let mut c = self.client.snapshots_client();
        let call = c.cleanup(self.client.request(message));
        self.client.call("Snapshots.Cleanup", CALL, call).await
    }
}
