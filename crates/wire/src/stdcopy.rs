//! Docker's framing of several streams in one: eight bytes of header, then the payload.
//!
//! ```text
//! byte 0        1..4      4..8
//! stream 0–3    0 0 0     length of the payload, big endian
//! ```

use bytes::{Buf, Bytes, BytesMut};

/// The length of a header, in bytes.
pub const HEADER_LEN: usize = 8;

/// The longest payload that [`Decoder`] takes unless told otherwise, in bytes.
pub const MAX_FRAME: usize = 64 << 20;

/// Which stream a frame belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    /// The process's input; in output it is taken as [`Stream::Stdout`] by clients.
    Stdin = 0,
    /// The process's output.
    #[default]
    Stdout = 1,
    /// The process's error output.
    Stderr = 2,
    /// An error of the daemon's in the middle of a stream.
    SystemErr = 3,
}

impl Stream {
    /// The stream of a header's first byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Stream> {
        match byte {
            0 => Some(Stream::Stdin),
            1 => Some(Stream::Stdout),
            2 => Some(Stream::Stderr),
            3 => Some(Stream::SystemErr),
            _ => None,
        }
    }

    /// `stdin`, `stdout` or `stderr`, as log files name it; errors of the daemon's are `stderr`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdin => "stdin",
            Stream::Stdout => "stdout",
            Stream::Stderr | Stream::SystemErr => "stderr",
        }
    }
}

/// The header of `len` bytes of `stream`. A length above 4 GiB is cut off at that: frames are never
/// that long.
#[must_use]
pub fn header(stream: Stream, len: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// A whole frame: header and payload.
#[must_use]
pub fn frame(stream: Stream, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + payload.len());
    out.extend_from_slice(&header(stream, payload.len()));
    out.extend_from_slice(payload);
    out.freeze()
}

/// What is wrong with framed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte of a header is none of 0 to 3.
    #[error("Unrecognized input header: {0}")]
    Stream(u8),
    /// The payload is longer than the decoder's limit.
    #[error("frame of {0} bytes is too long")]
    Length(usize),
}

/// Takes frames apart as their bytes come in.
#[derive(Clone, Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::with_limit(MAX_FRAME)
    }
}

impl Decoder {
    /// A decoder that takes payloads of up to [`MAX_FRAME`].
    #[must_use]
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// A decoder that takes payloads of up to `limit` bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> Decoder {
        Decoder {
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Adds bytes that came in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are no frames, or one is too long. The decoder is of no use after that.
    pub fn next_frame(&mut self) -> Result<Option<(Stream, Bytes)>, DecodeError> {
        let Some(&[stream, _, _, _, a, b, c, d]) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let stream = Stream::from_byte(stream).ok_or(DecodeError::Stream(stream))?;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > self.limit {
            return Err(DecodeError::Length(len));
        }
        if self.buffer.len() < HEADER_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        Ok(Some((stream, self.buffer.split_to(len).freeze())))
    }

    /// Whether no piece of a frame is left: at the end of a stream it must be so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_look_as_docker_sends_them() {
        assert_eq!(
            frame(Stream::Stderr, b"hi\n")[..],
            *b"\x02\0\0\0\0\0\0\x03hi\n"
        );
        assert_eq!(
            header(Stream::Stdout, 0x0102_0304),
            [1, 0, 0, 0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let mut decoder = Decoder::new();
        decoder.push(b"HTTP/1.1 200 OK");
        assert_eq!(decoder.next_frame(), Err(DecodeError::Stream(b'H')));
        let mut decoder = Decoder::with_limit(4);
        decoder.push(&frame(Stream::Stdout, b"12345"));
        assert_eq!(decoder.next_frame(), Err(DecodeError::Length(5)));
    }

    proptest! {
        #[test]
        fn what_was_framed_comes_out_however_it_is_cut(
            payloads in prop::collection::vec((0u8..4, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1usize..20,
        ) {
            let mut bytes = Vec::new();
            for (stream, payload) in &payloads {
                bytes.extend_from_slice(&frame(Stream::from_byte(*stream).unwrap(), payload));
            }
            let mut decoder = Decoder::new();
            let mut out = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some((stream, payload)) = decoder.next_frame().unwrap() {
                    out.push((stream as u8, payload.to_vec()));
                }
            }
            prop_assert!(decoder.is_empty());
            prop_assert_eq!(out, payloads);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut decoder = Decoder::with_limit(50);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
