//! `GET /containers/{id}/logs`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use berth_engine::{LogLine, LogOptions, LogStream};
use berth_wire::stdcopy;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::context::Ctx;
use crate::framing::{self, Framing};
use crate::query::Query;
use crate::reply::{self, Response};
use crate::{Error, Result, time};

/// How many lines are written at once at most when more are waiting.
const BATCH: usize = 128;

/// What Go's query escaping leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

pub(crate) async fn logs(ctx: Ctx) -> Result<Response> {
    let options = options(&ctx.query, Timestamp::now())?;
    let log = ctx.engine.logs(ctx.id(), options).await?;
    let dress = Dress {
        framing: Framing::of(log.tty),
        timestamps: ctx.query.flag("timestamps"),
        details: ctx.query.flag("details"),
    };
    let multiplexed = !log.tty && ctx.since(42);
    let content_type = if multiplexed {
        framing::MULTIPLEXED
    } else {
        framing::RAW
    };
    let body = dress
        .body(lines(log))
        .take_until(ctx.cancel.cancelled_owned());
    Ok(reply::stream(content_type, body))
}

fn options(query: &Query, now: Timestamp) -> Result<LogOptions> {
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    // Not a number, or less than none, means all; so do clients say `all`.
    let tail = query
        .get("tail")
        .parse::<i64>()
        .ok()
        .and_then(|n| u64::try_from(n).ok());
    let since = query
        .given("since")
        .map(|t| time::parse(t, now))
        .transpose()?;
    let until = query.given("until").filter(|t| *t != "0");
    let until = until.map(|t| time::parse(t, now)).transpose()?;
    Ok(LogOptions {
        stdout,
        stderr,
        follow: query.flag("follow"),
        since,
        until,
        tail,
    })
}

fn lines(log: LogStream) -> impl Stream<Item = Result<LogLine>> + Send {
    stream::unfold(log, |mut log| async move {
        let line = log.next().await?;
        Some((line.map_err(Error::from), log))
    })
}

/// How lines are shown.
#[derive(Clone, Copy, Debug)]
struct Dress {
    framing: Framing,
    timestamps: bool,
    details: bool,
}

impl Dress {
    /// The lines as they go over the wire; what is there already is written at once.
    fn body<S>(self, lines: S) -> impl Stream<Item = io::Result<Bytes>> + Send
    where
        S: Stream<Item = Result<LogLine>> + Send + 'static,
    {
        lines.ready_chunks(BATCH).map(move |batch| {
            let mut out = BytesMut::new();
            for line in batch {
                match line {
                    Ok(line) => self.line(&mut out, &line),
                    Err(error) => {
                        let text = format!("Error grabbing logs: {error}\n");
                        self.put(&mut out, stdcopy::Stream::SystemErr, &[text.as_bytes()]);
                    }
                }
            }
            Ok(out.freeze())
        })
    }

    fn line(self, out: &mut BytesMut, line: &LogLine) {
        let mut prefix = String::new();
        if self.timestamps {
            let _ = write!(prefix, "{} ", time::fixed(line.time));
        }
        if self.details {
            attributes(&mut prefix, &line.attrs);
            prefix.push(' ');
        }
        self.put(out, line.stream, &[prefix.as_bytes(), &line.bytes]);
    }

    fn put(self, out: &mut BytesMut, stream: stdcopy::Stream, parts: &[&[u8]]) {
        let length = parts.iter().map(|p| p.len()).sum();
        out.extend_from_slice(&self.framing.header(stream, length));
        for part in parts {
            out.extend_from_slice(part);
        }
    }
}

/// `key=value,key=value`, escaped as in a query.
fn attributes(out: &mut String, attributes: &BTreeMap<String, String>) {
    for (at, (key, value)) in attributes.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{}={}", escape(key), escape(value));
    }
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, PLAIN)
        .to_string()
        .replace("%20", "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<LogLine> {
        Ok(LogLine {
            stream: stdcopy::Stream::Stderr,
            time: "2006-01-02T15:04:05.5Z".parse().unwrap(),
            attrs: [("b", "x y"), ("a", "1/2")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        })
    }

    fn shown(dress: Dress, lines: Vec<Result<LogLine>>) -> Vec<Vec<u8>> {
        let body = dress.body(stream::iter(lines)).map(|b| b.unwrap().to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(body.collect())
    }

    #[test]
    fn lines_are_dressed_and_batched() {
        let plain = Dress {
            framing: Framing::Raw,
            timestamps: false,
            details: false,
        };
        assert_eq!(shown(plain, vec![line("a\n"), line("b\n")]), [b"a\nb\n"]);
        let all = Dress {
            framing: Framing::Raw,
            timestamps: true,
            details: true,
        };
        assert_eq!(
            String::from_utf8_lossy(&shown(all, vec![line("a\n")])[0]),
            "2006-01-02T15:04:05.500000000Z a=1%2F2,b=x+y a\n"
        );
        let framed = Dress {
            framing: Framing::Multiplexed,
            timestamps: false,
            details: false,
        };
        assert_eq!(
            shown(framed, vec![line("hi\n")]),
            [b"\x02\0\0\0\0\0\0\x03hi\n"]
        );
        let broken = shown(framed, vec![Err(Error::invalid("no"))]);
        assert_eq!(&broken[0][..8], b"\x03\0\0\0\0\0\0\x18");
        assert_eq!(&broken[0][8..], b"Error grabbing logs: no\n");
    }

    #[test]
    fn options_are_read_as_dockerd_does() {
        let read = |q: &str| options(&Query::parse(q).unwrap(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            read("follow=1").unwrap_err().to_string(),
            "Bad parameters: you must choose at least one stream"
        );
        assert_eq!(read("stdout=1&tail=all").unwrap().tail, None);
        assert_eq!(read("stdout=1&tail=-1").unwrap().tail, None);
        assert_eq!(read("stdout=1&tail=0").unwrap().tail, Some(0));
        assert_eq!(read("stdout=1&tail=5").unwrap().tail, Some(5));
        assert_eq!(read("stdout=1&until=0").unwrap().until, None);
        assert!(read("stderr=1&since=10m&follow=true").unwrap().follow);
        assert!(read("stderr=1&since=x").is_err());
    }
}
