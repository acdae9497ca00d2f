//! Records to files.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::files::{Files, remove, suffixed};
use crate::{Error, Options, Result, gzip};

/// Appends records to a log and rotates its files. All calls block.
#[derive(Debug)]
pub(crate) struct Writer {
    files: Arc<Files>,
    file: File,
    size: u64,
    max_size: Option<u64>,
    /// Whether files that were rotated away are compressed.
    compress: bool,
    compressing: Option<JoinHandle<()>>,
    /// Whether the last write or rotation failed, so that one fault is told once, not per line.
    failing: bool,
    lost: u64,
}

impl Writer {
    /// Opens the log for appending, and cuts off the end of a record that a crash left unfinished.
    pub(crate) fn open(files: Arc<Files>, options: &Options) -> Result<Self> {
        let file = files.open_current()?;
        let size = files
            .format()
            .mend(&file)
            .map_err(Error::io("repair", files.path()))?;
        // What a crash during rotation or compression left; without them is as good.
        for leftover in [
            suffixed(files.path(), ".new"),
            suffixed(&files.name(1), gzip::UNFINISHED),
        ] {
            let _ = remove(&leftover);
        }
        let compress = options.compress && options.max_file > 1;
        let max_size = options.max_size;
        Ok(Self {
            files,
            file,
            size,
            max_size,
            compress,
            compressing: None,
            failing: false,
            lost: 0,
        })
    }

    /// The generation that is written, and how many bytes of it are.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.files.current(), self.size)
    }

    /// Bytes of records that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// The compression under way, if any.
    pub(crate) fn take_compression(&mut self) -> Option<JoinHandle<()>> {
        self.compressing.take()
    }

    /// Appends whole records; rotates where dockerd would: before the record that would begin at
    /// or behind `max-size`. What cannot be written is given up, so that the container never
    /// waits for a full disk.
    pub(crate) fn append(&mut self, mut records: &[u8]) {
        // Users empty log files with `truncate -s 0` while they are written.
        if let Ok(metadata) = self.file.metadata() {
            self.size = metadata.len();
        }
        let mut may_rotate = true;
        while !records.is_empty() {
            if may_rotate && self.max_size.is_some_and(|max| self.size >= max) {
                may_rotate = self.rotate();
            }
            let length = if may_rotate {
                self.fitting(records)
            } else {
                records.len()
            };
            let (part, rest) = records.split_at(length);
            if !self.write(part) {
                self.lost += rest.len() as u64;
                return;
            }
            records = rest;
        }
    }

    /// How many bytes of `records` go into this file: up to the record in which it gets full.
    fn fitting(&self, records: &[u8]) -> usize {
        let Some(max) = self.max_size else {
            return records.len();
        };
        let from =
            usize::try_from(max.saturating_sub(self.size).saturating_sub(1)).unwrap_or(usize::MAX);
        self.files.format().cut(records, from)
    }

    fn write(&mut self, records: &[u8]) -> bool {
        let mut written = 0;
        while let Some(rest) = records.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return self.give_up(records, written, &io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.give_up(records, written, &error),
            }
        }
        self.size += records.len() as u64;
        if std::mem::take(&mut self.failing) {
            tracing::info!(path = %self.files.path().display(), lost = self.lost, "container log is written again");
        }
        true
    }

    /// Takes back the record that was written in part, so that the file holds whole ones.
    fn give_up(&mut self, records: &[u8], written: usize, error: &io::Error) -> bool {
        let done = records.get(..written).unwrap_or_default();
        let whole = self.files.format().whole(done);
        let size = self.size + whole as u64;
        self.tell(
            error,
            "cannot write container log; its lines are lost until it can be written",
        );
        self.size = match self.file.set_len(size) {
            Ok(()) => size,
            Err(_) => self.size + written as u64,
        };
        self.lost += (records.len() - whole) as u64;
        false
    }

    /// Starts the next file. When that fails, the old one just grows on.
    fn rotate(&mut self) -> bool {
        if let Some(compression) = self.compressing.take() {
            // A rotation must not move a file that is being compressed.
            let _ = tokio::runtime::Handle::current().block_on(compression);
        }
        match self.files.rotate() {
            Ok(file) => {
                self.file = file;
                self.size = 0;
            }
            Err(error) => {
                self.tell(&error, "cannot rotate container log");
                return false;
            }
        }
        if self.compress {
            let (path, format) = (self.files.name(1), self.files.format());
            self.compressing = Some(tokio::task::spawn_blocking(move || {
                if let Err(error) = gzip::compress(&path, format) {
                    tracing::warn!(%error, "cannot compress container log");
                }
            }));
        }
        true
    }

    fn tell(&mut self, error: &dyn std::error::Error, what: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(path = %self.files.path().display(), %error, "{what}");
        }
    }
}
