//! The progress messages of pull, push and load, as the docker CLI renders them.

use berth_wire::{JsonMessage, ProgressDetail};
use tokio::sync::mpsc;

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
            status,
            id: id.unwrap_or_default().to_owned(),
            ..JsonMessage::default()
        })
        .await;
    }

    /// The line of the layer `id`, replaced by the next message about it.
    pub(crate) async fn update(&self, id: &str, status: &str) {
        self.send(JsonMessage {
            status: status.to_owned(),
            id: id.to_owned(),
            progress_detail: Some(ProgressDetail::default()),
            ..JsonMessage::default()
        })
        .await;
    }

    /// How many bytes of the layer `id` are done. Dropped when the reader is slow.
    pub(crate) fn count(&self, id: &str, status: &str, current: u64, total: u64) {
        if let Some(sender) = &self.0 {
            let _ = sender.try_send(JsonMessage {
                status: status.to_owned(),
                id: id.to_owned(),
                progress_detail: Some(ProgressDetail {
                    current: i64::try_from(current).unwrap_or(i64::MAX),
                    total: i64::try_from(total).unwrap_or(i64::MAX),
                    ..ProgressDetail::default()
                }),
                ..JsonMessage::default()
            });
        }
    }

    /// What programs want to know.
    pub(crate) async fn aux(&self, aux: serde_json::Value) {
        self.send(JsonMessage {
            aux: Some(aux),
            ..JsonMessage::default()
        })
        .await;
    }

    /// Text to print as it is.
    pub(crate) async fn stream(&self, text: String) {
        self.send(JsonMessage {
            stream: text,
            ..JsonMessage::default()
        })
        .await;
    }
}
