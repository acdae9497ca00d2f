//! What a registry says when it refuses.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use crate::limits::Limits;
use crate::{Error, Result};

/// The longest error body read.
const MAX_ERROR: usize = 64 << 10;

/// A refused request: status, the registry's words, and what else may matter.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    failures: Vec<Failure>,
    after: Option<Duration>,
}

#[derive(Deserialize)]
struct Failures {
    #[serde(default)]
    errors: Vec<Failure>,
    /// What token servers and others say instead.
    #[serde(default, alias = "message", alias = "error")]
    details: String,
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    /// Reads what an answer says, if it says so in time.
    pub(crate) async fn read(
        verb: &'static str,
        url: &Url,
        response: Response,
        limits: Limits,
    ) -> Refusal {
        let status = response.status();
        let after = retry_after(response.headers());
        let body = timeout(limits.answer, limited(verb, url, response, MAX_ERROR)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        Refusal {
            status,
            failures: failures(&body),
            after,
        }
    }

    /// Whether it says so in the specification's words.
    pub(crate) fn says(&self, code: &str) -> bool {
        self.failures.iter().any(|f| f.code == code)
    }

    /// The registry's message, or what its error code means where it has none.
    pub(crate) fn words(&self, default: &str) -> String {
        match self.failures.first() {
            Some(first) if !first.message.is_empty() => first.message.clone(),
            Some(first) if !first.code.is_empty() => first.code(),
            _ => default.to_owned(),
        }
    }

    /// Any other refusal than those that have words of their own.
    pub(crate) fn other(&self) -> Error {
        let (status, after) = (self.status, self.after);
        if status == StatusCode::TOO_MANY_REQUESTS {
            let text = self.words("rate limit exceeded");
            return Error::TooMany { text, after };
        }
        let text = match self.failures.first() {
            Some(first) => format!("{}: {}", first.code(), self.words(&first.code())),
            None => format!("received unexpected HTTP status: {status}"),
        };
        match status.is_server_error() {
            true => Error::Server { text, after },
            false => Error::Status(text),
        }
    }
}

impl Failure {
    /// The code as Docker writes it.
    fn code(&self) -> String {
        self.code.to_ascii_lowercase().replace('_', " ")
    }
}

fn failures(body: &[u8]) -> Vec<Failure> {
    serde_json::from_slice::<Failures>(body)
        .map(|f| f.errors)
        .unwrap_or_default()
}

/// What the body of a refusal says, in whatever shape.
pub(crate) fn message(body: &[u8], default: &str) -> String {
    let Ok(read) = serde_json::from_slice::<Failures>(body) else {
        return default.to_owned();
    };
    let first = read.errors.into_iter().map(|f| f.message);
    first
        .chain([read.details])
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    pause(headers.get("retry-after")?.to_str().ok()?)
}

pub(crate) fn pause(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(text)
        .ok()?;
    let left = until.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(left).unwrap_or_default())
}

/// The whole body of an answer that must not be larger than `limit` bytes.
pub(crate) async fn limited(
    method: &'static str,
    url: &Url,
    response: Response,
    limit: usize,
) -> Result<Bytes> {
    let body = small(method, url, response, limit).await?;
    body.ok_or_else(|| {
        let url = crate::error::printable(url);
        Error::Protocol(format!("{url}: answer is larger than {limit} bytes"))
    })
}

/// The whole body of an answer; `None` when it is larger than `limit` bytes.
pub(crate) async fn small(
    method: &'static str,
    url: &Url,
    response: Response,
    limit: usize,
) -> Result<Option<Bytes>> {
    let mut stream = response.bytes_stream();
    let mut body = BytesMut::new();
    while let Some(part) = stream.next().await {
        body.extend_from_slice(&part.map_err(|e| Error::transport(method, url, &e))?);
        if body.len() > limit {
            return Ok(None);
        }
    }
    Ok(Some(body.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_seconds_or_dates() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        let past = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(after(past), Some(Duration::ZERO));
        let ahead = after("Thu, 01 Jan 2099 00:00:00 GMT");
        assert!(ahead.unwrap() > Duration::from_secs(1 << 20));
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn words_come_in_several_shapes() {
        let said = |body: &str| message(body.as_bytes(), "default");
        assert_eq!(said(r#"{"errors":[{"code":"A","message":"no"}]}"#), "no");
        assert_eq!(said(r#"{"details":"incorrect"}"#), "incorrect");
        assert_eq!(said(r#"{"errors":[{"code":"A"}]}"#), "default");
        assert_eq!(said("<html>"), "default");
    }
}
