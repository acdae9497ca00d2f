//! Finding the last lines of a file of lines, and its last whole one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use jiff::Timestamp;

/// How many bytes are looked at in one go.
const BLOCK: u64 = 64 * 1024;

/// How far back a torn end is looked for; no record of ours is longer.
const LONGEST_RECORD: u64 = 1024 * 1024;

/// What a file has of the lines that are looked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Enough; the wanted ones begin here.
    At(u64),
    /// Only so many, all told.
    Only(u64),
}

/// Looks for the last `wanted` (at least 1) lines in the first `end` bytes, from their end.
pub(crate) fn find(file: &File, end: u64, wanted: u64) -> io::Result<Found> {
    let mut newlines = 0;
    let mut at = end;
    let mut block = Vec::new();
    while at > 0 {
        let start = at.saturating_sub(BLOCK);
        block.resize(usize::try_from(at - start).unwrap_or_default(), 0);
        file.read_exact_at(&mut block, start)?;
        for newline in memchr::memrchr_iter(b'\n', &block) {
            // The one in front of the wanted lines is the one that ends the line before them.
            if newlines == wanted {
                return Ok(Found::At(start + newline as u64 + 1));
            }
            newlines += 1;
        }
        at = start;
    }
    Ok(if newlines >= wanted {
        Found::At(0)
    } else {
        Found::Only(newlines)
    })
}

/// How many lines there are; for what can only be read forwards.
pub(crate) fn count(mut from: impl Read) -> io::Result<u64> {
    let mut block = vec![0; 64 * 1024];
    let mut lines = 0;
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(lines),
            Ok(length) => {
                let found = memchr::memchr_iter(b'\n', block.get(..length).unwrap_or_default());
                lines += found.count() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The latest time of the records at a file's end. Nearly always that is the last record's; only
/// pieces of long lines carry older times than what stands before them. A file whose end holds no
/// record of the usual form has none.
pub(crate) fn latest(file: &File) -> Option<Timestamp> {
    let size = file.metadata().ok()?.len();
    let start = size.saturating_sub(BLOCK);
    let mut block = vec![0; usize::try_from(size - start).ok()?];
    file.read_exact_at(&mut block, start).ok()?;
    block
        .strip_suffix(b"\n")?
        .rsplit(|byte| *byte == b'\n')
        .filter_map(time)
        .max()
}

/// The time of a record, or of a record's end: it stands last.
fn time(record: &[u8]) -> Option<Timestamp> {
    let end = record.strip_suffix(b"\"}")?;
    let at = memchr::memrchr(b'"', end)?;
    end.get(..=at)?.strip_suffix(b"\"time\":\"")?;
    std::str::from_utf8(end.get(at + 1..)?).ok()?.parse().ok()
}

/// Makes a log end with a whole record, and tells its size. A file without a newline as far as a
/// record can reach is not of our making: it is only ended.
pub(crate) fn mend(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut end = size;
    let mut block = Vec::new();
    while end > 0 && size - end < LONGEST_RECORD {
        // At first only the last byte: it is nearly always all there is to see.
        let start = if end == size {
            size - 1
        } else {
            end.saturating_sub(BLOCK)
        };
        block.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            let whole = start + at as u64 + 1;
            if whole < size {
                file.set_len(whole)?;
            }
            return Ok(whole);
        }
        end = start;
    }
    if end == 0 {
        if size > 0 {
            file.set_len(0)?;
        }
        return Ok(0);
    }
    (&mut &*file).write_all(b"\n")?;
    Ok(size + 1)
}
