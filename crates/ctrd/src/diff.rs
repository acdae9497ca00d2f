//! Diffs: unpacking a layer into a snapshot, done inside containerd.

use std::time::Duration;

use containerd_client::services::v1 as svc;

use crate::{Client, Descriptor, Error, Labels, Mount, Result};

/// How long one layer may take; a slow disk needs minutes for gigabytes.
const LAYER: Duration = Duration::from_secs(3600);

/// containerd's diff service. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Diffs {
    client: Client,
}

impl Client {
    /// The diff service. No RPC.
    pub fn diffs(&self) -> Diffs {
        Diffs {
            client: self.clone(),
        }
    }
}

impl Diffs {
    /// Unpacks the layer `layer`, which is in the content store, over `mounts` and returns the
    /// digest of its uncompressed tar: its diff ID. 1 RPC.
    pub async fn apply(&self, layer: &Descriptor, mounts: &[Mount]) -> Result<String> {
        const METHOD: &str = "Diff.Apply";
        let message = svc::ApplyRequest {
            diff: Some(layer.clone().into()),
            mounts: mounts.iter().cloned().map(Into::into).collect(),
            ..Default::default()
        };
        let mut c = svc::diff_client::DiffClient::new(self.client.channel());
        let call = c.apply(self.client.request(message));
        let answer = self.client.call(METHOD, LAYER, call).await?;
        answer
            .applied
            .map(|d| d.digest)
            .ok_or_else(|| Error::Protocol {
                method: METHOD,
                what: "no descriptor in it".to_owned(),
            })
    }

    /// Packs what differs between the trees `lower` and `upper` into a layer of `media_type` in
    /// the content store. 1 RPC.
    pub async fn create(
        &self,
        lower: &[Mount],
        upper: &[Mount],
        media_type: &str,
        reference: &str,
        labels: &Labels,
    ) -> Result<Descriptor> {
        const METHOD: &str = "Diff.Diff";
        let message = svc::DiffRequest {
            left: lower.iter().cloned().map(Into::into).collect(),
            right: upper.iter().cloned().map(Into::into).collect(),
            media_type: media_type.to_owned(),
            r#ref: reference.to_owned(),
            labels: crate::content::to_labels(labels),
            ..Default::default()
        };
        let mut c = svc::diff_client::DiffClient::new(self.client.channel());
        let call = c.diff(self.client.request(message));
        let answer = self.client.call(METHOD, LAYER, call).await?;
        answer
            .diff
            .map(Descriptor::from)
            .ok_or_else(|| Error::Protocol {
                method: METHOD,
                what: "no descriptor in it".to_owned(),
            })
    }
}
