//! Lines to records: `{"log":"text\n","stream":"stdout","attrs":{…},"time":"RFC3339Nano"}` and a
//! newline, byte for byte what dockerd's json-file driver writes.

use std::io::Write;

use jiff::Timestamp;

use crate::{Attributes, Stream};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How many bytes are looked at in one go for something to escape; the compiler makes vector
/// instructions of it.
const STRIDE: usize = 32;

/// Writes records. It keeps the text of the last timestamp, because the lines of one read share it.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// `,"attrs":{…}`, or nothing.
    attrs: Vec<u8>,
    time: Timestamp,
    time_text: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(attributes: &Attributes) -> Self {
        let mut attrs = Vec::new();
        if !attributes.is_empty() {
            attrs.extend_from_slice(b",\"attrs\":{");
            for (index, (key, value)) in attributes.iter().enumerate() {
                attrs.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
                escape(key.as_bytes(), &mut attrs);
                attrs.extend_from_slice(b"\":\"");
                escape(value.as_bytes(), &mut attrs);
                attrs.push(b'"');
            }
            attrs.push(b'}');
        }
        Self {
            attrs,
            time: Timestamp::UNIX_EPOCH,
            time_text: Vec::new(),
        }
    }

    /// Adds the record of one line to `out`.
    pub(crate) fn record(
        &mut self,
        stream: Stream,
        time: Timestamp,
        text: &[u8],
        out: &mut Vec<u8>,
    ) {
        if self.time_text.is_empty() || self.time != time {
            self.time = time;
            self.time_text.clear();
            // Writing to a Vec cannot fail.
            let _ = write!(self.time_text, "{time}");
        }
        out.extend_from_slice(b"{\"log\":\"");
        escape(text, out);
        out.extend_from_slice(b"\",\"stream\":\"");
        out.extend_from_slice(stream.as_str().as_bytes());
        out.push(b'"');
        out.extend_from_slice(&self.attrs);
        out.extend_from_slice(b",\"time\":\"");
        out.extend_from_slice(&self.time_text);
        out.extend_from_slice(b"\"}\n");
    }
}

/// Adds `bytes` as the inside of a JSON string, escaped as Go's encoder does: also `<`, `>`, `&`,
/// U+2028 and U+2029; each byte that is not UTF-8 becomes U+FFFD.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        escape_valid(chunk.valid().as_bytes(), out);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn escape_valid(text: &[u8], out: &mut Vec<u8>) {
    let mut written = 0;
    let mut at = 0;
    while at < text.len() {
        if let Some(stride) = text.get(at..at + STRIDE)
            && !stride
                .iter()
                .fold(false, |found, &byte| found | is_special(byte))
        {
            at += STRIDE;
            continue;
        }
        let end = text.len().min(at + STRIDE);
        while at < end {
            let length = special_length(&text[at..]);
            if length > 0 {
                out.extend_from_slice(&text[written..at]);
                escape_one(&text[at..at + length], out);
                written = at + length;
            }
            at += length.max(1);
        }
    }
    out.extend_from_slice(&text[written..]);
}

/// Whether an escape may begin with this byte (0xe2 begins U+2028, among many others).
fn is_special(byte: u8) -> bool {
    (byte < 0x20)
        | (byte == b'"')
        | (byte == b'\\')
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'&')
        | (byte == 0xe2)
}

/// How many bytes at the start of `text` are to be escaped together; 0: none.
fn special_length(text: &[u8]) -> usize {
    match text {
        [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
        [0xe2, ..] => 0,
        [byte, ..] if is_special(*byte) => 1,
        _ => 0,
    }
}

fn escape_one(what: &[u8], out: &mut Vec<u8>) {
    match *what {
        [b'\n'] => out.extend_from_slice(b"\\n"),
        [b'\r'] => out.extend_from_slice(b"\\r"),
        [byte @ (b'"' | b'\\')] => out.extend_from_slice(&[b'\\', byte]),
        [byte] => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        [.., 0xa8] => out.extend_from_slice(b"\\u2028"),
        _ => out.extend_from_slice(b"\\u2029"),
    }
}
