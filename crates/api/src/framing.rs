//! How output goes over the wire: as it is from a terminal, else in frames that tell the stream.

use berth_wire::stdcopy;
use bytes::Bytes;

/// The content type of output as it is, and of every stream below API 1.42.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// The content type of framed output.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Whether output is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it is.
    Raw,
    /// Each piece behind a header of eight bytes.
    Multiplexed,
}

impl Framing {
    /// That of a process with or without a terminal.
    pub(crate) fn of(tty: bool) -> Framing {
        if tty {
            Framing::Raw
        } else {
            Framing::Multiplexed
        }
    }

    /// What comes before `len` bytes of `stream`.
    pub(crate) fn header(self, stream: stdcopy::Stream, len: usize) -> Bytes {
        match self {
            Framing::Raw => Bytes::new(),
            Framing::Multiplexed => Bytes::copy_from_slice(&stdcopy::header(stream, len)),
        }
    }
}
