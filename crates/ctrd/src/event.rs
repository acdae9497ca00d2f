//! containerd's event stream: a second source of what happened, never the only one.

use std::time::Duration;

use containerd_client::events;
use containerd_client::services::v1 as svc;
use futures::StreamExt;
use prost::Message;
use tokio::sync::mpsc;

use crate::Client;

/// How many events may wait for their reader before the stream itself is held back.
const QUEUE: usize = 256;
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What containerd told about a container of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel killed a process of the container for want of memory.
    OutOfMemory {
        /// The container's id.
        container: String,
    },
    /// The stream broke and events may have been lost: reconcile with [`Client::list_tasks`].
    Interrupted,
}

impl Client {
    /// Follows containerd's events, connecting again whenever the stream breaks, until the
    /// receiver is dropped. 1 RPC (`Events.Subscribe`) a connection.
    ///
    /// The subscription is made at some time after this returns: exits must be learned from
    /// [`crate::Process::wait`].
    pub fn events(&self) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(QUEUE);
        let client = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = client.follow(&events) => {}
                () = events.closed() => {}
            }
        });
        receiver
    }

    async fn follow(&self, events: &mpsc::Sender<Event>) {
        let mut pause = RETRY.0;
        loop {
            let mut c = svc::events_client::EventsClient::new(self.channel());
            let filters = vec![format!(
                "topic==\"/tasks/oom\",namespace=={}",
                self.namespace()
            )];
            // Resolves only with the first event.
            match c
                .subscribe(self.request(svc::SubscribeRequest { filters }))
                .await
            {
                Ok(answer) => {
                    pause = RETRY.0;
                    let mut stream = answer.into_inner();
                    while let Some(Ok(envelope)) = stream.next().await {
                        if let Some(event) = read(envelope)
                            && events.send(event).await.is_err()
                        {
                            return;
                        }
                    }
                }
                Err(status) => tracing::debug!(%status, "containerd's event stream broke"),
            }
            if events.send(Event::Interrupted).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }
}

fn read(envelope: containerd_client::types::Envelope) -> Option<Event> {
    let value = envelope.event?.value;
    match envelope.topic.as_str() {
        "/tasks/oom" => {
            let oom = events::TaskOom::decode(value.as_slice()).ok()?;
            Some(Event::OutOfMemory {
                container: oom.container_id,
            })
        }
        _ => None,
    }
}
