//! A container's standard streams: from its FIFOs to the log and to everybody attached, and from
//! who types to its standard input.
//!
//! ```text
//!             ┌─> Logger
//! FIFO ─ pump ┤                      attached client ─ Keys ─┐
//!             └─> subscribers ...    attached client ─ Keys ─┴─ feed ─> stdin FIFO
//! ```
//!
//! The pumps wait for nobody who reads: each subscriber has a [`backlog`](crate::backlog).
//!
//! The [`Hub`] lives as long as the container, over its runs, so that a client can attach before
//! the start; a [`Session`] is what one run adds: its pumps and its log.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use berth_ctrd::{Process, Streams, io};
use berth_logs::Logger;
use berth_wire::stdcopy::Stream;
use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::backlog::{Reader, Spool, Taken, Writer};

/// The most that is read from a container at a time, in bytes: as much as a pipe holds.
const READ: usize = 64 << 10;
/// How long the rest of the output may take after the end of the process and of its shim.
const DRAIN: Duration = Duration::from_secs(10);
/// How many pieces may be typed ahead of a process that does not read.
const TYPED_AHEAD: usize = 16;
/// The pause before containerd is asked again that could not be reached.
const AGAIN: Duration = Duration::from_millis(200);

/// Something that a process wrote.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Where it was written.
    pub stream: Stream,
    /// What was written.
    pub bytes: Bytes,
}

/// What attached clients send to standard input.
#[derive(Debug)]
enum Typed {
    Data(Bytes),
    Eof,
}

#[derive(Debug)]
struct Subscriber {
    /// The run that it sees.
    epoch: u64,
    stdout: bool,
    stderr: bool,
    backlog: Arc<Writer>,
}

/// Who is attached, and where those who attach now belong. One value behind one pointer: a
/// client gets both its streams from the same run.
#[derive(Clone, Debug)]
struct Audience {
    /// The run of those who attach now: counts the runs whose end is known.
    epoch: u64,
    subscribers: Vec<Arc<Subscriber>>,
    keyboard: mpsc::Sender<Typed>,
    typed: Arc<Mutex<mpsc::Receiver<Typed>>>,
    /// There will be no other run.
    closed: bool,
}

impl Audience {
    fn of(epoch: u64, subscribers: Vec<Arc<Subscriber>>, closed: bool) -> Audience {
        let (keyboard, typed) = mpsc::channel(TYPED_AHEAD);
        Audience {
            epoch,
            subscribers,
            keyboard,
            typed: Arc::new(Mutex::new(typed)),
            closed,
        }
    }

    /// The same people, but who comes now waits for the next run.
    fn sealed(&self) -> Audience {
        Audience::of(self.epoch + 1, self.subscribers.clone(), self.closed)
    }
}

/// The meeting place of a process and its clients.
#[derive(Debug)]
pub(crate) struct Hub {
    audience: ArcSwap<Audience>,
    logger: ArcSwapOption<Logger>,
}

impl Hub {
    pub(crate) fn new() -> Arc<Hub> {
        let audience = ArcSwap::from_pointee(Audience::of(0, Vec::new(), false));
        Arc::new(Hub {
            audience,
            logger: ArcSwapOption::empty(),
        })
    }

    /// What is written from now on, up to the end of the run (of the next one, if none is on),
    /// and a way to type. What the client does not read at once waits in `spool`.
    pub(crate) fn attach(
        &self,
        spool: &Arc<Spool>,
        stdout: bool,
        stderr: bool,
    ) -> (Reader, Keyboard) {
        let notice = match stderr {
            true => Stream::Stderr,
            false => Stream::Stdout,
        };
        let (backlog, reader) = spool.backlog(notice);
        let backlog = Arc::new(backlog);
        let before = self.audience.rcu(|audience| {
            let mut audience = Audience::clone(audience);
            if !audience.closed {
                let epoch = audience.epoch;
                audience.subscribers.push(Arc::new(Subscriber {
                    epoch,
                    stdout,
                    stderr,
                    backlog: backlog.clone(),
                }));
            }
            audience
        });
        (
            reader,
            Keyboard {
                keys: before.keyboard.clone(),
            },
        )
    }

    /// A way to type, without seeing what is written.
    pub(crate) fn keyboard(&self) -> Keyboard {
        Keyboard {
            keys: self.audience.load().keyboard.clone(),
        }
    }

    /// The log of the present run.
    pub(crate) fn logger(&self) -> Option<Arc<Logger>> {
        self.logger.load_full()
    }

    /// Starts copying for a run whose process has been made; see also [`Session::listen`].
    pub(crate) fn begin(
        self: &Arc<Hub>,
        streams: Streams,
        process: Process,
        logger: Option<Logger>,
    ) -> Session {
        let logger = logger.map(Arc::new);
        self.logger.store(logger.clone());
        let audience = self.audience.load();
        let pump = |receiver, stream| {
            let (hub, logger) = (self.clone(), logger.clone());
            tokio::spawn(
                Pump {
                    hub,
                    epoch: audience.epoch,
                    stream,
                    logger,
                }
                .run(receiver),
            )
        };
        let mut pumps = vec![pump(streams.stdout, Stream::Stdout)];
        pumps.extend(streams.stderr.map(|stderr| pump(stderr, Stream::Stderr)));
        let typed = audience.typed.clone();
        let (listen, listens) = oneshot::channel();
        let feed = streams.stdin.map(|stdin| {
            tokio::spawn(async move {
                if listens.await.is_ok() {
                    feed(stdin, typed, process).await;
                }
            })
        });
        Session {
            hub: self.clone(),
            epoch: audience.epoch,
            pumps,
            feed,
            listen: Some(listen),
            logger,
        }
    }

    /// The end of the present run is known: who attaches from now on waits for the next.
    pub(crate) fn seal(&self) {
        self.audience.rcu(|audience| audience.sealed());
    }

    /// The present run is over, or could not begin: everybody attached gets to the end of the
    /// stream.
    pub(crate) fn end(&self) {
        self.end_of(self.audience.load().epoch);
    }

    /// The run `epoch` is over.
    fn end_of(&self, epoch: u64) {
        self.logger.store(None);
        self.audience.rcu(|audience| {
            let sealed = audience.epoch > epoch;
            let mut audience = if sealed {
                Audience::clone(audience)
            } else {
                audience.sealed()
            };
            audience
                .subscribers
                .retain(|subscriber| subscriber.epoch > epoch);
            audience
        });
    }

    /// There will be no other run: nobody is left waiting for one.
    pub(crate) fn close(&self) {
        self.logger.store(None);
        self.audience
            .rcu(|audience| Audience::of(audience.epoch + 1, Vec::new(), true));
    }

    /// Passes a piece on to everybody of the run. Waits for none of them.
    async fn deliver(&self, epoch: u64, chunk: Chunk) {
        let audience = self.audience.load_full();
        let mut left = false;
        let mut crowded = Vec::new();
        for subscriber in &audience.subscribers {
            let wanted = match chunk.stream {
                Stream::Stderr => subscriber.stderr,
                _ => subscriber.stdout,
            };
            if !wanted || subscriber.epoch > epoch {
                continue;
            }
            match subscriber.backlog.push(chunk.clone()) {
                Taken::Yes => {}
                Taken::Crowded => crowded.push(subscriber.backlog.settle()),
                Taken::No => left = true,
            }
        }
        join_all(crowded).await;
        if left {
            self.audience.rcu(|audience| {
                let mut audience = Audience::clone(audience);
                audience
                    .subscribers
                    .retain(|subscriber| !subscriber.backlog.is_closed());
                audience
            });
        }
    }
}

/// One client's way to standard input.
#[derive(Clone, Debug)]
pub(crate) struct Keyboard {
    keys: mpsc::Sender<Typed>,
}

impl Keyboard {
    /// Types; waits while the process does not read. False when nobody ever will: the run that
    /// the client attached to is over.
    pub(crate) async fn write(&self, bytes: Bytes) -> bool {
        self.keys.send(Typed::Data(bytes)).await.is_ok()
    }

    /// Ends standard input after what was typed.
    pub(crate) async fn close(&self) {
        let _ = self.keys.send(Typed::Eof).await;
    }
}

/// The copying of one run.
#[derive(Debug)]
pub(crate) struct Session {
    hub: Arc<Hub>,
    epoch: u64,
    pumps: Vec<JoinHandle<()>>,
    feed: Option<JoinHandle<()>>,
    listen: Option<oneshot::Sender<()>>,
    logger: Option<Arc<Logger>>,
}

impl Session {
    /// The process runs: from now on it gets what is typed. Not before: the shim opens the input of
    /// an exec when it starts it, and would not know of an end that it was told of earlier.
    pub(crate) fn listen(&mut self) {
        if let Some(listen) = self.listen.take() {
            let _ = listen.send(());
        }
    }

    /// Sees the run out, once its process and shim have ended: the rest of the output is copied,
    /// the log closed, and everybody attached reads the end of the stream.
    pub(crate) async fn finish(mut self) -> Vec<String> {
        let mut errors = Vec::new();
        if let Some(feed) = self.feed.take() {
            feed.abort();
        }
        if tokio::time::timeout(DRAIN, join_all(&mut self.pumps))
            .await
            .is_err()
        {
            errors.push("something holds the container's output open".to_owned());
            for pump in &self.pumps {
                pump.abort();
            }
        }
        if let Some(logger) = self.logger.take()
            && let Err(error) = logger.close(Timestamp::now()).await
        {
            errors.push(error.to_string());
        }
        self.hub.end_of(self.epoch);
        errors
    }

    /// Ends the copying for a process that never ran: nobody will ever close its streams.
    pub(crate) fn abandon(self) {
        for task in self.pumps.iter().chain(&self.feed) {
            task.abort();
        }
        self.hub.end_of(self.epoch);
    }
}

/// Copies one stream of one run.
struct Pump {
    hub: Arc<Hub>,
    epoch: u64,
    stream: Stream,
    logger: Option<Arc<Logger>>,
}

impl Pump {
    async fn run(self, receiver: io::Receiver) {
        let stream = self.stream;
        let log_stream = match stream {
            Stream::Stderr => berth_logs::Stream::Stderr,
            _ => berth_logs::Stream::Stdout,
        };
        // No buffer is held while nothing is written: most containers are silent most of the time.
        while receiver.readable().await.is_ok() {
            let mut buffer = BytesMut::with_capacity(READ);
            match receiver.try_read_buf(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {
                    // A few bytes must not keep a whole buffer while they wait for a client.
                    let bytes = match buffer.len() < READ / 2 {
                        true => Bytes::copy_from_slice(&buffer),
                        false => buffer.freeze(),
                    };
                    if let Some(logger) = &self.logger {
                        logger.write(log_stream, &bytes, Timestamp::now()).await;
                    }
                    self.hub.deliver(self.epoch, Chunk { stream, bytes }).await;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    }
}

async fn feed(stdin: io::Sender, typed: Arc<Mutex<mpsc::Receiver<Typed>>>, process: Process) {
    let mut typed = typed.lock().await;
    let mut stdin = Some(stdin);
    // What comes after the end is swallowed, so that nobody who types is stuck.
    while let Some(keys) = typed.recv().await {
        match keys {
            Typed::Data(bytes) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Typed::Eof => {
                // Our end first: the process sees the end when the last writer has closed.
                if stdin.take().is_some() {
                    close_shims_end(&process).await;
                }
            }
        }
    }
}

/// Lets the shim close its end, too. While containerd is restarted that is tried again: the
/// process would wait for the end of its input for ever.
async fn close_shims_end(process: &Process) {
    while let Err(error) = process.close_stdin().await {
        if !error.is_unreachable() {
            return tracing::debug!(%error, "closing standard input");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
#[path = "stdio_tests.rs"]
mod tests;
