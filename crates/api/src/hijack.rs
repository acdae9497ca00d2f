//! A terminal's or a pipe's worth of bytes over a connection that left HTTP.
//!
//! Each direction ends on its own. The client's half-close ends the process's input and nothing
//! else; the end of the output ends our side and with it the session. A client that is gone
//! ends everything, after what it had sent before has been passed on.

pub(crate) mod websocket;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use berth_engine::{Attachment, Chunk, Flow, Input, Output};
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::UPGRADE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::connection::{Raw, close};
use crate::context::Ctx;
use crate::framing::{self, Framing};
use crate::server::FIXED_HEADERS;
use crate::version;

/// How long a client's last input may take to be passed on after it is gone.
const LAST_INPUT: Duration = Duration::from_secs(10);

/// How much input is read at a time.
const INPUT_PIECE: usize = 32 << 10;

/// Where the output of a session comes from.
pub(crate) trait Source: Send + 'static {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<Chunk>> + Send;
}

/// Where the input of a session goes.
pub(crate) trait Sink: Send + 'static {
    /// Passes on some input.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Flow> + Send;
    /// The client has no more input.
    fn close(self) -> impl Future<Output = ()> + Send;
}

impl Source for Output {
    async fn next(&mut self) -> Option<Chunk> {
        Output::next(self).await
    }
}

impl Sink for Input {
    async fn write(&mut self, bytes: Bytes) -> Flow {
        Input::write(self, bytes).await
    }

    async fn close(self) {
        Input::close(self).await;
    }
}

/// The answer's head, with which HTTP ends: `101` for a client that asked for an upgrade, else
/// the `200` that the first clients knew.
pub(crate) fn head(request: &HeaderMap, tty: bool, version: berth_wire::ApiVersion) -> Bytes {
    let upgrade = request.contains_key(UPGRADE);
    let mut head = String::with_capacity(256);
    head.push_str(if upgrade {
        "HTTP/1.1 101 UPGRADED\r\n"
    } else {
        "HTTP/1.1 200 OK\r\n"
    });
    let multiplexed = upgrade && !tty && version::at_least(version, 1, 42);
    head.push_str("Content-Type: ");
    head.push_str(if multiplexed {
        framing::MULTIPLEXED
    } else {
        framing::RAW
    });
    head.push_str("\r\n");
    if upgrade {
        head.push_str("Connection: Upgrade\r\nUpgrade: tcp\r\n");
    }
    for (name, value) in FIXED_HEADERS {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    Bytes::from(head)
}

/// Runs an attachment over the request's connection. Never returns: the answer is written by
/// the connection itself.
///
/// `ends_with_output` is false for a client that wants no output: then the session lasts as long
/// as its input.
pub(crate) async fn attach(
    ctx: &Ctx,
    ends_with_output: bool,
    attachment: Attachment,
) -> Infallible {
    let Attachment { tty, output, input } = attachment;
    let head = head(&ctx.headers, tty, ctx.version);
    let framing = Framing::of(tty);
    let cancel = ctx.cancel.clone();
    let run = move |raw| session(raw, framing, output, input, ends_with_output, cancel);
    ctx.session.take_over(head, run).await
}

/// Leaves HTTP only to tell why a process could not be started, as its output. Never returns.
pub(crate) async fn apologize(ctx: &Ctx, tty: bool, message: &str) -> Infallible {
    let text = format!("{message}\r\n");
    let stream = berth_wire::stdcopy::Stream::Stdout;
    let mut frame = Framing::of(tty)
        .header(stream, text.len())
        .chain(Bytes::from(text));
    let run = move |mut raw: Raw| async move {
        if raw.write_all_buf(&mut frame).await.is_ok() {
            close(raw).await;
        }
    };
    ctx.session
        .take_over(head(&ctx.headers, tty, ctx.version), run)
        .await
}

/// Runs a session to its end.
pub(crate) async fn session<S: Source, K: Sink>(
    raw: Raw,
    framing: Framing,
    output: S,
    input: Option<K>,
    ends_with_output: bool,
    cancel: CancellationToken,
) {
    let hangup = match raw.hangup() {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "attach: cannot watch the client's connection");
            return;
        }
    };
    let (mut reader, mut writer) = tokio::io::split(raw);
    {
        let incoming = copy_in(&mut reader, input, ends_with_output);
        let outgoing = copy_out(&mut writer, framing, output);
        let gone = hangup.wait();
        tokio::pin!(incoming, outgoing, gone);
        let (mut in_done, mut out_done) = (false, false);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                end = &mut outgoing, if !out_done => {
                    out_done = true;
                    if end == OutEnd::ClientGone || ends_with_output || in_done {
                        break;
                    }
                }
                end = &mut incoming, if !in_done => {
                    in_done = true;
                    if end == InEnd::Stop || (!ends_with_output && out_done) {
                        break;
                    }
                }
                () = &mut gone => {
                    if !in_done {
                        let _ = tokio::time::timeout(LAST_INPUT, &mut incoming).await;
                    }
                    return;
                }
            }
        }
    }
    close(reader.unsplit(writer)).await;
}

/// How the input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InEnd {
    /// The client has no more input, or the process reads no more: the output may go on.
    Quiet,
    /// The session is over: the detach keys were typed or the connection broke.
    Stop,
}

/// How the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutEnd {
    Finished,
    ClientGone,
}

/// `read_on` is for input that the process no longer takes: read and dropped, so that the client
/// is not held up and its end is seen.
async fn copy_in<K: Sink>(
    reader: &mut (impl AsyncRead + Unpin),
    mut input: Option<K>,
    read_on: bool,
) -> InEnd {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(INPUT_PIECE);
        match reader.read_buf(&mut buffer).await {
            Err(_) => return InEnd::Stop,
            Ok(0) => {
                if let Some(input) = input.take() {
                    input.close().await;
                }
                return InEnd::Quiet;
            }
            Ok(_) => {}
        }
        let bytes = buffer.split().freeze();
        let Some(sink) = &mut input else { continue };
        match sink.write(bytes).await {
            Flow::Continue => {}
            Flow::Detached => return InEnd::Stop,
            Flow::Closed if read_on => input = None,
            Flow::Closed => return InEnd::Quiet,
        }
    }
}

async fn copy_out<S: Source>(
    writer: &mut (impl AsyncWrite + Unpin),
    framing: Framing,
    mut output: S,
) -> OutEnd {
    while let Some(Chunk { stream, bytes }) = output.next().await {
        let mut frame = framing.header(stream, bytes.len()).chain(bytes);
        // With TLS a part may still be in our own buffer.
        if writer.write_all_buf(&mut frame).await.is_err() || writer.flush().await.is_err() {
            return OutEnd::ClientGone;
        }
    }
    OutEnd::Finished
}

#[cfg(test)]
mod tests;
