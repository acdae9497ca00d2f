//! The lease that every write of images is made under.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use berth_ctrd::{Client, Labels};
use berth_reference::Digest;

use crate::{Images, Result, fault};

/// When a lease ends that nobody deleted, because we were killed: longer than any pull takes.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A lease that is deleted when all who hold it are done, however that ends.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<Held>);

#[derive(Debug)]
struct Held {
    images: Images,
    leased: Client,
    id: String,
    /// It stays for the next pull.
    left: AtomicBool,
}

/// How every lease of ours is called.
const PREFIX: &str = "berth";
/// How those are called whose work the next daemon may go on with.
const PULL: &str = "berth-pull";
/// How long that is kept for the next pull which a killed daemon was at work on, or for which there was no
/// room.
const KEPT: Duration = Duration::from_secs(15 * 60);

impl Images {
    /// Takes over the leases that an earlier daemon left because it was killed. Those of pulls go
    /// with the next pull that is done, which may have gone on with what they protect, or after a
    /// quarter of an hour; all others at once, since nobody goes on with a commit or a load. For the
    /// daemon's start. 1 RPC, and 1 for each lease; for a pull's those of [`Images::drop_extractions`].
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn adopt_leases(&self) -> Result<()> {
        let ours = |prefix: &str, id: &str| id.strip_prefix(prefix).is_some_and(is_unique);
        let left = self.inner.client.leases().list().await?;
        let left = left.into_iter().map(|(id, _)| id);
        let left = left.filter(|id| ours(PULL, id) || ours(PREFIX, id));
        let (left, over): (Vec<_>, Vec<_>) = left.partition(|id| ours(PULL, id));
        if !left.is_empty() || !over.is_empty() {
            let leases = left.len() + over.len();
            tracing::info!(leases, "an earlier daemon was killed at work");
        }
        self.let_go(over, false).await;
        for id in &left {
            // Layers that were being unpacked: nobody goes on with them, and they may be large.
            if let Err(error) = self.drop_extractions(id).await {
                tracing::warn!(%error, lease = id, "what an earlier daemon was unpacking");
            }
        }
        if !left.is_empty() {
            self.keep_for_a_while(left);
        }
        Ok(())
    }

    /// Keeps leases that nobody holds for the next pull.
    fn keep_for_a_while(&self, leases: Vec<String>) {
        self.orphans().extend(leases.iter().cloned());
        let images = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let still = |id: &String| images.orphans().contains(id);
            let left = leases.into_iter().filter(still).collect();
            images.let_go(left, false).await;
        });
    }

    /// Lets go what an earlier daemon, or a pull that there was no room for, had left, if it still is
    /// there. 1 RPC for each.
    pub(crate) async fn drop_orphans(&self) {
        let left = self.orphans().clone();
        self.let_go(left, false).await;
    }

    /// Whether there is anything for [`Images::sweep_orphans`].
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans().is_empty()
    }

    /// The same; what they protected is gone then. True if there was any.
    pub(crate) async fn sweep_orphans(&self) -> bool {
        let left = self.orphans().clone();
        let any = !left.is_empty();
        self.let_go(left, true).await;
        any
    }

    /// Deletes leases; with `collect` what only they protected is collected then. One that cannot be
    /// deleted, for lack of room, is tried again with the next.
    async fn let_go(&self, leases: Vec<String>, collect: bool) {
        let last = leases.last().cloned();
        for id in leases {
            let sync = collect && Some(&id) == last.as_ref();
            let deleted = self.inner.client.leases().delete(&id, sync).await;
            let mut orphans = self.orphans();
            orphans.retain(|orphan| *orphan != id);
            match deleted {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, lease = id, "could not delete a lease");
                    orphans.push(id);
                }
                _ => {}
            }
        }
    }

    fn orphans(&self) -> MutexGuard<'_, Vec<String>> {
        self.inner
            .orphans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has containerd collect what nothing refers to any more, and waits for it. 2 RPCs.
    pub(crate) async fn collect(&self) -> Result<()> {
        let (leases, id) = (self.inner.client.leases(), unique(PREFIX));
        leases.create(&id, LIFETIME, &Labels::new()).await?;
        // The end of a lease is what one can wait for.
        Ok(leases.delete(&id, true).await?)
    }

    /// Makes a lease. 1 RPC, and 1 when it is dropped.
    pub(crate) async fn lease(&self) -> Result<Lease> {
        self.lease_called(unique(PREFIX)).await
    }

    /// The same for a pull, whose downloads are gone on with after the daemon's death.
    pub(crate) async fn pull_lease(&self) -> Result<Lease> {
        self.lease_called(unique(PULL)).await
    }

    async fn lease_called(&self, id: String) -> Result<Lease> {
        let leased = self.inner.client.with_lease(&id);
        // Made first: when we are dropped while containerd answers, the lease goes all the same.
        let held = Held {
            images: self.clone(),
            leased,
            id,
            left: AtomicBool::new(false),
        };
        let leases = self.inner.client.leases();
        leases.create(&held.id, LIFETIME, &Labels::new()).await?;
        fault::point("lease:taken");
        Ok(Lease(Arc::new(held)))
    }
}

impl Lease {
    /// The client whose calls are made under the lease.
    pub(crate) fn client(&self) -> &Client {
        &self.0.leased
    }

    /// Protects a blob that is there already, or is going to be. 1 RPC.
    pub(crate) async fn protect(&self, digest: &Digest) -> Result<()> {
        let leases = self.0.images.inner.client.leases();
        Ok(leases.protect(&self.0.id, digest.as_str()).await?)
    }

    /// Protects a snapshot, and those below it, that is there already or is going to be. 1 RPC.
    pub(crate) async fn protect_snapshot(&self, snapshotter: &str, chain: &Digest) -> Result<()> {
        let leases = self.0.images.inner.client.leases();
        let added = leases.protect_snapshot(&self.0.id, snapshotter, chain.as_str());
        Ok(added.await?)
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// Leaves what it protects to the next pull.
    pub(crate) fn leave(self) {
        self.0.left.store(true, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (images, id) = (self.images.clone(), std::mem::take(&mut self.id));
        if *self.left.get_mut() {
            return images.keep_for_a_while(vec![id]);
        }
        // Not awaited: what the lease protected beyond the image is collected in its own time. But it is
        // collected: of a lease that ends during a collection containerd takes no notice by itself.
        tokio::spawn(async move {
            images.let_go(vec![id], true).await;
            fault::point("lease:ended");
        });
    }
}

/// Whether this is what [`unique`] puts behind a prefix.
fn is_unique(rest: &str) -> bool {
    let digits = rest.strip_prefix('-').unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A name that nothing else has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:032x}", rand::random::<u128>())
}
