//! The progress messages of pull and load, as the docker CLI renders them.

use serde::Serialize;
use tokio::sync::mpsc;

/// One message of a progress stream: Docker's `JSONMessage`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JsonMessage {
    /// Text to print as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What is going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How far it is.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// What it is about: a layer's short digest, or the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// How far something is, in bytes; `{}` when there is nothing to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProgressDetail {
    /// Bytes done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// Bytes in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Where progress messages go. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<mpsc::Sender<JsonMessage>>);

impl Progress {
    /// Messages go to `sender`. A full channel delays the work, except for byte counts, which
    /// are dropped then; a closed one is ignored (drop the operation's future to cancel it).
    pub fn new(sender: mpsc::Sender<JsonMessage>) -> Progress {
        Progress(Some(sender))
    }

    /// Nobody is interested.
    pub fn none() -> Progress {
        Progress(None)
    }

    async fn send(&self, message: JsonMessage) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(message).await;
        }
    }

    /// A line of its own, such as `Digest: sha256:…`; with `id` it is prefixed by it.
    pub(crate) async fn message(&self, id: Option<&str>, status: String) {
        self.send(JsonMessage {
            status: Some(status),
            id: id.map(str::to_owned),
            ..JsonMessage::default()
        })
        .await;
    }

    /// The line of the layer `id`, replaced by the next message about it.
    pub(crate) async fn update(&self, id: &str, status: &str) {
        self.send(JsonMessage {
            status: Some(status.to_owned()),
            id: Some(id.to_owned()),
            progress_detail: Some(ProgressDetail::default()),
            ..JsonMessage::default()
        })
        .await;
    }

    /// How many bytes of the layer `id` are done. Dropped when the reader is slow.
    pub(crate) fn count(&self, id: &str, status: &str, current: u64, total: u64) {
        if let Some(sender) = &self.0 {
            let _ = sender.try_send(JsonMessage {
                status: Some(status.to_owned()),
                id: Some(id.to_owned()),
                progress_detail: Some(ProgressDetail {
                    current: Some(current),
                    total: Some(total),
                }),
                ..JsonMessage::default()
            });
        }
    }

    /// Text to print as it is.
    pub(crate) async fn stream(&self, text: String) {
        self.send(JsonMessage { stream: Some(text), ..JsonMessage::default() }).await;
    }
}
