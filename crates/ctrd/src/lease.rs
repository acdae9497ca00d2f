//! Leases: what a client is at work on and garbage collection must leave alone.

use std::time::Duration;

use containerd_client::services::v1 as svc;

use crate::client::CALL;
use crate::content::{Labels, from_labels, to_labels};
use crate::{Client, Result};

/// The label that tells garbage collection when a lease ends by itself.
const EXPIRE: &str = "containerd.io/gc.expire";

/// The leases of the namespace. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Leases {
    client: Client,
}

impl Client {
    /// The leases of the namespace. No RPC.
    pub fn leases(&self) -> Leases {
        Leases {
            client: self.clone(),
        }
    }
}

impl Leases {
    /// Makes the lease `id`, which ends by itself after `lifetime` in case we never delete it.
    /// 1 RPC. Use it through [`Client::with_lease`].
    ///
    /// # Errors
    /// [`crate::Error::is_already_exists`] when the id is taken.
    pub async fn create(&self, id: &str, lifetime: Duration, labels: &Labels) -> Result<()> {
        let mut labels = labels.clone();
        let end = jiff::Timestamp::now()
            .checked_add(lifetime)
            .unwrap_or(jiff::Timestamp::MAX)
            .round(jiff::Unit::Second)
            .unwrap_or(jiff::Timestamp::MAX);
        labels.insert(EXPIRE.to_owned(), end.to_string());
        let message = svc::CreateRequest {
            id: id.to_owned(),
            labels: to_labels(&labels),
        };
        let mut c = svc::leases_client::LeasesClient::new(self.client.channel());
        let call = c.create(self.client.request(message));
        self.client
            .call("Leases.Create", CALL, call)
            .await
            .map(|_| ())
    }

    /// Has the lease `id` protect a blob, and all that its labels refer to. 1 RPC.
    ///
    /// containerd does not look whether the blob is there: whoever finds it *after* this call
    /// keeps it.
    ///
    /// # Errors
    /// [`crate::Error::is_not_found`] when there is no such lease.
    pub async fn protect(&self, id: &str, digest: &str) -> Result<()> {
        self.add(id, digest, "content".to_owned()).await
    }

    /// As [`Leases::protect`], for the snapshot `key` of `snapshotter` and those below it. 1 RPC.
    ///
    /// # Errors
    /// As there.
    pub async fn protect_snapshot(&self, id: &str, snapshotter: &str, key: &str) -> Result<()> {
        self.add(id, key, format!("snapshots/{snapshotter}")).await
    }

    async fn add(&self, id: &str, resource: &str, kind: String) -> Result<()> {
        let message = svc::AddResourceRequest {
            id: id.to_owned(),
            resource: Some(svc::Resource {
                id: resource.to_owned(),
                r#type: kind,
            }),
        };
        let mut c = svc::leases_client::LeasesClient::new(self.client.channel());
        let call = c.add_resource(self.client.request(message));
        self.client.call("Leases.AddResource", CALL, call).await
    }

    /// The keys of the snapshots of `snapshotter` that the lease `id` itself protects. 1 RPC.
    ///
    /// # Errors
    /// [`crate::Error::is_not_found`] when there is no such lease.
    pub async fn snapshots(&self, id: &str, snapshotter: &str) -> Result<Vec<String>> {
        let message = svc::ListResourcesRequest { id: id.to_owned() };
        let mut c = svc::leases_client::LeasesClient::new(self.client.channel());
        let call = c.list_resources(self.client.request(message));
        let answer = self.client.call("Leases.ListResources", CALL, call).await?;
        let kind = format!("snapshots/{snapshotter}");
        let resources = answer.resources.into_iter();
        let these = resources.filter(|resource| resource.r#type == kind);
        Ok(these.map(|resource| resource.id).collect())
    }

    /// Deletes the lease `id`; with `sync` waits until what only it protected is collected. 1 RPC.
    pub async fn delete(&self, id: &str, sync: bool) -> Result<()> {
        let message = svc::DeleteRequest {
            id: id.to_owned(),
            sync,
        };
        let mut c = svc::leases_client::LeasesClient::new(self.client.channel());
        let call = c.delete(self.client.request(message));
        self.client.call("Leases.Delete", CALL, call).await
    }

    /// The ids and labels of all leases. 1 RPC.
    pub async fn list(&self) -> Result<Vec<(String, Labels)>> {
        let mut c = svc::leases_client::LeasesClient::new(self.client.channel());
        let call = c.list(self.client.request(svc::ListRequest::default()));
        let answer = self.client.call("Leases.List", CALL, call).await?;
        Ok(answer
            .leases
            .into_iter()
            .map(|l| (l.id, from_labels(l.labels)))
            .collect())
    }
}
