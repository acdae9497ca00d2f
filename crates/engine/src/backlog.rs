//! What an attached client has yet to read: a little of it in memory, the rest on disk.
//!
//! ```text
//! Writer ──> head ─────────────────────────────────> Reader     the client keeps up
//! Writer ──> staged ──job──> segment, segment, … ──> Reader     the client has fallen behind
//! ```
//!
//! A client that reads slowly holds up neither the container nor another client, and loses nothing
//! up to a bound. At the bound it alone is cut off: it reads all that came before, then why the
//! rest is missing, then the end.
//!
//! Segments are files without a name, so that nothing is left of them whatever dies; one that has
//! been read is given back at once. Only a job on the blocking pool writes to the disk: who hands
//! output over waits for it at most [`STALL`], and then gives the client up.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_wire::stdcopy::Stream;
use bytes::{Buf, BufMut, Bytes};
use tokio::sync::Notify;

use crate::stdio::Chunk;

/// The longest piece that is stored as one, in bytes.
const PIECE: usize = 64 << 10;
/// What stands before each piece in a segment: its stream and its length.
const FRAME: usize = 5;
/// How much is read back at a time: at least one piece.
const BLOCK: usize = 2 * (PIECE + FRAME);
/// What a piece in memory costs besides its bytes, so that many small ones are bounded, too.
const OVERHEAD: usize = 64;
/// How long the disk may hold up who hands output over, before the client is given up.
const STALL: Duration = Duration::from_secs(2);

/// The bounds of one client's backlog, in bytes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// In memory while the client keeps up.
    memory: usize,
    /// In memory on the way to the disk.
    staged: usize,
    /// After how much the next segment is begun.
    segment: u64,
    /// On disk.
    disk: u64,
}

const BOUNDS: Bounds = Bounds {
    memory: 256 << 10,
    staged: 512 << 10,
    segment: 32 << 20,
    disk: 1 << 30,
};

/// Where backlogs go that do not fit into memory.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    bounds: Bounds,
}

impl Spool {
    /// Segments go into `directory`, which is made when the first is needed.
    pub(crate) fn new(directory: PathBuf) -> Arc<Spool> {
        let bounds = BOUNDS;
        Arc::new(Spool { directory, bounds })
    }

    /// An empty backlog. `notice` is the stream on which the client reads that it was cut off: the
    /// one that stdcopy has for the daemon's errors is not shown by the docker CLI.
    pub(crate) fn backlog(self: &Arc<Spool>, notice: Stream) -> (Writer, Reader) {
        let inner = Arc::new(Inner {
            spool: self.clone(),
            notice,
            state: Mutex::default(),
            ready: Notify::new(),
            room: Notify::new(),
        });
        let reader = Reader {
            inner: inner.clone(),
            read: VecDeque::new(),
        };
        (Writer { inner }, reader)
    }

    /// A new segment, for a client that has `used` bytes on disk already: it may have half as much
    /// as is left for others.
    fn segment(&self, used: u64) -> io::Result<File> {
        let file = unnamed(&self.directory)?;
        let disk = rustix::fs::fstatvfs(&file)?;
        if used + self.bounds.segment > disk.f_bavail.saturating_mul(disk.f_frsize) / 2 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(file)
    }
}

fn unnamed(directory: &Path) -> io::Result<File> {
    match tempfile::tempfile_in(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory)?;
            tempfile::tempfile_in(directory)
        }
        opened => opened,
    }
}

/// Whether a piece was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Yes.
    Yes,
    /// Yes, but before the next [`Writer::settle`] must be awaited.
    Crowded,
    /// Nobody reads any more, or the client was cut off.
    No,
}

/// Where the output is handed over. Dropping it is the end of the stream.
#[derive(Debug)]
pub(crate) struct Writer {
    inner: Arc<Inner>,
}

impl Writer {
    /// Hands a piece over. Never waits.
    pub(crate) fn push(&self, chunk: Chunk) -> Taken {
        let inner = &self.inner;
        let bounds = inner.spool.bounds;
        let mut state = inner.lock();
        if state.gone || state.cut.is_some() {
            return Taken::No;
        }
        let cost = chunk.bytes.len() + OVERHEAD;
        if state.on_disk() || state.head_cost + cost > bounds.memory {
            for piece in chunk.bytes.chunks(PIECE) {
                frame(&mut state.staged, chunk.stream, piece);
            }
            inner.begin_spilling(&mut state);
        } else {
            state.head_cost += cost;
            state.head.push_back(chunk);
            inner.ready.notify_one();
        }
        match state.staged.len() > bounds.staged {
            true => Taken::Crowded,
            false => Taken::Yes,
        }
    }

    /// Waits for the disk to take what is staged; a client for which that takes too long is cut
    /// off.
    pub(crate) async fn settle(&self) {
        let inner = &self.inner;
        let settled = async {
            let mut told = std::pin::pin!(inner.room.notified());
            loop {
                told.as_mut().enable();
                {
                    let state = inner.lock();
                    let crowded = state.staged.len() > inner.spool.bounds.staged;
                    if !crowded || state.gone || state.cut.is_some() {
                        return;
                    }
                }
                told.as_mut().await;
                told.set(inner.room.notified());
            }
        };
        if tokio::time::timeout(STALL, settled).await.is_err() {
            inner.cut("the disk for its backlog does not keep up");
        }
    }

    /// Whether nothing that is handed over will be read.
    pub(crate) fn is_closed(&self) -> bool {
        let state = self.inner.lock();
        state.gone || state.cut.is_some()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inner.lock().ended = true;
        self.inner.ready.notify_one();
    }
}

/// The client's side. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Reader {
    inner: Arc<Inner>,
    /// Read back from the disk.
    read: VecDeque<Chunk>,
}

/// What there is for the reader.
enum Next {
    Chunk(Chunk),
    /// A part of a segment that has been written.
    Stored(Arc<File>, u64, usize),
    Nothing,
    End,
}

impl Reader {
    /// The next piece; `None` at the end. Dropping the future loses nothing.
    pub(crate) async fn recv(&mut self) -> Option<Chunk> {
        loop {
            if let Some(chunk) = self.read.pop_front() {
                return Some(chunk);
            }
            let next = self.inner.next();
            match next {
                Next::Chunk(chunk) => return Some(chunk),
                Next::End => return None,
                Next::Nothing => self.inner.ready.notified().await,
                Next::Stored(file, from, length) => {
                    let read = tokio::task::spawn_blocking(move || fetch(&file, from, length));
                    match read
                        .await
                        .unwrap_or_else(|error| Err(io::Error::other(error)))
                    {
                        Ok((chunks, consumed)) => {
                            self.inner.consumed(consumed);
                            self.read = chunks;
                        }
                        Err(error) => self.inner.lose(&error),
                    }
                }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        *state = State {
            gone: true,
            ..State::default()
        };
        drop(state);
        self.inner.room.notify_waiters();
    }
}

#[derive(Debug)]
struct Inner {
    spool: Arc<Spool>,
    notice: Stream,
    state: Mutex<State>,
    /// Told to the reader: there is something, or it is the end.
    ready: Notify,
    /// Told to who hands over: what was staged is being written.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    head: VecDeque<Chunk>,
    head_cost: usize,
    /// The oldest first; only the last is written to.
    segments: VecDeque<Segment>,
    /// Whole frames for the disk.
    staged: Vec<u8>,
    /// The job runs.
    spilling: bool,
    /// No piece is taken any more: what the client is told after the last one.
    cut: Option<Bytes>,
    ended: bool,
    gone: bool,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    written: u64,
    read: u64,
}

impl State {
    fn on_disk(&self) -> bool {
        self.spilling || !self.staged.is_empty() || !self.segments.is_empty()
    }

    fn used(&self) -> u64 {
        self.segments.iter().map(|segment| segment.written).sum()
    }

    /// Gives back the segments that have been read and will not be written to.
    fn give_back(&mut self, full: u64) {
        let idle = !self.spilling && self.staged.is_empty();
        while let Some(first) = self.segments.front()
            && first.read == first.written
            && (idle || self.segments.len() > 1 || first.written >= full)
        {
            self.segments.pop_front();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next {
        let mut state = self.lock();
        if let Some(chunk) = state.head.pop_front() {
            state.head_cost -= chunk.bytes.len() + OVERHEAD;
            return Next::Chunk(chunk);
        }
        state.give_back(self.spool.bounds.segment);
        if let Some(first) = state.segments.front()
            && first.read < first.written
        {
            let length = usize::try_from(first.written - first.read).unwrap_or(BLOCK);
            return Next::Stored(first.file.clone(), first.read, length.min(BLOCK));
        }
        // A disk that hangs is not waited for: what is on its way there is part of what is missing.
        if state.cut.is_none() && (state.spilling || !state.ended) {
            return Next::Nothing;
        }
        match &mut state.cut {
            // Told once.
            Some(words) if !words.is_empty() => Next::Chunk(Chunk {
                stream: self.notice,
                bytes: std::mem::take(words),
            }),
            _ => Next::End,
        }
    }

    fn consumed(&self, bytes: usize) {
        let mut state = self.lock();
        if let Some(first) = state.segments.front_mut() {
            first.read += bytes as u64;
        }
    }

    /// What was stored cannot be read: the rest is lost.
    fn lose(&self, error: &io::Error) {
        self.cut(&format!("its backlog cannot be read: {error}"));
        self.lock().segments.clear();
    }

    /// Takes nothing more for this client, which reads why after what was taken.
    fn cut(&self, why: &str) {
        let mut state = self.lock();
        if state.cut.is_none() && !state.gone {
            tracing::warn!(why, "an attached client reads too slowly and is cut off");
            let words = format!(
                "berthd: output is missing from here on: this client reads too slowly, and {why}\r\n"
            );
            state.cut = Some(Bytes::from(words));
            state.staged = Vec::new();
        }
        drop(state);
        self.ready.notify_one();
        self.room.notify_waiters();
    }

    fn begin_spilling(self: &Arc<Inner>, state: &mut State) {
        if !state.spilling {
            state.spilling = true;
            let inner = self.clone();
            tokio::task::spawn_blocking(move || inner.spill());
        }
    }

    /// The job: takes all that is staged and writes it, until there is nothing more.
    fn spill(&self) {
        loop {
            let batch = {
                let mut state = self.lock();
                if state.staged.is_empty() {
                    state.spilling = false;
                    break;
                }
                std::mem::take(&mut state.staged)
            };
            self.room.notify_waiters();
            if let Err(error) = self.store(&batch) {
                let why = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "the disk has no room for more of its backlog".to_owned()
                    }
                    io::ErrorKind::FileTooLarge => {
                        let bound = self.spool.bounds.disk >> 20;
                        format!("its backlog has reached {bound} MiB")
                    }
                    _ => format!("its backlog cannot be written: {error}"),
                };
                self.lock().spilling = false;
                self.cut(&why);
                break;
            }
            self.ready.notify_one();
        }
        self.ready.notify_one();
    }

    fn store(&self, batch: &[u8]) -> io::Result<()> {
        let bounds = self.spool.bounds;
        let (last, used) = {
            let state = self.lock();
            let last = state.segments.back();
            let last = last.filter(|segment| segment.written < bounds.segment);
            let last = last.map(|segment| (segment.file.clone(), segment.written));
            (last, state.used())
        };
        if used + batch.len() as u64 > bounds.disk {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let fresh = last.is_none();
        let (file, at) = match last {
            Some(last) => last,
            None => (Arc::new(self.spool.segment(used)?), 0),
        };
        file.write_all_at(batch, at)?;
        let mut state = self.lock();
        if state.gone {
            return Ok(());
        }
        if fresh {
            state.segments.push_back(Segment {
                file,
                written: 0,
                read: 0,
            });
        }
        if let Some(last) = state.segments.back_mut() {
            last.written += batch.len() as u64;
        }
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, stream: Stream, piece: &[u8]) {
    out.put_u8(u8::from(stream == Stream::Stderr));
    out.put_u32(u32::try_from(piece.len()).unwrap_or_default());
    out.put_slice(piece);
}

/// Reads back the whole frames of a part of a segment: the pieces, and how long their frames are.
fn fetch(file: &File, from: u64, length: usize) -> io::Result<(VecDeque<Chunk>, usize)> {
    let mut block = vec![0; length];
    file.read_exact_at(&mut block, from)?;
    let mut rest = Bytes::from(block);
    let mut chunks = VecDeque::new();
    while rest.len() >= FRAME {
        let mut header = rest.slice(..FRAME);
        let stream = match header.get_u8() {
            0 => Stream::Stdout,
            _ => Stream::Stderr,
        };
        let length = header.get_u32() as usize;
        if rest.len() < FRAME + length {
            break;
        }
        rest.advance(FRAME);
        let bytes = rest.split_to(length);
        chunks.push_back(Chunk { stream, bytes });
    }
    match chunks.is_empty() {
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok((chunks, length - rest.len())),
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
