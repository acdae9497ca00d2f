//! The lease that every write of images is made under.

use std::time::Duration;

use berth_ctrd::{Client, Labels};

use crate::{Images, Result};

/// When a lease ends that nobody deleted, because we were killed: longer than any pull takes.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A lease that is deleted when the work is over, however it ends.
#[derive(Debug)]
pub(crate) struct Lease {
    plain: Client,
    leased: Client,
    id: Option<String>,
}

impl Images {
    /// Makes a lease. 1 RPC, and 1 when it is released or dropped.
    pub(crate) async fn lease(&self) -> Result<Lease> {
        let id = unique("berth");
        let plain = self.inner.client.clone();
        plain.leases().create(&id, LIFETIME, &Labels::new()).await?;
        Ok(Lease { leased: plain.with_lease(&id), plain, id: Some(id) })
    }
}

impl Lease {
    /// The client whose calls are made under the lease.
    pub(crate) fn client(&self) -> &Client {
        &self.leased
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Not awaited: what the lease protected beyond the image is collected in its own time.
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            let client = self.plain.clone();
            runtime.spawn(async move {
                if let Err(error) = client.leases().delete(&id, false).await {
                    if !error.is_not_found() {
                        tracing::warn!(%error, lease = id, "could not delete a lease");
                    }
                }
            });
        }
    }
}

/// A name that nothing else has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:032x}", rand::random::<u128>())
}
