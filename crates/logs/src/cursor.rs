//! A place in a log, and what stands there. Everything here blocks.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::decode::Decoder;
use crate::files::{Files, Source};
use crate::format::{Format, Next};
use crate::reader::{Position, ReadOptions};
use crate::tail::Found;
use crate::{Error, Line, Result, Stream, gzip};

/// How many bytes are read in one go.
const READ: usize = 64 * 1024;

/// How much memory the lines of one step take, about.
const STEP: usize = 256 * 1024;

/// The longest record; what is longer is skipped. Ours are below 100 KiB, attributes apart.
const LONGEST_RECORD: usize = 1024 * 1024;

/// What a step gave.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) lines: Vec<Line>,
    /// What comes behind `lines`.
    pub(crate) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// More, before the limit.
    More,
    /// Nothing as yet: the limit was reached.
    AtLimit,
    /// Nothing that is wanted.
    Done,
}

#[derive(Debug)]
pub(crate) struct Cursor {
    files: Arc<Files>,
    options: ReadOptions,
    decoder: Decoder,
    /// Whether the first line to read has been looked for.
    placed: bool,
    generation: u64,
    source: Option<Source>,
    /// Bytes read of this generation.
    offset: u64,
    /// Lines of this file still to pass over.
    skip: u64,
    /// The beginning of a record whose end is not read yet.
    carry: Vec<u8>,
    /// Whether the record being read is too long and is passed over.
    overlong: bool,
    /// Whether what is left of the file cannot be read.
    damaged: bool,
    /// Whether a line behind `until` was seen.
    past: bool,
}

impl Cursor {
    pub(crate) fn new(files: Arc<Files>, options: ReadOptions) -> Self {
        Self {
            decoder: Decoder::new(files.format()),
            files,
            options,
            placed: false,
            generation: 0,
            source: None,
            offset: 0,
            skip: 0,
            carry: Vec::new(),
            overlong: false,
            damaged: false,
            past: false,
        }
    }

    /// Reads on, up to the limit.
    pub(crate) fn step(&mut self, limit: Position) -> Result<Step> {
        if !std::mem::replace(&mut self.placed, true) {
            self.place(limit)?;
        }
        let mut then = Then::More;
        while then == Then::More && self.decoder.weight() < STEP {
            then = if self.past {
                Then::Done
            } else {
                self.advance(limit)?
            };
        }
        Ok(Step {
            lines: self.decoder.take().collect(),
            then,
        })
    }

    /// Reads one piece of the file at hand, or goes on to the next file.
    fn advance(&mut self, limit: Position) -> Result<Then> {
        let last = self.generation >= limit.generation;
        if self.source.is_none() {
            self.source = self.files.open(self.generation)?;
        }
        let Some(source) = &mut self.source else {
            if last {
                return Ok(Then::AtLimit);
            }
            tracing::debug!(path = %self.files.path().display(), "a container log was rotated away unread");
            return Ok(self.next_file());
        };
        if last && self.offset > limit.size {
            // Someone has emptied the file under us.
            self.offset = 0;
            self.carry.clear();
            (self.overlong, self.damaged) = (false, false);
        }
        let wanted = if last {
            limit.size - self.offset
        } else {
            u64::MAX
        };
        let start = self.carry.len();
        let length = usize::try_from(wanted).unwrap_or(usize::MAX).min(READ);
        self.carry.resize(start + length, 0);
        let room = self.carry.get_mut(start..).unwrap_or_default();
        let read = read(source, room, self.offset);
        self.carry.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) if last && limit.size != u64::MAX => Ok(Then::AtLimit),
            Ok(0) => {
                self.last_record();
                Ok(if last {
                    Then::AtLimit
                } else {
                    self.next_file()
                })
            }
            Ok(count) => {
                self.offset += count as u64;
                self.records();
                Ok(Then::More)
            }
            // A compressed file that is damaged: what can be read of it was read.
            Err(error) if matches!(source, Source::Gzip(_)) => {
                tracing::warn!(path = %self.files.path().display(), %error, "damaged rotated container log");
                Ok(if last {
                    Then::AtLimit
                } else {
                    self.next_file()
                })
            }
            Err(error) => Err(Error::io("read", self.files.path())(error)),
        }
    }

    fn next_file(&mut self) -> Then {
        self.generation += 1;
        (self.source, self.offset, self.skip) = (None, 0, 0);
        self.carry.clear();
        (self.overlong, self.damaged) = (false, false);
        Then::More
    }

    /// Decodes the whole records of `carry`.
    fn records(&mut self) {
        let carry = std::mem::take(&mut self.carry);
        let mut rest = carry.as_slice();
        let mut next = self.next_record(rest);
        while let Next::Record(record, behind) = next {
            rest = behind;
            if !std::mem::take(&mut self.overlong) {
                self.record(record);
            }
            if self.past {
                return;
            }
            next = self.next_record(rest);
        }
        if next == Next::Damaged {
            tracing::warn!(path = %self.files.path().display(), "damaged container log");
            self.damaged = true;
            return;
        }
        let (whole, length) = (carry.len() - rest.len(), rest.len());
        self.carry = carry;
        if length > LONGEST_RECORD {
            self.overlong = true;
            self.carry.clear();
        } else {
            self.carry.drain(..whole);
        }
    }

    /// What comes next; behind what is damaged nothing does, in this file.
    fn next_record<'a>(&self, bytes: &'a [u8]) -> Next<'a> {
        match self.damaged {
            true => Next::Part,
            false => self.files.format().next(bytes),
        }
    }

    /// The end of a file that is not being written any more: a record may lack its newline.
    fn last_record(&mut self) {
        let carry = std::mem::take(&mut self.carry);
        let lines = self.files.format() == Format::Json;
        if lines && !carry.is_empty() && !self.overlong {
            self.record(&carry);
        }
    }

    fn record(&mut self, record: &[u8]) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let Self {
            options,
            past,
            decoder,
            ..
        } = self;
        // What is no record is passed over: one bad line must not hide the others.
        let _ = decoder.record(record, |head| {
            if options.since.is_some_and(|since| head.time < since) {
                return false;
            }
            *past = options.until.is_some_and(|until| head.time > until);
            !*past
                && match head.stream {
                    Stream::Stdout => options.stdout,
                    Stream::Stderr => options.stderr,
                }
        });
    }

    /// Goes to the first line to read, from the end: the oldest files are not read when they hold
    /// only what is too old, or more lines than are wanted.
    fn place(&mut self, limit: Position) -> Result<()> {
        let mut wanted = self.options.tail;
        self.generation = limit.generation;
        if wanted == Some(0) {
            self.offset = limit.size;
            if limit.size == u64::MAX {
                self.past = true;
            }
            return Ok(());
        }
        for generation in (self.files.oldest(limit.generation)..=limit.generation).rev() {
            let Some(source) = self.files.open(generation)? else {
                continue;
            };
            let last = generation == limit.generation;
            // Not the end of the search: pieces of a long line carry older times than what stands
            // before them, so an older file may hold newer lines.
            let since = self.options.since.filter(|_| wanted.is_none() && !last);
            let format = self.files.format();
            if since.is_some_and(|since| is_before(&source, since, format)) {
                continue;
            }
            self.generation = generation;
            if let Some(lines) = &mut wanted {
                let size = if last { limit.size } else { u64::MAX };
                match self.place_in(source, size, *lines)? {
                    Found::At(_) => return Ok(()),
                    Found::Only(found) => *lines -= found,
                }
            }
        }
        Ok(())
    }

    /// Goes to the last so many lines of one file, when it has as many.
    fn place_in(&mut self, source: Source, size: u64, wanted: u64) -> Result<Found> {
        let failed = Error::io("read", self.files.path());
        match source {
            Source::Plain(file) => {
                let length = match file.metadata() {
                    Ok(metadata) => metadata.len().min(size),
                    Err(error) => return Err(failed(error)),
                };
                let format = self.files.format();
                let found = format.find(&file, length, wanted).map_err(failed)?;
                if let Found::At(offset) = found {
                    self.offset = offset;
                    self.source = Some(Source::Plain(file));
                }
                Ok(found)
            }
            Source::Gzip(unpacker) => {
                let lines = self.files.format().count(unpacker).unwrap_or_default();
                if lines < wanted {
                    return Ok(Found::Only(lines));
                }
                self.skip = lines - wanted;
                Ok(Found::At(0))
            }
        }
    }
}

fn read(source: &mut Source, into: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        let read = match source {
            Source::Plain(file) => file.read_at(into, offset),
            Source::Gzip(unpacker) => unpacker.read(into),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Whether all that a file holds is older than `since`, as far as can be told without reading it.
fn is_before(source: &Source, since: Timestamp, format: Format) -> bool {
    match source {
        Source::Plain(file) => format.latest(file).is_some_and(|latest| latest < since),
        Source::Gzip(unpacker) => unpacker
            .header()
            .and_then(|header| header.extra())
            .and_then(gzip::header_time)
            .is_some_and(|last| last < since),
    }
}
