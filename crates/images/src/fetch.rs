//! One blob at a time from a registry into the content store: resumed, verified, fetched once.

use berth_ctrd::{Client, Committed, FRAME, Labels, Opened, Writer};
use berth_registry::{Blob, Repository};
use bytes::BytesMut;
use futures::StreamExt;

use crate::ahead::{Ahead, Arrival, Tap, feed};
use crate::flights::Turn;
use crate::manifest::Descriptor;
use crate::progress::Progress;
use crate::retry::Retry;
use crate::{Error, Images, Result, fault};

/// How often a layer is fetched that others fetch, and have collected, at the same time.
const RACES: u32 = 5;
/// How much of a layer must have come for its tries to be counted anew, in bytes. A registry that has
/// a byte for each of them gets no more than one that has none.
const PROGRESS: u64 = 64 << 10;
/// How many addresses of a layer are tried.
const ADDRESSES: usize = 8;

/// How one try at a layer ended.
#[derive(Debug)]
enum Attempt {
    /// It is in the content store.
    Done,
    /// The registry broke off; `moved` when it sent enough before that to go on with it.
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
struct Job<'a> {
    layer: &'a Descriptor,
    /// The name of the download in the content store.
    reference: String,
    size: u64,
    labels: &'a Labels,
    turn: Turn,
    /// What is said of it when it is there already.
    found: &'static str,
}

/// Layers on their way from one repository.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    pub(crate) images: &'a Images,
    /// Under the lease.
    pub(crate) client: &'a Client,
    pub(crate) repository: &'a Repository,
    pub(crate) progress: &'a Progress,
    pub(crate) ahead: &'a Ahead<'a>,
}

impl Fetch<'_> {
    /// Fetches `layer` unless it is there, and has it unpacked meanwhile where it can be. 1 RPC for
    /// each try, and those of [`Ahead::tap`].
    ///
    /// # Errors
    /// When the registry fails for good, or sends something else than what was asked for.
    pub(crate) async fn layer(
        &self,
        layer: &Descriptor,
        labels: &Labels,
    ) -> Result<Option<Arrival>> {
        let id = layer.digest.short();
        let lanes = self.images.inner.lanes.load_full();
        let size = u64::try_from(layer.size)
            .map_err(|_| Error::Corrupt(format!("layer {} has a negative size", layer.digest)))?;
        let (turn, shared) = self.turn(layer, size).await;
        // Only who has to wait says so.
        let _permit = match lanes.downloads.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.progress.update(id, "Waiting").await;
                let permit = lanes.downloads.acquire().await;
                permit.map_err(|_| Error::Cancelled)?
            }
        };
        let job = Job {
            layer,
            reference: format!("layer-{}", layer.digest),
            size,
            labels,
            turn,
            found: match shared {
                true => "Download complete",
                false => "Already exists",
            },
        };
        let mut retry = Retry::new(lanes.attempts);
        let (mut fresh, mut races) = (false, 0);
        let mut tap = None;
        loop {
            match self.attempt(&job, &mut tap).await? {
                Attempt::Done => return Ok(tap.map(Tap::end)),
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

    /// Waits for the turn to fetch a layer, and shows meanwhile how far whoever is at it is. True
    /// when there was somebody.
    async fn turn(&self, layer: &Descriptor, size: u64) -> (Turn, bool) {
        let (flights, id) = (&self.images.inner.flights, layer.digest.short());
        if let Some(turn) = flights.try_join(layer.digest.as_str()) {
            return (turn, false);
        }
        self.progress.update(id, "Waiting").await;
        let seen = |done: u64| {
            if done > 0 {
                self.progress.count(id, "Downloading", done, size);
            }
        };
        (flights.watch(layer.digest.as_str(), seen).await, true)
    }

    async fn attempt(&self, job: &Job<'_>, tap: &mut Option<Tap>) -> Result<Attempt> {
        let Job {
            layer, reference, ..
        } = job;
        let id = layer.digest.short();
        let content = self.client.content();
        let opened = content.writer(reference, job.size, layer.digest.as_str());
        let Opened::Writer(mut writer) = opened.await? else {
            self.progress.update(id, job.found).await;
            return Ok(Attempt::Done);
        };
        let start = writer.offset();
        match self.copy(job, &mut writer, tap).await {
            Ok(()) => {}
            Err(Error::Registry(error)) if error.is_transient() => {
                let at = writer.offset();
                tracing::info!(%error, layer = %layer.digest, at, "download broke off");
                let moved = at.saturating_sub(start) >= PROGRESS;
                return Ok(Attempt::Broke { error, moved });
            }
            // Somebody else has written it meanwhile.
            Err(Error::Containerd(e)) if e.is_already_exists() => return Ok(Attempt::Overtaken),
            Err(e) => return Err(e),
        }
        self.progress.update(id, "Verifying Checksum").await;
        match writer.commit(job.labels).await {
            Ok(Committed::New) => {
                fault::point("pull:layer");
                self.progress.update(id, "Download complete").await;
                Ok(Attempt::Done)
            }
            // Our lease does not protect it yet.
            Ok(Committed::Existing) => Ok(Attempt::Overtaken),
            // What came is as good as it was.
            Err(e) if e.is_unreachable() || e.is_out_of_space() => Err(e.into()),
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

    /// Copies what is missing behind the writer's offset. A `tap` that is there has what is before it.
    async fn copy(&self, job: &Job<'_>, writer: &mut Writer, tap: &mut Option<Tap>) -> Result<()> {
        let (layer, size) = (job.layer, job.size);
        let id = layer.digest.short();
        let count = |done| {
            self.progress.count(id, "Downloading", done, size);
            job.turn.tell(done);
        };
        if writer.offset() >= size {
            return Ok(());
        }
        if writer.offset() == 0 {
            // What the last try began is over: it holds one of the places that the next may wait for.
            *tap = None;
            // Before the registry is asked, as there may be a wait.
            *tap = self.ahead.tap(layer.digest.as_str(), size).await;
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
                let whole = frame.split().freeze();
                feed(tap, writer.offset(), &whole).await;
                writer.write(whole).await?;
                count(writer.offset());
            }
        }
        // What came before the break counts: the next try goes on behind it.
        let rest = frame.freeze();
        feed(tap, writer.offset(), &rest).await;
        writer.write(rest).await?;
        count(writer.offset());
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
