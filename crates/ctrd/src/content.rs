//! The content store: blobs by digest, written once, resumably.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use containerd_client::services::v1 as svc;
use containerd_client::types;
use futures::{Stream, StreamExt};
use svc::WriteAction;
use tokio::sync::mpsc;

use crate::client::CALL;
use crate::{Client, Error, Result};

/// Labels on a containerd object.
pub type Labels = BTreeMap<String, String>;

/// How many bytes one WRITE message carries.
pub const FRAME: usize = 1 << 20;
/// How long to wait for another writer of the same ref, which may be a stream that is only
/// now being torn down.
const LOCKED: Duration = Duration::from_secs(10);
/// How often a blob is written that others write, and have collected, at the same time.
const RACES: u32 = 5;
/// How long a commit may take: containerd syncs the blob to disk.
const COMMIT: Duration = Duration::from_secs(300);

/// A reference to a blob: what it is, its digest and its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest, `sha256:…`.
    pub digest: String,
    /// The size in bytes.
    pub size: i64,
    /// Annotations.
    pub annotations: Labels,
}

impl From<types::Descriptor> for Descriptor {
    fn from(d: types::Descriptor) -> Descriptor {
        Descriptor {
            media_type: d.media_type,
            digest: d.digest,
            size: d.size,
            annotations: from_labels(d.annotations),
        }
    }
}

impl From<Descriptor> for types::Descriptor {
    fn from(d: Descriptor) -> types::Descriptor {
        types::Descriptor {
            media_type: d.media_type,
            digest: d.digest,
            size: d.size,
            annotations: d.annotations.into_iter().collect(),
        }
    }
}

/// What is known about one blob.
#[derive(Clone, Debug)]
pub struct BlobInfo {
    /// The digest.
    pub digest: String,
    /// The size in bytes.
    pub size: i64,
    /// The labels.
    pub labels: Labels,
    /// When it was committed.
    pub created: Option<jiff::Timestamp>,
}

impl From<svc::Info> for BlobInfo {
    fn from(info: svc::Info) -> BlobInfo {
        BlobInfo {
            digest: info.digest,
            size: info.size,
            labels: from_labels(info.labels),
            created: to_time(info.created_at),
        }
    }
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The blob is new and carries the labels given.
    New,
    /// The blob was there already; its labels are what they were. Unlike [`Opened::Existing`]
    /// this does not put it under our lease: who must rely on it opens it again, or has
    /// [`crate::Leases::protect`] know the digest before the commit.
    Existing,
}

/// The outcome of opening a writer.
#[derive(Debug)]
pub enum Opened {
    /// Bytes are wanted, from [`Writer::offset`] on.
    Writer(Box<Writer>),
    /// The blob is there already; our lease, where we have one, now protects it.
    Existing,
}

/// The content store of the namespace. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Content {
    client: Client,
}

impl Client {
    /// The content store of the namespace. No RPC.
    pub fn content(&self) -> Content {
        Content {
            client: self.clone(),
        }
    }
}

impl Content {
    /// What is known about a blob. 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when it is not there.
    pub async fn info(&self, digest: &str) -> Result<BlobInfo> {
        const METHOD: &str = "Content.Info";
        let mut c = self.client.content_client();
        let call = c.info(self.client.request(svc::InfoRequest {
            digest: digest.to_owned(),
        }));
        let answer = self.client.call(METHOD, CALL, call).await?;
        answer
            .info
            .map(BlobInfo::from)
            .ok_or_else(|| missing(METHOD))
    }

    /// Streams a blob from `offset` on; `size` 0 means to the end. 1 RPC.
    pub async fn read(
        &self,
        digest: &str,
        offset: u64,
        size: u64,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        const METHOD: &str = "Content.Read";
        let message = svc::ReadContentRequest {
            digest: digest.to_owned(),
            offset: offset as i64,
            size: size as i64,
        };
        let mut c = self.client.content_client();
        let call = c.read(self.client.request(message));
        let stream = self.client.call(METHOD, CALL, call).await?;
        Ok(futures::stream::try_unfold(
            stream,
            |mut stream| async move {
                let part = next(METHOD, &mut stream).await?;
                Ok(part.map(|part| (Bytes::from(part.data), stream)))
            },
        ))
    }

    /// A whole small blob, such as a manifest. 1 RPC.
    ///
    /// # Errors
    /// Also when it is larger than `limit` bytes.
    pub async fn read_all(&self, digest: &str, limit: usize) -> Result<Bytes> {
        let stream = self.read(digest, 0, 0).await?;
        futures::pin_mut!(stream);
        let mut all = BytesMut::new();
        while let Some(part) = stream.next().await {
            all.extend_from_slice(&part?);
            if all.len() > limit {
                return Err(Error::Protocol {
                    method: "Content.Read",
                    what: format!("{digest} is larger than {limit} bytes"),
                });
            }
        }
        Ok(all.freeze())
    }

    /// All blobs, or those that `filter` matches. 1 RPC, streamed.
    pub async fn list(&self, filter: Option<&str>) -> Result<Vec<BlobInfo>> {
        const METHOD: &str = "Content.List";
        let filters = filter.map(str::to_owned).into_iter().collect();
        let mut c = self.client.content_client();
        let call = c.list(self.client.request(svc::ListContentRequest { filters }));
        let mut stream = self.client.call(METHOD, CALL, call).await?;
        let mut found = Vec::new();
        while let Some(part) = next(METHOD, &mut stream).await? {
            found.extend(part.info.into_iter().map(BlobInfo::from));
        }
        Ok(found)
    }

    /// Deletes a blob. 1 RPC.
    pub async fn delete(&self, digest: &str) -> Result<()> {
        let message = svc::DeleteContentRequest {
            digest: digest.to_owned(),
        };
        let mut c = self.client.content_client();
        let call = c.delete(self.client.request(message));
        self.client.call("Content.Delete", CALL, call).await
    }

    /// Sets the given labels on a blob and leaves its others alone; an empty value removes
    /// the label. 1 RPC.
    pub async fn update_labels(&self, digest: &str, labels: &Labels) -> Result<BlobInfo> {
        const METHOD: &str = "Content.Update";
        let message = svc::UpdateRequest {
            info: Some(svc::Info {
                digest: digest.to_owned(),
                labels: to_labels(labels),
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: labels.keys().map(|k| format!("labels.{k}")).collect(),
            }),
        };
        let mut c = self.client.content_client();
        let call = c.update(self.client.request(message));
        let answer = self.client.call(METHOD, CALL, call).await?;
        answer
            .info
            .map(BlobInfo::from)
            .ok_or_else(|| missing(METHOD))
    }

    /// Throws away what was written under `reference` so far. 1 RPC; fine when there is nothing.
    pub async fn abort(&self, reference: &str) -> Result<()> {
        let message = svc::AbortRequest {
            r#ref: reference.to_owned(),
        };
        let mut c = self.client.content_client();
        let call = c.abort(self.client.request(message));
        match self.client.call("Content.Abort", CALL, call).await {
            Err(e) if e.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Writes a whole small blob. 1 RPC, one message: a blob that is there already costs no more.
    /// Either way our lease, where we have one, protects it.
    pub async fn put(
        &self,
        reference: &str,
        digest: &str,
        data: Bytes,
        labels: &Labels,
    ) -> Result<Committed> {
        for _ in 0..RACES {
            match self.writer(reference, data.len() as u64, digest).await? {
                Opened::Existing => return Ok(Committed::Existing),
                Opened::Writer(mut writer) => {
                    // What an interrupted try left behind is not worth resuming.
                    writer.restart();
                    match writer.write(data.clone()).await {
                        Err(e) if e.is_already_exists() => continue,
                        other => other?,
                    }
                    // Where somebody else was faster, our lease does not protect it yet.
                    if writer.commit(labels).await? == Committed::New {
                        return Ok(Committed::New);
                    }
                }
            }
        }
        Err(Error::Protocol {
            method: Writer::METHOD,
            what: format!("{digest} comes and goes"),
        })
    }

    /// Opens the write `reference` of a blob of `total` bytes (0: not known) and digest
    /// `expected` (empty: not known). 1 RPC for the whole write, however long.
    ///
    /// What a broken write left behind is still there: go on at [`Writer::offset`]. Dropping
    /// the writer keeps it for the next try; [`Content::abort`] throws it away.
    pub async fn writer(&self, reference: &str, total: u64, expected: &str) -> Result<Opened> {
        let deadline = tokio::time::Instant::now() + LOCKED;
        let mut pause = Duration::from_millis(10);
        loop {
            match self.open(reference, total, expected).await {
                Ok(writer) => return Ok(Opened::Writer(Box::new(writer))),
                Err(e) if e.is_already_exists() => return Ok(Opened::Existing),
                Err(Error::Unreachable(message)) if message.contains("locked") => {
                    if tokio::time::Instant::now() + pause > deadline {
                        return Err(Error::Unreachable(message));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn open(&self, reference: &str, total: u64, expected: &str) -> Result<Writer> {
        let (tx, rx) = mpsc::channel(2);
        let first = svc::WriteContentRequest {
            action: WriteAction::Stat as i32,
            r#ref: reference.to_owned(),
            total: total as i64,
            expected: expected.to_owned(),
            ..Default::default()
        };
        // Cannot fail: the receiver is here and the channel empty.
        let _ = tx.try_send(first);
        let outgoing = futures::stream::unfold(rx, |mut rx: mpsc::Receiver<_>| async move {
            rx.recv().await.map(|message| (message, rx))
        });
        let mut c = self.client.content_client();
        let call = c.write(self.client.request(outgoing));
        let replies = self.client.call(Writer::METHOD, CALL, call).await?;
        let mut writer = Writer {
            tx,
            replies,
            reference: reference.to_owned(),
            expected: expected.to_owned(),
            total,
            offset: 0,
        };
        writer.offset = writer.reply(CALL).await?.offset.max(0) as u64;
        Ok(writer)
    }
}

/// A write in progress. It holds containerd's lock on its ref until dropped.
#[derive(Debug)]
pub struct Writer {
    tx: mpsc::Sender<svc::WriteContentRequest>,
    replies: tonic::Streaming<svc::WriteContentResponse>,
    reference: String,
    expected: String,
    total: u64,
    offset: u64,
}

impl Writer {
    const METHOD: &str = "Content.Write";

    /// How many bytes containerd has: where the next write goes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Starts over: the next write goes to the beginning and replaces what was there.
    pub fn restart(&mut self) {
        self.offset = 0;
    }

    /// Says what digest the blob must have, for a write that was opened without knowing it.
    pub fn expect(&mut self, digest: &str) {
        self.expected = digest.to_owned();
    }

    /// Appends `data`, in frames of [`FRAME`] bytes, and waits until containerd has it.
    pub async fn write(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let frame = data.split_to(data.len().min(FRAME));
            let length = frame.len() as u64;
            self.send(svc::WriteContentRequest {
                action: WriteAction::Write as i32,
                offset: self.offset as i64,
                data: frame.to_vec(),
                ..self.message()
            })
            .await?;
            let reply = self.reply(CALL).await?;
            let end = self.offset + length;
            if reply.offset != end as i64 {
                return Err(Error::Protocol {
                    method: Self::METHOD,
                    what: format!("wrote up to {end} but it is at {}", reply.offset),
                });
            }
            self.offset = end;
        }
        Ok(())
    }

    /// Ends the write: containerd checks size and digest and gives the blob its labels.
    ///
    /// # Errors
    /// A size or digest that is not the one expected is a conflict; the ref is then worth an
    /// abort.
    pub async fn commit(mut self, labels: &Labels) -> Result<Committed> {
        self.send(svc::WriteContentRequest {
            action: WriteAction::Commit as i32,
            offset: self.offset as i64,
            labels: to_labels(labels),
            ..self.message()
        })
        .await?;
        match self.reply(COMMIT).await {
            Ok(_) => Ok(Committed::New),
            Err(e) if e.is_already_exists() => Ok(Committed::Existing),
            Err(e) => Err(e),
        }
    }

    fn message(&self) -> svc::WriteContentRequest {
        svc::WriteContentRequest {
            r#ref: self.reference.clone(),
            total: self.total as i64,
            expected: self.expected.clone(),
            ..Default::default()
        }
    }

    async fn send(&mut self, message: svc::WriteContentRequest) -> Result<()> {
        match tokio::time::timeout(CALL, self.tx.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // The stream is over: containerd's reason is in the replies.
            Ok(Err(_)) => Err(self
                .reply(CALL)
                .await
                .err()
                .unwrap_or_else(|| Error::Unreachable("the write stream ended".to_owned()))),
            Err(_) => Err(Error::Timeout {
                method: Self::METHOD,
                seconds: CALL.as_secs(),
            }),
        }
    }

    async fn reply(&mut self, limit: Duration) -> Result<svc::WriteContentResponse> {
        match tokio::time::timeout(limit, self.replies.message()).await {
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None)) => Err(Error::Unreachable("the write stream ended".to_owned())),
            Ok(Err(status)) => Err(Error::from_status(Self::METHOD, status)),
            Err(_) => Err(Error::Timeout {
                method: Self::METHOD,
                seconds: limit.as_secs(),
            }),
        }
    }
}

fn missing(method: &'static str) -> Error {
    Error::Protocol {
        method,
        what: "no blob in it".to_owned(),
    }
}

/// The next message of a server stream, within the time limit of a call.
pub(crate) async fn next<T>(
    method: &'static str,
    stream: &mut tonic::Streaming<T>,
) -> Result<Option<T>> {
    match tokio::time::timeout(CALL, stream.message()).await {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(status)) => Err(Error::from_status(method, status)),
        Err(_) => Err(Error::Timeout {
            method,
            seconds: CALL.as_secs(),
        }),
    }
}

pub(crate) fn to_labels(labels: &Labels) -> HashMap<String, String> {
    labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

pub(crate) fn from_labels(labels: HashMap<String, String>) -> Labels {
    labels.into_iter().collect()
}

pub(crate) fn to_time(time: Option<prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    time.and_then(|t| jiff::Timestamp::new(t.seconds, t.nanos).ok())
}
