use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cursor::{Cursor, Step, Then};
use crate::files::Files;
use crate::{Driver, Error, Line, LogConfig, Result};

/// How long a reader waits for what was handed to the logger before it, and how long a follower
/// goes on behind `until` for what was still on its way to the file.
const SETTLE: Duration = Duration::from_millis(100);

/// Which lines to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// The last so many lines of the log, counted before any other choice, as dockerd does;
    /// `None`: all.
    pub tail: Option<u64>,
    /// Only lines of this time or later.
    pub since: Option<Timestamp>,
    /// Only what stands before the first line that is later than this.
    pub until: Option<Timestamp>,
    /// Go on with what is written from now on, till the logger closes (or `until` passes).
    pub follow: bool,
}

impl Default for ReadOptions {
    /// All there is.
    fn default() -> Self {
        Self {
            stdout: true,
            stderr: true,
            tail: None,
            since: None,
            until: None,
            follow: false,
        }
    }
}

/// How far a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) generation: u64,
    /// Of the generation's file; `u64::MAX`: as far as it goes.
    pub(crate) size: u64,
    /// Bytes of records done with, whether written or lost.
    pub(crate) total: u64,
    /// Nothing will follow.
    pub(crate) ended: bool,
}

/// A log's lines, oldest first. Holds at most about half a MiB.
///
/// A follower that is slower than the container for so long that `max-file` files were rotated
/// away misses the lines that were removed with them.
#[derive(Debug)]
pub struct Reader {
    lines: std::vec::IntoIter<Line>,
    state: State,
    options: ReadOptions,
    limit: Option<Position>,
    live: Option<Live>,
}

/// The logger's side.
#[derive(Debug)]
struct Live {
    position: watch::Receiver<Position>,
    /// Bytes of records that had been handed over when reading began.
    total: u64,
}

#[derive(Debug)]
enum State {
    /// There may be more before the limit.
    Ready(Box<Cursor>),
    /// A job reads; it outlives a dropped [`Reader::next`].
    Reading(JoinHandle<(Box<Cursor>, Result<Step>)>),
    /// All was read up to the limit.
    AtLimit(Box<Cursor>),
    Done,
}

impl Reader {
    /// Reads the log of a container that is not running, from its files. `follow` has no effect.
    /// No file is no line.
    ///
    /// # Errors
    /// [`Error::ReadUnsupported`].
    pub fn open(config: &LogConfig, path: &Path, mut options: ReadOptions) -> Result<Self> {
        let (options_of_log, format) = config.readable()?;
        let files = Arc::new(Files::new(path, options_of_log.max_file, format));
        options.follow = false;
        let generation = files.current();
        let limit = Position {
            generation,
            size: u64::MAX,
            total: 0,
            ended: true,
        };
        Ok(Self::new(files, options, Some(limit), None))
    }

    /// Reads the log of a running container, at least up to where `total` bytes of records were
    /// written.
    pub(crate) fn live(
        files: Arc<Files>,
        options: ReadOptions,
        mut position: watch::Receiver<Position>,
        total: u64,
    ) -> Self {
        // A follower counts from where the log is at the call: what comes after must not be lost.
        let limit = options.follow.then(|| *position.borrow_and_update());
        Self::new(files, options, limit, Some(Live { position, total }))
    }

    fn new(
        files: Arc<Files>,
        options: ReadOptions,
        limit: Option<Position>,
        live: Option<Live>,
    ) -> Self {
        let cursor = Box::new(Cursor::new(files, options.clone()));
        Self {
            lines: Vec::new().into_iter(),
            state: State::Ready(cursor),
            options,
            limit,
            live,
        }
    }

    /// The next line; `None` at the end, also after an error. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Io`]. A record that cannot be decoded is no error: it is passed over.
    pub async fn next(&mut self) -> Option<Result<Line>> {
        loop {
            if let Some(line) = self.lines.next() {
                return Some(Ok(line));
            }
            let limit = match self.limit {
                Some(limit) => limit,
                None => self.first_limit().await,
            };
            match &mut self.state {
                State::Done => return None,
                State::AtLimit(_) => self.next_limit(limit).await,
                State::Ready(_) => self.read(limit),
                State::Reading(job) => {
                    let done = job.await;
                    if let Some(error) = self.take(done) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    fn read(&mut self, limit: Position) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Ready(mut cursor) => {
                self.state = State::Reading(tokio::task::spawn_blocking(move || {
                    let step = cursor.step(limit);
                    (cursor, step)
                }));
            }
            other => self.state = other,
        }
    }

    fn take(&mut self, done: JobDone) -> Option<Error> {
        self.state = State::Done;
        let (cursor, step) = match done {
            Ok((cursor, Ok(step))) => (cursor, step),
            Ok((_, Err(error))) => return Some(error),
            // The runtime is shutting down, or the job has panicked, which tokio has reported.
            Err(_) => return Some(Error::Closed),
        };
        self.lines = step.lines.into_iter();
        match step.then {
            Then::More => self.state = State::Ready(cursor),
            Then::AtLimit => self.state = State::AtLimit(cursor),
            Then::Done => {}
        }
        None
    }

    /// How far the log was written when reading began. What was handed over before, but not
    /// written yet, is waited for; a follower gets it anyway.
    async fn first_limit(&mut self) -> Position {
        let Some(live) = &mut self.live else {
            let nothing = Position {
                generation: 0,
                size: 0,
                total: 0,
                ended: true,
            };
            return *self.limit.get_or_insert(nothing);
        };
        let total = live.total;
        let written = live
            .position
            .wait_for(|position| position.total >= total || position.ended);
        let _ = tokio::time::timeout(SETTLE, written).await;
        *self.limit.insert(*live.position.borrow_and_update())
    }

    /// Waits for more, or ends.
    async fn next_limit(&mut self, reached: Position) {
        let live = self
            .live
            .as_mut()
            .filter(|_| self.options.follow && !reached.ended);
        let Some(live) = live else {
            self.state = State::Done;
            return;
        };
        let moved = wait_until(self.options.until, live.position.changed()).await;
        let mut limit = *live.position.borrow_and_update();
        // No logger, or `until` has passed: what is there is all there will be.
        limit.ended |= moved != Some(true);
        self.limit = Some(limit);
        if let State::AtLimit(cursor) = std::mem::replace(&mut self.state, State::Done) {
            self.state = State::Ready(cursor);
        }
    }
}

type JobDone = std::result::Result<(Box<Cursor>, Result<Step>), tokio::task::JoinError>;

/// Whether the log has moved; `None`: `until` came first.
async fn wait_until<E>(
    until: Option<Timestamp>,
    changed: impl Future<Output = std::result::Result<(), E>>,
) -> Option<bool> {
    let Some(until) = until else {
        return Some(changed.await.is_ok());
    };
    let left = Timestamp::now()
        .until(until)
        .ok()
        .and_then(|span| Duration::try_from(span).ok());
    let deadline = Instant::now() + left.unwrap_or_default() + SETTLE;
    tokio::time::timeout_at(deadline, changed)
        .await
        .ok()
        .map(|changed| changed.is_ok())
}

/// Where a container's log is, in its folder. With the json-file driver this is inspect's `LogPath`;
/// where the local driver keeps what it does is nobody else's business.
#[must_use]
pub fn log_path(driver: &str, folder: &Path, id: &str) -> PathBuf {
    match driver == Driver::Local.as_str() {
        true => folder.join("local-logs").join("container.log"),
        false => folder.join(format!("{id}-json.log")),
    }
}
