use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use crate::{Line, Stream};

/// The longest text of one [`Line`], newline included, in bytes. dockerd reads a container's
/// output into a buffer of this size, and cuts a line when the buffer is full.
pub const MAX_LINE: usize = 16 * 1024;

/// Cuts one stream of a container's output into lines, as dockerd does: at each newline, and
/// within a line as often as [`MAX_LINE`] bytes came without one.
///
/// How the bytes were divided over the calls never changes the lines. A line that lies within one
/// chunk is a slice of it; only a line that spans chunks is copied together.
#[derive(Debug)]
pub struct Splitter {
    stream: Stream,
    /// The beginning of a line whose end has not come; always shorter than [`MAX_LINE`].
    carry: BytesMut,
    /// The time of the first piece, while pieces of one line are going out.
    piece_time: Option<Timestamp>,
}

impl Splitter {
    /// Splits `stream`.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, carry: BytesMut::new(), piece_time: None }
    }

    /// Takes a chunk that was read from the container at `now`, and adds the lines that it ends
    /// to `lines`.
    ///
    /// The lines keep `chunk`'s memory alive: read into a `BytesMut` and hand over what
    /// `split().freeze()` gives, so that small reads do not pin large buffers.
    pub fn feed(&mut self, mut chunk: Bytes, now: Timestamp, lines: &mut Vec<Line>) {
        if !self.carry.is_empty() {
            let room = MAX_LINE - self.carry.len();
            match first_cut(&chunk, room) {
                Some(length) => {
                    self.carry.extend_from_slice(&chunk.split_to(length));
                    let bytes = self.carry.split().freeze();
                    lines.push(self.line(bytes, now));
                }
                None => return self.carry.extend_from_slice(&chunk),
            }
        }
        while let Some(length) = first_cut(&chunk, MAX_LINE) {
            let bytes = chunk.split_to(length);
            lines.push(self.line(bytes, now));
        }
        self.carry.extend_from_slice(&chunk);
    }

    /// The stream has ended: what came after the last newline goes out as it is. The splitter
    /// can then be used for the next run of the container.
    pub fn finish(&mut self, now: Timestamp) -> Option<Line> {
        let rest = self.carry.split().freeze();
        let line = (!rest.is_empty()).then(|| self.line(rest, now));
        self.piece_time = None;
        line
    }

    fn line(&mut self, bytes: Bytes, now: Timestamp) -> Line {
        let partial = bytes.last() != Some(&b'\n');
        let time = self.piece_time.take().unwrap_or(now);
        if partial {
            self.piece_time = Some(time);
        }
        Line { stream: self.stream, time, partial, bytes, attrs: None }
    }
}

/// Where the line that begins a chunk is cut: behind its newline, or after `room` bytes without
/// one. `None` when the chunk is too short to tell.
fn first_cut(chunk: &[u8], room: usize) -> Option<usize> {
    let window = &chunk[..chunk.len().min(room)];
    match memchr::memchr(b'\n', window) {
        Some(at) => Some(at + 1),
        None => (window.len() == room).then_some(room),
    }
}
