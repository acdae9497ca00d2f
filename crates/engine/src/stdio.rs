//! A container's standard streams: from its FIFOs to the log and to everybody attached, and from
//! who types to its standard input.
//!
//! ```text
//!             ┌─> Logger
//! FIFO ─ pump ┤                      attached client ─ Keys ─┐
//!             └─> subscribers ...    attached client ─ Keys ─┴─ feed ─> stdin FIFO
//! ```
//!
//! The [`Hub`] lives as long as the container, over its runs, so that a client can attach before
//! the start; a [`Session`] is what one run adds: its pumps and its log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use berth_ctrd::{Process, Streams, io};
use berth_logs::Logger;
use berth_wire::stdcopy::Stream;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

/// The most that is read from a container at a time, in bytes: as much as a pipe holds.
const READ: usize = 64 << 10;
/// How many pieces may wait for one attached client before the container is held back.
const BACKLOG: usize = 64;
/// How long the rest of the output may take after the end of the process and of its shim.
const DRAIN: Duration = Duration::from_secs(10);

/// Something that a process wrote.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Where it was written.
    pub stream: Stream,
    /// What was written.
    pub bytes: Bytes,
}

/// What attached clients send to standard input, and in which epoch they attached.
#[derive(Debug)]
struct Keys {
    epoch: u64,
    what: Typed,
}

#[derive(Debug)]
enum Typed {
    Data(Bytes),
    Eof,
}

#[derive(Debug)]
struct Subscriber {
    stdout: bool,
    stderr: bool,
    chunks: mpsc::Sender<Chunk>,
}

/// The meeting place of a process and its clients.
#[derive(Debug)]
pub(crate) struct Hub {
    subscribers: ArcSwap<Vec<Arc<Subscriber>>>,
    keyboard: mpsc::Sender<Keys>,
    typed: Arc<Mutex<mpsc::Receiver<Keys>>>,
    /// Which run's clients are listened to: counts the runs that have ended.
    epoch: AtomicU64,
    logger: ArcSwapOption<Logger>,
}

impl Hub {
    pub(crate) fn new() -> Arc<Hub> {
        let (keyboard, typed) = mpsc::channel(16);
        Arc::new(Hub {
            subscribers: ArcSwap::default(),
            keyboard,
            typed: Arc::new(Mutex::new(typed)),
            epoch: AtomicU64::new(0),
            logger: ArcSwapOption::empty(),
        })
    }

    /// What is written from now on, up to the end of the run (of the next one, if none is on).
    pub(crate) fn subscribe(&self, stdout: bool, stderr: bool) -> mpsc::Receiver<Chunk> {
        let (chunks, receiver) = mpsc::channel(BACKLOG);
        let subscriber = Arc::new(Subscriber { stdout, stderr, chunks });
        self.subscribers.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(subscriber.clone());
            all
        });
        receiver
    }

    /// A keyboard for a client that attaches now.
    pub(crate) fn keyboard(&self) -> Keyboard {
        Keyboard { keys: self.keyboard.clone(), epoch: self.epoch.load(Ordering::Acquire) }
    }

    /// The log of the present run.
    pub(crate) fn logger(&self) -> Option<Arc<Logger>> {
        self.logger.load_full()
    }

    /// Starts copying for a run whose process has been made.
    pub(crate) fn begin(
        self: &Arc<Hub>,
        streams: Streams,
        process: Process,
        logger: Option<Logger>,
    ) -> Session {
        let logger = logger.map(Arc::new);
        self.logger.store(logger.clone());
        let pump = |receiver, stream| {
            tokio::spawn(pump(self.clone(), receiver, stream, logger.clone()))
        };
        let mut pumps = vec![pump(streams.stdout, Stream::Stdout)];
        pumps.extend(streams.stderr.map(|stderr| pump(stderr, Stream::Stderr)));
        let feed = streams.stdin.map(|stdin| {
            let epoch = self.epoch.load(Ordering::Acquire);
            tokio::spawn(feed(stdin, self.typed.clone(), epoch, process))
        });
        Session { hub: self.clone(), pumps, feed, logger }
    }

    /// The run is over, or could not begin: everybody attached gets to the end of the stream.
    pub(crate) fn end(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.subscribers.store(Arc::default());
        self.logger.store(None);
    }

    async fn deliver(&self, chunk: Chunk) {
        let mut left = false;
        for subscriber in self.subscribers.load_full().iter() {
            let wanted = match chunk.stream {
                Stream::Stderr => subscriber.stderr,
                _ => subscriber.stdout,
            };
            if wanted {
                left |= subscriber.chunks.send(chunk.clone()).await.is_err();
            }
        }
        if left {
            self.subscribers.rcu(|all| {
                let stays = |subscriber: &&Arc<Subscriber>| !subscriber.chunks.is_closed();
                all.iter().filter(stays).cloned().collect::<Vec<_>>()
            });
        }
    }
}

/// One client's way to standard input.
#[derive(Clone, Debug)]
pub(crate) struct Keyboard {
    keys: mpsc::Sender<Keys>,
    epoch: u64,
}

impl Keyboard {
    /// Types; waits while the process does not read. False when there is no container any more.
    pub(crate) async fn write(&self, bytes: Bytes) -> bool {
        self.send(Typed::Data(bytes)).await
    }

    /// Ends standard input after what was typed.
    pub(crate) async fn close(&self) {
        self.send(Typed::Eof).await;
    }

    async fn send(&self, what: Typed) -> bool {
        self.keys.send(Keys { epoch: self.epoch, what }).await.is_ok()
    }
}

/// The copying of one run.
#[derive(Debug)]
pub(crate) struct Session {
    hub: Arc<Hub>,
    pumps: Vec<JoinHandle<()>>,
    feed: Option<JoinHandle<()>>,
    logger: Option<Arc<Logger>>,
}

impl Session {
    /// Sees the run out, once its process and shim have ended: the rest of the output is copied,
    /// the log closed, and everybody attached reads the end of the stream.
    pub(crate) async fn finish(mut self) -> Vec<String> {
        let mut errors = Vec::new();
        if let Some(feed) = self.feed.take() {
            feed.abort();
        }
        let deadline = tokio::time::Instant::now() + DRAIN;
        for mut pump in self.pumps.drain(..) {
            if tokio::time::timeout_at(deadline, &mut pump).await.is_err() {
                pump.abort();
                errors.push("something holds the container's output open".to_owned());
            }
        }
        if let Some(logger) = self.logger.take()
            && let Err(error) = logger.close(Timestamp::now()).await
        {
            errors.push(error.to_string());
        }
        self.hub.end();
        errors
    }
}

impl Session {
    /// Ends the copying for a process that never ran: nobody will ever close its streams.
    pub(crate) fn abandon(self) {
        for task in self.pumps.iter().chain(&self.feed) {
            task.abort();
        }
        self.hub.end();
    }
}

async fn pump(hub: Arc<Hub>, receiver: io::Receiver, stream: Stream, logger: Option<Arc<Logger>>) {
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
                let bytes = buffer.freeze();
                if let Some(logger) = &logger {
                    logger.write(log_stream, &bytes, Timestamp::now()).await;
                }
                hub.deliver(Chunk { stream, bytes }).await;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
}

async fn feed(
    stdin: io::Sender,
    typed: Arc<Mutex<mpsc::Receiver<Keys>>>,
    epoch: u64,
    process: Process,
) {
    let mut typed = typed.lock().await;
    let mut stdin = Some(stdin);
    // What comes after the end is swallowed, so that nobody who types is stuck.
    while let Some(keys) = typed.recv().await {
        if keys.epoch != epoch {
            continue;
        }
        match keys.what {
            Typed::Data(bytes) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Typed::Eof => {
                // Our end first: the process sees the end when the last writer has closed.
                if stdin.take().is_some()
                    && let Err(error) = process.close_stdin().await
                {
                    tracing::debug!(%error, "closing standard input");
                }
            }
        }
    }
}
