//! The `local` driver's records: dockerd's, byte for byte.
//!
//! ```text
//! ┌ size ┐ LogEntry (protobuf) ┌ size ┐     sizes: 4 bytes, big-endian
//! ```
//!
//! The size stands at both ends, so a file can be walked from either. A file whose walk comes upon
//! something else is damaged from there on: nothing tells where the next record begins.

mod entry;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use jiff::Timestamp;

use crate::tail::Found;

pub(crate) use entry::{Encoder, Entry};

/// The bytes of one size.
const SIZE: usize = 4;

/// The longest entry that is taken for one, as in dockerd.
const LONGEST: usize = 1_000_000;

/// How far back from a file's end the latest time is looked for.
const LOOK_BACK: u64 = 64 * 1024;

/// What a buffer begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A record: its entry, and how many bytes all of it takes.
    Whole(&'a [u8], usize),
    /// The beginning of one.
    Part,
    /// No record.
    Damaged,
}

/// Reads one size.
fn size(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.get(..SIZE)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

/// What `bytes` begin with.
pub(crate) fn frame(bytes: &[u8]) -> Frame<'_> {
    let Some(length) = size(bytes) else {
        return Frame::Part;
    };
    if length > LONGEST {
        return Frame::Damaged;
    }
    let whole = length + 2 * SIZE;
    match (
        bytes.get(SIZE..SIZE + length),
        bytes.get(SIZE + length..whole),
    ) {
        (Some(entry), Some(end)) if size(end) == Some(length) => Frame::Whole(entry, whole),
        (Some(_), Some(_)) => Frame::Damaged,
        _ => Frame::Part,
    }
}

/// How many bytes of `records` are whole records, up to the one that reaches behind `from`.
pub(crate) fn cut(records: &[u8], from: usize) -> usize {
    let mut end = 0;
    while end <= from
        && let Some(rest) = records.get(end..)
        && let Frame::Whole(_, length) = frame(rest)
    {
        end += length;
    }
    end
}

/// Where the record that ends at `end` begins; `None`: none ends there.
fn back(file: &File, end: u64) -> io::Result<Option<u64>> {
    let sides = 2 * SIZE as u64;
    if end < sides {
        return Ok(None);
    }
    let mut bytes = [0; SIZE];
    file.read_exact_at(&mut bytes, end - SIZE as u64)?;
    let Some(start) = end.checked_sub(sides + u64::from(u32::from_be_bytes(bytes))) else {
        return Ok(None);
    };
    let last = bytes;
    file.read_exact_at(&mut bytes, start)?;
    Ok((bytes == last).then_some(start))
}

/// The records of a file, told from its beginning.
struct Records<R> {
    from: R,
    entry: Vec<u8>,
}

impl<R: Read> Records<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            entry: Vec::new(),
        }
    }

    /// The bytes of the next record; `None`: there is no whole one any more.
    fn next(&mut self) -> io::Result<Option<u64>> {
        let mut bytes = [0; SIZE];
        if !self.fill(&mut bytes)? {
            return Ok(None);
        }
        let Some(length) = size(&bytes).filter(|length| *length <= LONGEST) else {
            return Ok(None);
        };
        let mut entry = std::mem::take(&mut self.entry);
        entry.resize(length + SIZE, 0);
        let whole = self.fill(&mut entry)? && entry.ends_with(&bytes);
        self.entry = entry;
        Ok(whole.then_some((length + 2 * SIZE) as u64))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.from.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How many of the first `limit` bytes of a file are whole records.
fn whole(file: &File, limit: u64) -> io::Result<u64> {
    let mut at = 0;
    let source = FromStart { file, at: &mut at };
    let mut records = Records::new(BufReader::with_capacity(
        LOOK_BACK as usize,
        source.take(limit),
    ));
    let mut end = 0;
    while let Some(length) = records.next()? {
        end += length;
    }
    Ok(end)
}

/// Reads a file from its beginning, wherever its own position is.
struct FromStart<'a> {
    file: &'a File,
    at: &'a mut u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, *self.at)?;
        *self.at += count as u64;
        Ok(count)
    }
}

/// Makes a log end with a whole record, and tells its size.
pub(crate) fn mend(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    if size == 0 || back(file, size)?.is_some() {
        return Ok(size);
    }
    let whole = whole(file, size)?;
    file.set_len(whole)?;
    Ok(whole)
}

/// Looks for the last `wanted` (at least 1) records in the first `end` bytes, from their end. What
/// a crash has left behind the last whole one does not count.
pub(crate) fn find(file: &File, end: u64, wanted: u64) -> io::Result<Found> {
    let end = match back(file, end)? {
        None if end > 0 => whole(file, end)?,
        _ => end,
    };
    let (mut at, mut found) = (end, 0);
    while found < wanted
        && let Some(start) = back(file, at)?
    {
        (at, found) = (start, found + 1);
    }
    Ok(if found == wanted {
        Found::At(at)
    } else {
        Found::Only(found)
    })
}

/// How many records there are; for what can only be read forwards.
pub(crate) fn count(from: impl Read) -> io::Result<u64> {
    let mut records = Records::new(BufReader::new(from));
    let mut count = 0;
    while records.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The latest time of the records at a file's end: see [`crate::tail::latest`].
pub(crate) fn latest(file: &File) -> Option<Timestamp> {
    let size = file.metadata().ok()?.len();
    let (mut at, mut latest) = (size, None);
    let mut bytes = Vec::new();
    while size - at < LOOK_BACK
        && let Some(start) = back(file, at).ok()?
    {
        bytes.resize(usize::try_from(at - start).ok()?, 0);
        file.read_exact_at(&mut bytes, start).ok()?;
        if let Frame::Whole(entry, _) = frame(&bytes)
            && let Some(entry) = Entry::decode(entry)
        {
            latest = latest.max(Some(entry.time));
        }
        at = start;
    }
    latest
}
