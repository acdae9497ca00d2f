//! One blob at a time from a registry into the content store: resumed, verified, fetched once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use berth_ctrd::{Client, Committed, FRAME, Labels, Opened, Writer};
use berth_registry::{Blob, Repository};
use bytes::BytesMut;
use futures::StreamExt;

use crate::manifest::Descriptor;
use crate::progress::Progress;
use crate::retry::Retry;
use crate::{Error, Images, Result};

/// How often a layer is fetched that others fetch, and have collected, at the same time.
const RACES: u32 = 5;
/// How many addresses of a layer are tried.
const ADDRESSES: usize = 8;

/// What is being worked on, so that nobody else in this process does the same meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Flights {
    /// Waits until nobody else works on `key`, and keeps others away until dropped.
    pub(crate) async fn join(&self, key: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let flight = {
            let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            flights.retain(|_, flight| flight.strong_count() > 0);
            match flights.get(key).and_then(Weak::upgrade) {
                Some(flight) => flight,
                None => {
                    let flight = Arc::default();
                    flights.insert(key.to_owned(), Arc::downgrade(&flight));
                    flight
                }
            }
        };
        flight.lock_owned().await
    }
}

/// How one try at a layer ended.
#[derive(Debug)]
enum Attempt {
    /// It is in the content store.
    Done,
    /// The registry broke off; `moved` when it sent something before that.
    Broke {
        error: berth_registry::Error,
        moved: bool,
    },
    /// What an earlier try had left did not fit what came now; it is thrown away.
    Stale(Error),
    /// Somebody else was faster; whether it is still there shows the next try.
    Overtaken,
}

/// One layer to fetch.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    pub(crate) images: &'a Images,
    /// Under the lease.
    pub(crate) client: &'a Client,
    pub(crate) repository: &'a Repository,
    pub(crate) progress: &'a Progress,
}

impl Fetch<'_> {
    /// Fetches `layer` unless it is there. 1 RPC for each try.
    ///
    /// # Errors
    /// When the registry fails for good, or sends something else than what was asked for.
    pub(crate) async fn layer(&self, layer: &Descriptor, labels: &Labels) -> Result<()> {
        let id = layer.digest.short();
        let lanes = self.images.inner.lanes.load_full();
        let flights = &self.images.inner.flights;
        let waiting = async {
            let flight = flights.join(layer.digest.as_str()).await;
            let permit = lanes.downloads.acquire().await;
            Ok::<_, Error>((flight, permit.map_err(|_| Error::Cancelled)?))
        };
        futures::pin_mut!(waiting);
        // Only who has to wait says so.
        let _mine = match futures::poll!(waiting.as_mut()) {
            Poll::Ready(mine) => mine?,
            Poll::Pending => {
                self.progress.update(id, "Waiting").await;
                waiting.await?
            }
        };
        let reference = format!("layer-{}", layer.digest);
        let size = u64::try_from(layer.size)
            .map_err(|_| Error::Corrupt(format!("layer {} has a negative size", layer.digest)))?;
        let mut retry = Retry::new(lanes.attempts);
        let (mut fresh, mut races) = (false, 0);
        loop {
            match self.attempt(layer, &reference, size, labels).await? {
                Attempt::Done => return Ok(()),
                Attempt::Broke { error, moved } => {
                    if moved {
                        retry = Retry::new(lanes.attempts);
                    }
                    retry.pause(error, Some((self.progress, id))).await?;
                }
                // What was there from an earlier try may be the culprit: once more from nothing.
                Attempt::Stale(_) if !fresh => fresh = true,
                Attempt::Stale(error) => return Err(error),
                Attempt::Overtaken if races < RACES => races += 1,
                Attempt::Overtaken => {
                    let message = format!("layer {} comes and goes", layer.digest);
                    return Err(Error::Corrupt(message));
                }
            }
        }
    }

    async fn attempt(
        &self,
        layer: &Descriptor,
        reference: &str,
        size: u64,
        labels: &Labels,
    ) -> Result<Attempt> {
        let id = layer.digest.short();
        let content = self.client.content();
        let opened = content.writer(reference, size, layer.digest.as_str());
        let Opened::Writer(mut writer) = opened.await? else {
            self.progress.update(id, "Already exists").await;
            return Ok(Attempt::Done);
        };
        let start = writer.offset();
        match self.copy(layer, &mut writer, size).await {
            Ok(()) => {}
            Err(Error::Registry(error)) if error.is_transient() => {
                let at = writer.offset();
                tracing::info!(%error, layer = %layer.digest, at, "download broke off");
                let moved = at > start;
                return Ok(Attempt::Broke { error, moved });
            }
            // Somebody else has written it meanwhile.
            Err(Error::Containerd(e)) if e.is_already_exists() => return Ok(Attempt::Overtaken),
            Err(e) => return Err(e),
        }
        self.progress.update(id, "Verifying Checksum").await;
        match writer.commit(labels).await {
            Ok(Committed::New) => {
                self.progress.update(id, "Download complete").await;
                Ok(Attempt::Done)
            }
            // Our lease does not protect it yet.
            Ok(Committed::Existing) => Ok(Attempt::Overtaken),
            Err(e) if e.is_unreachable() => Err(e.into()),
            Err(e) => {
                content.abort(reference).await?;
                let error = Error::Corrupt(format!(
                    "filesystem layer verification failed for digest {}: {e}",
                    layer.digest
                ));
                if start > 0 {
                    Ok(Attempt::Stale(error))
                } else {
                    Err(error)
                }
            }
        }
    }

    /// The layer from `offset` on. One that registries may not distribute is had from the addresses
    /// that its manifest names; some registries have it all the same.
    async fn open(&self, layer: &Descriptor, offset: u64) -> Result<Blob> {
        let addresses = layer.urls.iter().take(ADDRESSES);
        let mut refused: Option<berth_registry::Error> = None;
        for address in addresses.filter(|_| layer.is_foreign()) {
            let there = self.repository.foreign(address, &layer.digest, offset);
            match there.await {
                Ok(blob) => return Ok(blob),
                Err(error) => {
                    tracing::info!(%error, layer = %layer.digest, "not had from where its manifest says");
                    // The one that may pass is the one that counts.
                    if refused.as_ref().is_none_or(|e| !e.is_transient()) {
                        refused = Some(error);
                    }
                }
            }
        }
        let here = self.repository.blob(&layer.digest, offset).await;
        Ok(here.map_err(|error| refused.unwrap_or(error))?)
    }

    /// Copies what is missing behind the writer's offset.
    async fn copy(&self, layer: &Descriptor, writer: &mut Writer, size: u64) -> Result<()> {
        let id = layer.digest.short();
        if writer.offset() >= size {
            return Ok(());
        }
        let blob = self.open(layer, writer.offset()).await?;
        // A registry without ranges starts over: what is there already is read again and dropped.
        let mut skip = writer.offset() - blob.offset;
        let mut stream = blob.stream;
        let mut frame = BytesMut::with_capacity(FRAME);
        let mut got = writer.offset();
        let mut broken = None;
        while let Some(part) = stream.next().await {
            let mut part = match part {
                Ok(part) => part,
                Err(e) => {
                    broken = Some(e);
                    break;
                }
            };
            let dropped = skip.min(part.len() as u64);
            skip -= dropped;
            let _ = part.split_to(dropped as usize);
            got += part.len() as u64;
            if got > size {
                return Err(Error::Corrupt(format!(
                    "layer {} is larger than the {size} bytes its manifest says",
                    layer.digest
                )));
            }
            frame.extend_from_slice(&part);
            if frame.len() >= FRAME {
                writer.write(frame.split().freeze()).await?;
                self.progress
                    .count(id, "Downloading", writer.offset(), size);
            }
        }
        // What came before the break counts: the next try goes on behind it.
        writer.write(frame.freeze()).await?;
        self.progress
            .count(id, "Downloading", writer.offset(), size);
        if let Some(e) = broken {
            return Err(e.into());
        }
        if got < size {
            return Err(Error::Registry(berth_registry::Error::Transport {
                method: "Get",
                url: format!("blobs/{}", layer.digest),
                reason: "unexpected EOF".to_owned(),
                timeout: false,
            }));
        }
        Ok(())
    }
}
