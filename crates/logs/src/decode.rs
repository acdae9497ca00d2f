//! Records to lines.
//!
//! What dockerd and Berth write has one fixed order of fields and is read by hand; anything else
//! that is a JSON object with those fields is left to serde.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::format::Format;
use crate::local::Entry;
use crate::{Attributes, Line, Stream};

/// Decodes records into one buffer that all their lines share.
#[derive(Debug)]
pub(crate) struct Decoder {
    format: Format,
    text: Vec<u8>,
    found: Vec<Found>,
    /// The attributes of the last record that had some: nearly always the next one's too.
    attrs: Option<(Vec<u8>, Attributes)>,
}

#[derive(Debug)]
struct Found {
    text: Range<usize>,
    stream: Stream,
    time: Timestamp,
    attrs: Option<Attributes>,
}

/// What a record says apart from its text.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) stream: Stream,
    pub(crate) time: Timestamp,
}

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    log: String,
    stream: String,
    time: Timestamp,
    #[serde(default)]
    attrs: Option<Attributes>,
}

impl Decoder {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            text: Vec::new(),
            found: Vec::new(),
            attrs: None,
        }
    }

    /// Decodes one record (without its newline or its sizes) and keeps it when `keep` wants it. `None`: not a
    /// record.
    pub(crate) fn record(&mut self, record: &[u8], keep: impl FnOnce(&Head) -> bool) -> Option<()> {
        let start = self.text.len();
        let (head, attrs) = match self.format {
            Format::Local => self.local(record)?,
            Format::Json => match self.fixed(record) {
                Some(parsed) => parsed,
                None => {
                    self.text.truncate(start);
                    self.general(record)?
                }
            },
        };
        if keep(&head) {
            let text = start..self.text.len();
            self.found.push(Found {
                text,
                stream: head.stream,
                time: head.time,
                attrs,
            });
        } else {
            self.text.truncate(start);
        }
        Some(())
    }

    /// How many bytes of memory the lines that were kept take, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.text.len() + self.found.len() * size_of::<Line>()
    }

    /// Hands out the lines that were kept.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Line> + use<> {
        let text = Bytes::from(std::mem::take(&mut self.text));
        std::mem::take(&mut self.found)
            .into_iter()
            .map(move |found| {
                let bytes = text.slice(found.text);
                Line {
                    stream: found.stream,
                    time: found.time,
                    partial: bytes.last() != Some(&b'\n'),
                    bytes,
                    attrs: found.attrs,
                }
            })
    }

    fn fixed(&mut self, record: &[u8]) -> Option<(Head, Option<Attributes>)> {
        let start = self.text.len();
        let rest = record.strip_prefix(b"{\"log\":\"")?;
        let rest = unescape(rest, &mut self.text)?;
        make_utf8(&mut self.text, start);
        let rest = rest.strip_prefix(b",\"stream\":\"std")?;
        let (stream, rest) = match rest {
            [b'o', b'u', b't', b'"', rest @ ..] => (Stream::Stdout, rest),
            [b'e', b'r', b'r', b'"', rest @ ..] => (Stream::Stderr, rest),
            _ => return None,
        };
        let (attrs, rest) = match rest.strip_prefix(b",\"attrs\":") {
            // The attributes hold strings with anything in them; the time behind them does not.
            Some(rest) => {
                let end = memchr::memmem::rfind(rest, b",\"time\":\"")?;
                (Some(self.attributes(&rest[..end])?), &rest[end..])
            }
            None => (None, rest),
        };
        let time = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?;
        let time = std::str::from_utf8(time).ok()?.parse().ok()?;
        Some((Head { stream, time }, attrs))
    }

    fn general(&mut self, record: &[u8]) -> Option<(Head, Option<Attributes>)> {
        let record: Record = serde_json::from_str(&String::from_utf8_lossy(record)).ok()?;
        let stream = match record.stream.as_str() {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return None,
        };
        self.text.extend_from_slice(record.log.as_bytes());
        let attrs = record.attrs.filter(|attrs| !attrs.is_empty());
        Some((
            Head {
                stream,
                time: record.time,
            },
            attrs,
        ))
    }

    fn local(&mut self, record: &[u8]) -> Option<(Head, Option<Attributes>)> {
        let entry = Entry::decode(record)?;
        let raw = entry.raw_attributes();
        let attrs = match &self.attrs {
            _ if raw.is_empty() => None,
            Some((known, attrs)) if *known == raw => Some(Arc::clone(attrs)),
            _ => {
                let attrs = entry.attributes()?;
                self.attrs = Some((raw, Arc::clone(&attrs)));
                Some(attrs)
            }
        };
        self.text.extend_from_slice(entry.line);
        if !entry.open {
            self.text.push(b'\n');
        }
        let Entry { stream, time, .. } = entry;
        Some((Head { stream, time }, attrs))
    }

    fn attributes(&mut self, json: &[u8]) -> Option<Attributes> {
        if let Some((known, attrs)) = &self.attrs
            && known == json
        {
            return Some(Arc::clone(attrs));
        }
        let attrs: Attributes = serde_json::from_slice(json).ok()?;
        self.attrs = Some((json.to_vec(), Arc::clone(&attrs)));
        Some(attrs)
    }
}

/// Reads the inside of a JSON string into `out`, and gives back what follows its closing quote.
fn unescape<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let at = memchr::memchr2(b'"', b'\\', text)?;
        out.extend_from_slice(&text[..at]);
        let (&mark, rest) = text[at..].split_first()?;
        if mark == b'"' {
            return Some(rest);
        }
        let (&kind, rest) = rest.split_first()?;
        text = rest;
        match kind {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'"' | b'\\' | b'/' => out.push(kind),
            b'u' => {
                let (character, rest) = unicode(text)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                text = rest;
            }
            _ => return None,
        }
    }
}

/// The character of a `\u` escape, its `\u` already taken, and what follows. Half a surrogate
/// pair is U+FFFD, as in Go.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (unit, rest) = hex4(text)?;
    if (0xd800..0xdc00).contains(&unit)
        && let Some(second) = rest.strip_prefix(b"\\u")
        && let Some((low @ 0xdc00..0xe000, rest)) = hex4(second)
    {
        let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        return Some((char::from_u32(code)?, rest));
    }
    Some((
        char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER),
        rest,
    ))
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let value = digits.iter().try_fold(0, |value, &digit| {
        Some(value << 4 | char::from(digit).to_digit(16)?)
    })?;
    Some((value, rest))
}

/// A file that others wrote to may hold anything; a line that is told is UTF-8.
fn make_utf8(text: &mut Vec<u8>, start: usize) {
    if std::str::from_utf8(&text[start..]).is_err() {
        let lossy = String::from_utf8_lossy(&text[start..]).into_owned();
        text.truncate(start);
        text.extend_from_slice(lossy.as_bytes());
    }
}
