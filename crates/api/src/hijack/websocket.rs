//! Standard streams as messages over a WebSocket (RFC 6455), for clients that cannot leave HTTP
//! otherwise: browsers.
//!
//! Output is not framed: what belongs to which stream cannot be told. A client leaves by closing the
//! WebSocket; there is no half-close.

use std::convert::Infallible;
use std::time::Duration;

use berth_engine::{Attachment, Chunk, Flow};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, Method, Request};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use super::{Sink, Source};
use crate::connection::Raw;
use crate::context::Ctx;
use crate::server::FIXED_HEADERS;
use crate::{Error, Result};

/// The longest message that a client may send, in bytes.
const MESSAGE: usize = 1 << 20;
/// How long the client may take to answer that the WebSocket is closed.
const FAREWELL: Duration = Duration::from_secs(5);

/// How output is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// As it is.
    Binary,
    /// As text: before API 1.28.
    Text,
}

impl Frames {
    fn message(self, bytes: Bytes) -> Message {
        match self {
            Frames::Binary => Message::Binary(bytes),
            Frames::Text => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

/// The answer's head, with which HTTP ends.
///
/// # Errors
/// The client asks for no WebSocket.
pub(crate) fn head(method: &Method, headers: &HeaderMap) -> Result<Bytes> {
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.headers_mut() = headers.clone();
    let answer = create_response(&request)
        .map_err(|error| Error::invalid(format!("not a WebSocket handshake: {error}")))?;
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    let mut add = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    for (name, value) in answer.headers() {
        add(name.as_str().as_bytes(), value.as_bytes());
    }
    // One that is offered alone is taken; between several there is nothing to choose by.
    let protocol = headers.get(SEC_WEBSOCKET_PROTOCOL);
    if let Some(protocol) = protocol.filter(|offer| !offer.as_bytes().contains(&b',')) {
        add(b"sec-websocket-protocol", protocol.as_bytes());
    }
    for (name, value) in FIXED_HEADERS {
        add(name.as_bytes(), value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    Ok(Bytes::from(head))
}

/// Runs an attachment over a WebSocket on the request's connection. Never returns: the answer is
/// written by the connection itself.
pub(crate) async fn attach(
    ctx: &Ctx,
    head: Bytes,
    frames: Frames,
    ends_with_output: bool,
    attachment: Attachment,
) -> Infallible {
    let Attachment { output, input, .. } = attachment;
    let cancel = ctx.cancel.clone();
    let run = move |raw| session(raw, frames, output, input, ends_with_output, cancel);
    ctx.session.take_over(head, run).await
}

/// Runs a session to its end.
pub(crate) async fn session<S: Source, K: Sink>(
    raw: Raw,
    frames: Frames,
    output: S,
    input: Option<K>,
    ends_with_output: bool,
    cancel: CancellationToken,
) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE));
    let socket = WebSocketStream::from_raw_socket(raw, Role::Server, Some(config)).await;
    let (mut sender, mut receiver) = socket.split();
    {
        let incoming = copy_in(&mut receiver, input);
        let outgoing = copy_out(&mut sender, frames, output);
        tokio::pin!(incoming, outgoing);
        let mut out_done = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                end = &mut outgoing, if !out_done => {
                    out_done = true;
                    if ends_with_output || end.is_err() {
                        break;
                    }
                }
                () = &mut incoming => break,
            }
        }
    }
    let farewell = async {
        if sender.send(Message::Close(None)).await.is_ok() {
            while let Some(Ok(_)) = receiver.next().await {}
        }
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// Until the client leaves. What it sends is read also when nobody takes it: its pings are
/// answered, and its end is seen.
async fn copy_in<R, K>(receiver: &mut R, mut input: Option<K>)
where
    R: futures::Stream<Item = std::result::Result<Message, WsError>> + Unpin,
    K: Sink,
{
    while let Some(Ok(message)) = receiver.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        let Some(sink) = &mut input else { continue };
        match sink.write(bytes).await {
            Flow::Continue => {}
            Flow::Detached => return,
            Flow::Closed => input = None,
        }
    }
    if let Some(input) = input {
        input.close().await;
    }
}

async fn copy_out<W, S>(
    sender: &mut W,
    frames: Frames,
    mut output: S,
) -> std::result::Result<(), WsError>
where
    W: futures::Sink<Message, Error = WsError> + Unpin,
    S: Source,
{
    while let Some(Chunk { bytes, .. }) = output.next().await {
        sender.send(frames.message(bytes)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        headers
    }

    const OFFER: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_handshake_is_answered_as_the_standard_says() {
        let head = head(&Method::GET, &offer(&OFFER)).unwrap();
        let head = String::from_utf8(head.to_vec()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
        // RFC 6455's own example.
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!head.contains("protocol:") && head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_protocol_that_is_offered_alone_is_taken() {
        let with = |protocol| {
            let mut headers = offer(&OFFER);
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            String::from_utf8(head(&Method::GET, &headers).unwrap().to_vec()).unwrap()
        };
        let one = with(http::HeaderValue::from_static("tty"));
        assert!(one.contains("sec-websocket-protocol: tty\r\n"));
        let two = with(http::HeaderValue::from_static("tty, raw"));
        assert!(!two.contains("sec-websocket-protocol"));
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for missing in 0..OFFER.len() {
            let mut pairs = OFFER.to_vec();
            pairs.remove(missing);
            assert!(head(&Method::GET, &offer(&pairs)).is_err(), "{missing}");
        }
    }
}
