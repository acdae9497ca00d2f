//! One record's content: the protobuf message `LogEntry` of dockerd's log drivers.
//!
//! ```text
//! LogEntry         1 source string, 2 time_nano int64, 3 line bytes, 4 partial bool,
//!                  5 PartialLogEntryMetadata, 6 repeated LogAttr
//! PartialLog…      1 last bool, 2 id string, 3 ordinal int32
//! LogAttr          1 key string, 2 value string
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rand::RngCore;

use super::SIZE;
use crate::{Attributes, Stream};

/// How a field's value is written.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A long line that is being written in pieces.
#[derive(Debug)]
struct Pieces {
    /// The same for all pieces.
    id: String,
    written: u64,
}

/// Writes records.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// The fields of all attributes.
    attrs: Vec<u8>,
    stdout: Option<Pieces>,
    stderr: Option<Pieces>,
}

impl Encoder {
    pub(crate) fn new(attributes: &Attributes) -> Self {
        let mut attrs = Vec::new();
        let mut one = Vec::new();
        for (key, value) in attributes.iter() {
            one.clear();
            bytes(1, key.as_bytes(), &mut one);
            bytes(2, value.as_bytes(), &mut one);
            field(6, BYTES, &mut attrs);
            varint(one.len() as u64, &mut attrs);
            attrs.extend_from_slice(&one);
        }
        Self {
            attrs,
            stdout: None,
            stderr: None,
        }
    }

    /// Adds the record of one line, or of a piece of one, to `out`.
    pub(crate) fn record(
        &mut self,
        stream: Stream,
        time: Timestamp,
        text: &[u8],
        out: &mut Vec<u8>,
    ) {
        let begin = out.len();
        out.extend_from_slice(&[0; SIZE]);
        bytes(1, stream.as_str().as_bytes(), out);
        let nanos = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        number(2, nanos.cast_unsigned(), out);
        let line = text.strip_suffix(b"\n");
        bytes(3, line.unwrap_or(text), out);
        let pieces = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if line.is_none() || pieces.is_some() {
            piece(pieces, line.is_some(), out);
        }
        out.extend_from_slice(&self.attrs);
        // A line is cut at 16 KiB, and attributes are the user's few.
        let size = u32::try_from(out.len() - begin - SIZE).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(begin..begin + SIZE) {
            place.copy_from_slice(&size.to_be_bytes());
        }
        out.extend_from_slice(&size.to_be_bytes());
    }
}

/// Writes which piece of its line this is.
fn piece(pieces: &mut Option<Pieces>, last: bool, out: &mut Vec<u8>) {
    let now = pieces.get_or_insert_with(|| {
        let mut id = [0; 32];
        rand::rng().fill_bytes(&mut id);
        Pieces {
            id: hex::encode(id),
            written: 0,
        }
    });
    now.written += 1;
    let mut metadata = Vec::with_capacity(80);
    number(1, u64::from(last), &mut metadata);
    bytes(2, now.id.as_bytes(), &mut metadata);
    number(3, now.written, &mut metadata);
    number(4, 1, out);
    bytes(5, &metadata, out);
    if last {
        *pieces = None;
    }
}

/// The value 0 and nothing are not written, as in proto3.
fn number(tag: u64, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        field(tag, VARINT, out);
        varint(value, out);
    }
}

fn bytes(tag: u64, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        field(tag, BYTES, out);
        varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }
}

fn field(tag: u64, kind: u64, out: &mut Vec<u8>) {
    varint(tag << 3 | kind, out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        // Seven bits at a time.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A record, read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) stream: Stream,
    pub(crate) time: Timestamp,
    /// Without a newline.
    pub(crate) line: &'a [u8],
    /// More of the line follows in the next record.
    pub(crate) open: bool,
    attrs: Vec<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// Reads an entry; `None`: it is none. Fields that nobody knows are passed over.
    pub(crate) fn decode(entry: &'a [u8]) -> Option<Entry<'a>> {
        let (mut source, mut nanos, mut line) = (&b""[..], 0, &b""[..]);
        let (mut partial, mut last) = (false, false);
        let mut attrs = Vec::new();
        each(entry, |tag, value| {
            match (tag, value) {
                (1, Value::Bytes(text)) => source = text,
                (2, Value::Number(number)) => nanos = number.cast_signed(),
                (3, Value::Bytes(text)) => line = text,
                (4, Value::Number(number)) => partial = number != 0,
                (5, Value::Bytes(metadata)) => each(metadata, |tag, value| {
                    if let (1, Value::Number(number)) = (tag, value) {
                        last = number != 0;
                    }
                    Some(())
                })?,
                (6, Value::Bytes(attr)) => attrs.push(attr),
                _ => {}
            }
            Some(())
        })?;
        let stream = match source {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        Some(Entry {
            stream,
            time: Timestamp::from_nanosecond(nanos.into()).ok()?,
            line,
            open: partial && !last,
            attrs,
        })
    }

    /// The bytes that tell its attributes: the same for the same ones.
    pub(crate) fn raw_attributes(&self) -> Vec<u8> {
        self.attrs.join(&0xff)
    }

    /// Its attributes, if it has any.
    pub(crate) fn attributes(&self) -> Option<Attributes> {
        let mut all = BTreeMap::new();
        for attr in &self.attrs {
            let (mut key, mut text) = (String::new(), String::new());
            each(attr, |tag, value| {
                if let Value::Bytes(bytes) = value {
                    let place = if tag == 1 { &mut key } else { &mut text };
                    *place = String::from_utf8_lossy(bytes).into_owned();
                }
                Some(())
            })?;
            all.insert(key, text);
        }
        (!all.is_empty()).then(|| Arc::new(all))
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Tells every field of a message. `None`: it is none.
fn each<'a>(
    mut message: &'a [u8],
    mut tell: impl FnMut(u64, Value<'a>) -> Option<()>,
) -> Option<()> {
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let value = match key & 7 {
            VARINT => Value::Number(take_varint(&mut message)?),
            BYTES => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                Value::Bytes(take(&mut message, length)?)
            }
            FIXED64 => Value::Bytes(take(&mut message, 8)?),
            FIXED32 => Value::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        tell(key >> 3, value)?;
    }
    Some(())
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
