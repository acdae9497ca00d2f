//! Request bodies: bounded JSON, checked as dockerd does, and unbounded uploads.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper::body::Body;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The most bytes that a JSON body may have.
const JSON_LIMIT: usize = 4 << 20;

/// How long a client may take to send a JSON body.
const JSON_TIMEOUT: Duration = Duration::from_secs(300);

/// What may go wrong while a body is read.
type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// Reads a JSON body; `None` when the request has no body at all.
///
/// # Errors
/// Another content type than JSON, no or bad or too much JSON: dockerd's words.
pub(crate) async fn json<T, B>(headers: &HeaderMap, body: B) -> Result<Option<T>>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
    B::Error: Into<ReadError>,
{
    let empty = body.size_hint().exact() == Some(0);
    check_content_type(headers, empty)?;
    if empty {
        return Ok(None);
    }
    decode(&collect(body).await?).map(Some)
}

/// Reads a JSON body that must be there.
///
/// # Errors
/// Those of [`json`]; without a body
/// `invalid JSON: got EOF while reading request body`.
pub(crate) async fn required_json<T, B>(headers: &HeaderMap, body: B) -> Result<T>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
    B::Error: Into<ReadError>,
{
    json(headers, body).await?.ok_or_else(eof)
}

/// Whether the body has any bytes; at most one piece of it is read.
///
/// # Errors
/// The client went away meanwhile.
pub(crate) async fn is_empty<B>(body: B) -> Result<bool>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<ReadError>,
{
    let mut pieces = BodyStream::new(body);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| Error::invalid(e.into().to_string()))?;
        if piece.data_ref().is_some_and(|d| !d.is_empty()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a body to its end that nobody wants, so that nothing of it is taken for what comes after.
///
/// # Errors
/// It is longer than a JSON body may be, or the client went away.
pub(crate) async fn discard<B>(body: B) -> Result<()>
where
    B: Body<Data = Bytes>,
    B::Error: Into<ReadError>,
{
    collect(body).await.map(drop)
}

/// The body as a stream of bytes, for uploads of any size.
pub(crate) fn upload<B>(body: B) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<ReadError>,
{
    body.into_data_stream()
        .map(|piece| piece.map_err(io::Error::other))
}

/// No content type is fine as long as there is no body either.
fn check_content_type(headers: &HeaderMap, empty: bool) -> Result<()> {
    let given = headers
        .get(CONTENT_TYPE)
        .map(|v| String::from_utf8_lossy(v.as_bytes()));
    let given = given.unwrap_or_default();
    if given.is_empty() && empty {
        return Ok(());
    }
    let media = given
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    if media.is_empty() {
        return Err(Error::invalid(format!(
            "malformed Content-Type header ({given}): mime: no media type"
        )));
    }
    if media != "application/json" {
        return Err(Error::invalid(format!(
            "unsupported Content-Type header ({given}): must be 'application/json'"
        )));
    }
    Ok(())
}

async fn collect<B>(body: B) -> Result<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<ReadError>,
{
    let collect = Limited::new(body, JSON_LIMIT).collect();
    let collected = tokio::time::timeout(JSON_TIMEOUT, collect).await;
    let collected = collected.map_err(|_| Error::invalid("invalid JSON: i/o timeout"))?;
    collected.map(|c| c.to_bytes()).map_err(|error| {
        let too_large = error.is::<http_body_util::LengthLimitError>();
        let reason = if too_large {
            "http: request body too large".to_owned()
        } else {
            error.to_string()
        };
        Error::invalid(format!("invalid JSON: {reason}"))
    })
}

fn eof() -> Error {
    Error::invalid("invalid JSON: got EOF while reading request body")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(&mut decoder).map_err(|error| {
        if error.is_eof() && bytes.iter().all(u8::is_ascii_whitespace) {
            return eof();
        }
        Error::invalid(format!("invalid JSON: {}", reason(bytes, &error)))
    })?;
    decoder
        .end()
        .map_err(|_| Error::invalid("unexpected content after JSON"))?;
    Ok(value)
}

/// What is wrong with the JSON, in the words of Go's decoder where it has the same notion.
fn reason(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let text = error.to_string();
    let (what, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
    let place = match what {
        "expected value" | "expected ident" => "looking for beginning of value",
        "key must be a string" | "trailing comma" => "looking for beginning of object key string",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        "expected `:`" => "after object key",
        _ => return what.to_owned(),
    };
    let line = bytes
        .split(|b| *b == b'\n')
        .nth(error.line().saturating_sub(1));
    let wrong = line
        .and_then(|l| l.get(error.column().saturating_sub(1)))
        .copied();
    let wrong = match wrong.unwrap_or(b'\n') {
        b'"' => "'\"'".to_owned(),
        b'\'' => r"'\''".to_owned(),
        other => format!("'{}'", char::from(other).escape_default()),
    };
    format!("invalid character {wrong} {place}")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::Full;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Thing {
        #[serde(default)]
        a: Option<i64>,
    }

    fn read(content_type: Option<&str>, body: &str) -> Result<Option<Thing>> {
        let mut headers = HeaderMap::new();
        if let Some(text) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(text).unwrap());
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(json(&headers, body))
    }

    const JSON: Option<&str> = Some("application/json");

    /// Content type, body and what is wrong with them.
    const REFUSED: &[(Option<&str>, &str, &str)] = &[
        (
            None,
            "{}",
            "malformed Content-Type header (): mime: no media type",
        ),
        (
            Some("text/plain"),
            "{}",
            "unsupported Content-Type header (text/plain): must be 'application/json'",
        ),
        (
            Some("text/plain"),
            "",
            "unsupported Content-Type header (text/plain): must be 'application/json'",
        ),
        (
            JSON,
            " \n",
            "invalid JSON: got EOF while reading request body",
        ),
        (JSON, "{\"a\":", "invalid JSON: unexpected EOF"),
        (JSON, "{} {}", "unexpected content after JSON"),
        (JSON, "{}x", "unexpected content after JSON"),
        (
            JSON,
            "xyz",
            "invalid JSON: invalid character 'x' looking for beginning of value",
        ),
        (
            JSON,
            "{a:1}",
            "invalid JSON: invalid character 'a' looking for beginning of object key string",
        ),
        (
            JSON,
            "{\"a\":1 \"b\":2}",
            "invalid JSON: invalid character '\"' after object key:value pair",
        ),
    ];

    #[test]
    fn bodies_are_checked_as_dockerd_does() {
        let failed = |t: Option<&str>, b: &str| read(t, b).unwrap_err().to_string();
        assert!(read(None, "").unwrap().is_none());
        assert!(
            read(Some("application/json; charset=utf-8"), "")
                .unwrap()
                .is_none()
        );
        assert_eq!(read(JSON, " {\"a\":1}\n").unwrap().unwrap().a, Some(1));
        assert_eq!(
            read(Some("Application/JSON;charset=utf-8"), "{}")
                .unwrap()
                .unwrap()
                .a,
            None
        );
        for (content_type, body, message) in REFUSED {
            assert_eq!(
                failed(*content_type, body),
                *message,
                "{content_type:?} {body}"
            );
        }
        let huge = format!("{{\"b\":\"{}\"}}", "x".repeat(JSON_LIMIT));
        assert_eq!(
            failed(JSON, &huge),
            "invalid JSON: http: request body too large"
        );
    }

    proptest! {
        #[test]
        fn any_body_is_answered(body in ".*") {
            let _ = read(Some("application/json"), &body);
        }
    }
}
