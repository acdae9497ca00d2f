use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::files::{Files, lock};
use crate::format::{Encoder, Format};
use crate::reader::{Position, Reader};
use crate::splitter::Splitter;
use crate::writer::Writer;
use crate::{Error, LogConfig, Mode, Options, ReadOptions, Result, Stream, Subject};

/// How many bytes of records wait for the writer before the container does (`mode=blocking`).
const HIGH_WATER: usize = 256 * 1024;

/// How much of a chunk is encoded before other tasks get their turn: lines of one byte take a
/// worker thread a millisecond or so.
const SLICE: usize = 16 * 1024;

/// How long [`Logger::close`] waits for the disk.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The log of one run of a container. Clones are the same log.
///
/// What the container writes is encoded at once into a buffer; a job on the blocking pool takes
/// the whole buffer, writes it with one system call, and goes on until there is nothing more. So
/// batches grow with the load, and an idle log has neither a thread nor memory.
#[derive(Clone, Debug)]
pub struct Logger {
    /// `None`: the driver keeps nothing.
    shared: Option<Arc<Shared>>,
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines that `mode=non-blocking` dropped because the buffer was full.
    pub dropped: u64,
    /// Bytes of records that could not be written (disk full, I/O error).
    pub lost: u64,
}

#[derive(Debug)]
struct Shared {
    mode: Mode,
    files: Arc<Files>,
    buffer: Mutex<Buffer>,
    /// Told when the writer has taken the buffer and when it has come to rest.
    room: Notify,
    /// Locked by the writing job only.
    writer: Mutex<Writer>,
    position: watch::Sender<Position>,
}

#[derive(Debug)]
struct Buffer {
    stdout: Splitter,
    stderr: Splitter,
    encoder: Encoder,
    /// Encoded, not yet taken by the writer.
    records: Vec<u8>,
    /// How many bytes of text `records` holds: what `max-buffer-size` limits.
    text: usize,
    /// How many bytes of records there have ever been.
    total: u64,
    /// Whether the writing job runs.
    writing: bool,
    closed: bool,
    stats: Stats,
}

impl Logger {
    /// Opens the log at `path` (see [`crate::log_path`]) for a run of `subject`, appending to
    /// what earlier runs wrote. The container's folder must exist. Blocks for opening a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::InvalidOption`] for a bad tag template or regular expression.
    pub fn open(config: &LogConfig, path: &Path, subject: &Subject<'_>) -> Result<Self> {
        let Ok((options, format)) = config.readable() else {
            return Ok(Self { shared: None });
        };
        let encoder = format.encoder(&options.attributes(subject)?);
        if format == Format::Local {
            make_folder(path)?;
        }
        let files = Arc::new(Files::new(path, options.max_file, format));
        Ok(Self {
            shared: Some(Arc::new(Shared::open(options, files, encoder)?)),
        })
    }

    /// Logs a chunk that was read from the container's `stream` at `time`, whole or, with
    /// `mode=non-blocking`, as many of its lines as there is room for. With `mode=blocking` it
    /// waits while too much is waiting for the disk. After [`Logger::close`] it does nothing.
    /// Chunks of one stream must come one after the other; dropping the future loses what of the
    /// chunk was not taken yet.
    ///
    /// Must be called within a tokio runtime.
    pub async fn write(&self, stream: Stream, chunk: &[u8], time: Timestamp) {
        let Some(shared) = &self.shared else { return };
        for (index, slice) in chunk.chunks(SLICE).enumerate() {
            if index > 0 {
                tokio::task::yield_now().await;
            }
            if shared.mode == Mode::Blocking {
                shared
                    .wait(|buffer| buffer.records.len() < HIGH_WATER)
                    .await;
            }
            let mut buffer = lock(&shared.buffer);
            if buffer.closed {
                return;
            }
            buffer.feed(shared.mode, stream, slice, time);
            shared.start_writing(&mut buffer);
        }
    }

    /// The run is over and all its output was handed over: logs what came after the last
    /// newlines, waits (at most 10 s) until everything is in the file, and ends the followers
    /// when they have read it. A second call only waits.
    ///
    /// # Errors
    /// [`Error::CloseTimeout`]; the log is closed, and still being written.
    pub async fn close(&self, time: Timestamp) -> Result<()> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        {
            let mut buffer = lock(&shared.buffer);
            if !std::mem::replace(&mut buffer.closed, true) {
                buffer.finish(time);
                shared.start_writing(&mut buffer);
            }
        }
        let done = tokio::time::timeout(CLOSE_LIMIT, shared.at_rest()).await;
        shared
            .position
            .send_modify(|position| position.ended = true);
        done.map_err(|_| Error::CloseTimeout)
    }

    /// Reads this log, what was handed over before this call included.
    ///
    /// # Errors
    /// [`Error::ReadUnsupported`].
    pub fn read(&self, options: ReadOptions) -> Result<Reader> {
        let shared = self.shared.as_ref().ok_or(Error::ReadUnsupported)?;
        let total = lock(&shared.buffer).total;
        Ok(Reader::live(
            Arc::clone(&shared.files),
            options,
            shared.position.subscribe(),
            total,
        ))
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared
            .as_ref()
            .map_or_else(Stats::default, |shared| lock(&shared.buffer).stats)
    }
}

impl Shared {
    fn open(options: &Options, files: Arc<Files>, encoder: Encoder) -> Result<Self> {
        let writer = Writer::open(Arc::clone(&files), options)?;
        let (generation, size) = writer.position();
        let buffer = Buffer {
            stdout: Splitter::default(),
            stderr: Splitter::default(),
            encoder,
            records: Vec::new(),
            text: 0,
            total: 0,
            writing: false,
            closed: false,
            stats: Stats::default(),
        };
        Ok(Self {
            mode: options.mode,
            files,
            buffer: Mutex::new(buffer),
            room: Notify::new(),
            writer: Mutex::new(writer),
            position: watch::Sender::new(Position {
                generation,
                size,
                total: 0,
                ended: false,
            }),
        })
    }

    /// Waits until the buffer is as wished. Whoever makes it so tells `room`.
    async fn wait(&self, wished: impl Fn(&Buffer) -> bool) {
        let mut told = std::pin::pin!(self.room.notified());
        loop {
            told.as_mut().enable();
            if wished(&lock(&self.buffer)) {
                return;
            }
            told.as_mut().await;
            told.set(self.room.notified());
        }
    }

    async fn at_rest(&self) {
        self.wait(|buffer| !buffer.writing).await;
        let compression = lock(&self.writer).take_compression();
        if let Some(compression) = compression {
            // Its only way to fail is a panic, which tokio has reported.
            let _ = compression.await;
        }
    }

    fn start_writing(self: &Arc<Self>, buffer: &mut Buffer) {
        if !buffer.records.is_empty() && !buffer.writing {
            buffer.writing = true;
            let shared = Arc::clone(self);
            tokio::task::spawn_blocking(move || shared.write_all());
        }
    }

    /// The writing job.
    fn write_all(&self) {
        let _rest = RestOnPanic(self);
        let mut writer = lock(&self.writer);
        let mut batch = Vec::new();
        while let Some(total) = self.next_batch(&mut batch, writer.lost()) {
            self.room.notify_waiters();
            writer.append(&batch);
            let (generation, size) = writer.position();
            self.position.send_modify(|position| {
                *position = Position {
                    generation,
                    size,
                    total,
                    ended: position.ended,
                };
            });
        }
        drop(writer);
        self.room.notify_waiters();
    }

    /// Exchanges the batch for what has come meanwhile. When that is nothing, the job is over.
    fn next_batch(&self, batch: &mut Vec<u8>, lost: u64) -> Option<u64> {
        batch.clear();
        let mut buffer = lock(&self.buffer);
        buffer.stats.lost = lost;
        if buffer.records.is_empty() {
            buffer.writing = false;
            buffer.records = Vec::new();
            return None;
        }
        std::mem::swap(batch, &mut buffer.records);
        buffer.text = 0;
        Some(buffer.total)
    }
}

/// Makes the folder (mode 0700) that the local driver has in the container's.
fn make_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("create", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Lets nobody wait for ever for a job that has died.
struct RestOnPanic<'a>(&'a Shared);

impl Drop for RestOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.buffer).writing = false;
            self.0.room.notify_waiters();
        }
    }
}

impl Buffer {
    fn feed(&mut self, mode: Mode, stream: Stream, chunk: &[u8], time: Timestamp) {
        let Self {
            stdout,
            stderr,
            encoder,
            records,
            text,
            stats,
            ..
        } = self;
        let splitter = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        let before = records.len();
        splitter.feed(chunk, time, |time, line| {
            if let Mode::NonBlocking { buffer } = mode
                && *text > 0
                && text.saturating_add(line.len()) > buffer
            {
                stats.dropped += 1;
                return;
            }
            *text += line.len();
            encoder.record(stream, time, line, records);
        });
        self.total += (self.records.len() - before) as u64;
    }

    /// The ends of both streams. They are not dropped: nothing comes after them.
    fn finish(&mut self, time: Timestamp) {
        let Self {
            stdout,
            stderr,
            encoder,
            records,
            ..
        } = self;
        let before = records.len();
        stdout.finish(time, |time, line| {
            encoder.record(Stream::Stdout, time, line, records)
        });
        stderr.finish(time, |time, line| {
            encoder.record(Stream::Stderr, time, line, records)
        });
        self.total += (self.records.len() - before) as u64;
    }
}
