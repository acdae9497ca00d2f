//! Answers: JSON, nothing, or a stream.

use std::io;

use berth_errdefs::Kind;
use berth_wire::ApiVersion;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;

use crate::{Error, Result};

/// An answer's body.
pub(crate) type Payload = UnsyncBoxBody<Bytes, io::Error>;

/// An answer.
pub(crate) type Response = http::Response<Payload>;

/// The content type of JSON answers and of streams of JSON values.
pub(crate) const JSON: &str = "application/json";

/// What goes out as JSON, with the newline that dockerd ends it with.
///
/// # Errors
/// The value can't be told in JSON: a mistake of ours.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, value)
        .map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

/// [`encode`] in the shape that clients of `version` know.
///
/// # Errors
/// Those of [`encode`].
pub(crate) fn encode_gated<T: Serialize + ?Sized>(
    value: &T,
    gate: fn(&mut serde_json::Value, ApiVersion),
    version: ApiVersion,
) -> Result<Bytes> {
    // The newest shape is written straight, without a tree in between.
    if version == ApiVersion::NEWEST {
        return encode(value);
    }
    let tree = serde_json::to_value(value);
    let mut tree = tree.map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    gate(&mut tree, version);
    encode(&tree)
}

/// A JSON answer.
///
/// # Errors
/// Those of [`encode`].
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Result<Response> {
    Ok(full(status, JSON, encode(value)?))
}

/// An answer of bytes that are all there.
pub(crate) fn full(
    status: StatusCode,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
) -> Response {
    let body = Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync();
    with_type(status, Some(content_type), body)
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let body = Full::new(Bytes::new())
        .map_err(|never| match never {})
        .boxed_unsync();
    with_type(status, None, body)
}

/// `200` with a body that comes as `stream` gives it; the head goes out at once. An error of the
/// stream cuts the connection, so that the client sees that something is missing.
pub(crate) fn stream<S>(content_type: &'static str, stream: S) -> Response
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let body = StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync();
    with_type(StatusCode::OK, Some(content_type), body)
}

/// A failed request's answer: JSON, or plain text for API versions before 1.24.
pub(crate) fn failure(status: StatusCode, message: &str, plain: bool) -> Response {
    #[derive(Serialize)]
    struct Message<'m> {
        message: &'m str,
    }
    if status == StatusCode::NOT_MODIFIED {
        return empty(status);
    }
    if let (false, Ok(response)) = (plain, json(status, &Message { message })) {
        return response;
    }
    let mut response = full(status, "text/plain; charset=utf-8", format!("{message}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn with_type(status: StatusCode, content_type: Option<&'static str>, body: Payload) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}
