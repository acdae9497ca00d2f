//! In which form records stand in a file, and what follows from it.

use std::fs::File;
use std::io::{self, Read};

use jiff::Timestamp;

use crate::tail::Found;
use crate::{Attributes, Stream, encode, local, tail};

/// The form of a log's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `json-file`: a JSON object a line.
    Json,
    /// `local`: protobuf between sizes.
    Local,
}

/// What a buffer begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A record, and what follows it.
    Record(&'a [u8], &'a [u8]),
    /// The beginning of one.
    Part,
    /// Nothing that can be read, nor can anything behind it.
    Damaged,
}

impl Format {
    /// Takes the first record of what was read.
    pub(crate) fn next(self, bytes: &[u8]) -> Next<'_> {
        match self {
            Self::Json => match memchr::memchr(b'\n', bytes) {
                Some(end) => {
                    let (record, rest) = bytes.split_at(end);
                    Next::Record(record, rest.get(1..).unwrap_or_default())
                }
                None => Next::Part,
            },
            Self::Local => match local::frame(bytes) {
                local::Frame::Whole(entry, length) => {
                    Next::Record(entry, bytes.get(length..).unwrap_or_default())
                }
                local::Frame::Part => Next::Part,
                local::Frame::Damaged => Next::Damaged,
            },
        }
    }

    /// How many bytes of `records` go up to the end of the record that the byte at `from` is of.
    pub(crate) fn cut(self, records: &[u8], from: usize) -> usize {
        match self {
            Self::Json => {
                let rest = records.get(from..);
                let end = rest.and_then(|rest| memchr::memchr(b'\n', rest));
                end.map_or(records.len(), |at| from + at + 1)
            }
            Self::Local => local::cut(records, from),
        }
    }

    /// How many of the bytes are whole records.
    pub(crate) fn whole(self, records: &[u8]) -> usize {
        match self {
            Self::Json => memchr::memrchr(b'\n', records).map_or(0, |at| at + 1),
            Self::Local => local::cut(records, records.len()),
        }
    }

    /// Makes a log end with a whole record, and tells its size.
    pub(crate) fn mend(self, file: &File) -> io::Result<u64> {
        match self {
            Self::Json => tail::mend(file),
            Self::Local => local::mend(file),
        }
    }

    /// See [`tail::find`].
    pub(crate) fn find(self, file: &File, end: u64, wanted: u64) -> io::Result<Found> {
        match self {
            Self::Json => tail::find(file, end, wanted),
            Self::Local => local::find(file, end, wanted),
        }
    }

    /// See [`tail::count`].
    pub(crate) fn count(self, from: impl Read) -> io::Result<u64> {
        match self {
            Self::Json => tail::count(from),
            Self::Local => local::count(from),
        }
    }

    /// See [`tail::latest`].
    pub(crate) fn latest(self, file: &File) -> Option<Timestamp> {
        match self {
            Self::Json => tail::latest(file),
            Self::Local => local::latest(file),
        }
    }

    /// What writes records that carry these attributes.
    pub(crate) fn encoder(self, attributes: &Attributes) -> Encoder {
        match self {
            Self::Json => Encoder::Json(encode::Encoder::new(attributes)),
            Self::Local => Encoder::Local(local::Encoder::new(attributes)),
        }
    }
}

/// Writes records.
#[derive(Debug)]
pub(crate) enum Encoder {
    Json(encode::Encoder),
    Local(local::Encoder),
}

impl Encoder {
    /// Adds the record of one line, or of a piece of one, to `out`.
    pub(crate) fn record(
        &mut self,
        stream: Stream,
        time: Timestamp,
        text: &[u8],
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Json(encoder) => encoder.record(stream, time, text, out),
            Self::Local(encoder) => encoder.record(stream, time, text, out),
        }
    }
}
