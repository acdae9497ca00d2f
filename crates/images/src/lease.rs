//! The lease that every write of images is made under.

use std::sync::Arc;
use std::time::Duration;

use berth_ctrd::{Client, Labels};
use berth_reference::Digest;

use crate::{Images, Result};

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

impl Images {
    /// Makes a lease. 1 RPC, and 1 when it is dropped.
    pub(crate) async fn lease(&self) -> Result<Lease> {
        let id = unique("berth");
        let plain = self.inner.client.clone();
        let leased = plain.with_lease(&id);
        // Made first: when we are dropped while containerd answers, the lease goes all the same.
        let held = Held { plain, leased, id };
        held.plain
            .leases()
            .create(&held.id, LIFETIME, &Labels::new())
            .await?;
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
            });
        }
    }
}

/// A name that nothing else has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:032x}", rand::random::<u128>())
}
