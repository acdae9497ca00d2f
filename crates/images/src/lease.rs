//! The lease that every write of images is made under.

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
    plain: Client,
    leased: Client,
    id: String,
}

/// How every lease of ours is called.
const PREFIX: &str = "berth";
/// How those are called whose work the next daemon may go on with.
const PULL: &str = "berth-pull";
/// How long after a start what a killed daemon was at work on is kept for the next pull.
const KEPT: Duration = Duration::from_secs(15 * 60);

impl Images {
    /// Takes over the leases that an earlier daemon left because it was killed. Those of pulls go
    /// with the next pull that is done, which may have gone on with what they protect, or after a
    /// quarter of an hour; all others at once, since nobody goes on with a commit or a load. For the
    /// daemon's start. 1 RPC, and 1 for each lease.
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
        self.let_go(over).await;
        if left.is_empty() {
            return Ok(());
        }
        *self.orphans() = left;
        let images = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            images.drop_orphans().await;
        });
        Ok(())
    }

    /// Lets go what an earlier daemon had left, if it still is there.
    pub(crate) async fn drop_orphans(&self) {
        let left = std::mem::take(&mut *self.orphans());
        self.let_go(left).await;
    }

    async fn let_go(&self, leases: Vec<String>) {
        for id in leases {
            match self.inner.client.leases().delete(&id, false).await {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(%error, lease = id, "could not delete a lease");
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
        let plain = self.inner.client.clone();
        let leased = plain.with_lease(&id);
        // Made first: when we are dropped while containerd answers, the lease goes all the same.
        let held = Held { plain, leased, id };
        held.plain
            .leases()
            .create(&held.id, LIFETIME, &Labels::new())
            .await?;
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
        Ok(self
            .0
            .plain
            .leases()
            .protect(&self.0.id, digest.as_str())
            .await?)
    }

    /// Protects a snapshot, and those below it, that is there already or is going to be. 1 RPC.
    pub(crate) async fn protect_snapshot(&self, snapshotter: &str, chain: &Digest) -> Result<()> {
        let leases = self.0.plain.leases();
        let added = leases.protect_snapshot(&self.0.id, snapshotter, chain.as_str());
        Ok(added.await?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Not awaited: what the lease protected beyond the image is collected in its own time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, id) = (self.plain.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move {
                match client.leases().delete(&id, false).await {
                    Err(error) if !error.is_not_found() => {
                        tracing::warn!(%error, lease = id, "could not delete a lease");
                    }
                    _ => {}
                }
                fault::point("lease:ended");
            });
        }
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
