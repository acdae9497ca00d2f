use jiff::Timestamp;

/// The longest text of one record, newline included, in bytes. dockerd reads a container's output
/// into a buffer of this size, and cuts a line when the buffer is full.
pub const MAX_LINE: usize = 16 * 1024;

/// Cuts one stream of a container's output into lines, as dockerd does: at each newline, and
/// within a line as often as [`MAX_LINE`] bytes came without one.
///
/// How the bytes were divided over the calls never changes the lines. A line that lies within one
/// chunk is a slice of it; only a line that spans chunks is copied together.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// The beginning of a line whose end has not come; always shorter than [`MAX_LINE`].
    carry: Vec<u8>,
    /// The time of the first piece, while pieces of one line are going out: all pieces of a line
    /// carry it.
    piece_time: Option<Timestamp>,
}

impl Splitter {
    /// Takes a chunk that was read from the container at `now`, and tells the lines that it ends.
    pub(crate) fn feed(
        &mut self,
        mut chunk: &[u8],
        now: Timestamp,
        mut line: impl FnMut(Timestamp, &[u8]),
    ) {
        if !self.carry.is_empty() {
            let Some(length) = first_cut(chunk, MAX_LINE - self.carry.len()) else {
                return self.carry.extend_from_slice(chunk);
            };
            let (end, rest) = chunk.split_at(length);
            self.carry.extend_from_slice(end);
            let mut text = std::mem::take(&mut self.carry);
            line(self.piece(&text, now), &text);
            text.clear();
            self.carry = text;
            chunk = rest;
        }
        while let Some(length) = first_cut(chunk, MAX_LINE) {
            let (text, rest) = chunk.split_at(length);
            line(self.piece(text, now), text);
            chunk = rest;
        }
        self.carry.extend_from_slice(chunk);
    }

    /// The stream has ended: what came after the last newline goes out as it is.
    pub(crate) fn finish(&mut self, now: Timestamp, mut line: impl FnMut(Timestamp, &[u8])) {
        if !self.carry.is_empty() {
            line(self.piece_time.unwrap_or(now), &self.carry);
        }
        *self = Self::default();
    }

    /// The time of a piece: the first one's, within one line.
    fn piece(&mut self, text: &[u8], now: Timestamp) -> Timestamp {
        let time = self.piece_time.unwrap_or(now);
        self.piece_time = (text.last() != Some(&b'\n')).then_some(time);
        time
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
