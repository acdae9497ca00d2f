//! `GET /events`

use std::future::ready;
use std::io;
use std::sync::Arc;

use berth_engine::EventStream;
use berth_wire::{ApiVersion, Event, gates};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;

use crate::accept::negotiate;
use crate::context::Ctx;
use crate::query::Query;
use crate::reply::{self, Response};
use crate::{Error, Result, time};

/// How many events are written at once at most when more are waiting.
const BATCH: usize = 128;

/// One value a line, by any of these names.
const LINES: [&str; 2] = ["application/jsonl", "application/x-ndjson"];
/// RFC 7464: a record separator before each value.
const SEQUENCE: &str = "application/json-seq";
const RECORD_SEPARATOR: u8 = 0x1e;

pub(crate) async fn events(ctx: Ctx) -> Result<Response> {
    let (since, until) = window(&ctx.query, Timestamp::now())?;
    let events = ctx.engine.events(since, until, &ctx.filters()?)?;
    let offers = [LINES[0], LINES[1], SEQUENCE];
    // Not one JSON value, but it has always been called that.
    let content_type = negotiate(&ctx.headers, &offers, reply::JSON);
    let style = Style {
        version: ctx.version,
        sequence: content_type == SEQUENCE,
    };
    let body = body(each(events), style).take_until(ctx.cancel.cancelled_owned());
    Ok(reply::stream(content_type, body))
}

/// The `since` and `until` parameters.
fn window(query: &Query, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    let time = |key: &str| query.given(key).map(|t| time::parse(t, now)).transpose();
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(from), Some(to)) = (since, until)
        && from > to
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.get("since"),
            query.get("until")
        )));
    }
    Ok((since, until))
}

fn each(events: EventStream) -> impl Stream<Item = Arc<Event>> + Send {
    stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((event, events))
    })
}

/// How events are told.
#[derive(Clone, Copy, Debug)]
struct Style {
    version: ApiVersion,
    sequence: bool,
}

impl Style {
    fn encode(self, event: &Event) -> Result<Bytes> {
        reply::encode_gated(event, gates::event, self.version)
    }
}

/// One event a line; what is there already is written at once.
fn body<S>(events: S, style: Style) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = Arc<Event>> + Send,
{
    let told = events.filter(move |event| ready(gates::event_is_known(event, style.version)));
    told.ready_chunks(BATCH).map(move |batch| {
        let mut out = BytesMut::new();
        for event in batch {
            if style.sequence {
                out.extend_from_slice(&[RECORD_SEPARATOR]);
            }
            out.extend_from_slice(&style.encode(&event).map_err(io::Error::other)?);
        }
        Ok(out.freeze())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Arc<Event> {
        Arc::new(serde_json::from_str(json).unwrap())
    }

    async fn told(minor: u16, sequence: bool, events: Vec<Arc<Event>>) -> String {
        let style = Style {
            version: ApiVersion::new(1, minor),
            sequence,
        };
        let pieces: Vec<_> = body(stream::iter(events), style).collect().await;
        let bytes: Vec<u8> = pieces.into_iter().flat_map(|p| p.unwrap()).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn one_event_is_one_line() {
        let start = r#"{"Type":"container","Action":"start",
            "Actor":{"ID":"c1","Attributes":{"image":"busybox"}},"time":1}"#;
        let new = told(55, false, vec![event(start), event(start)]).await;
        let line = "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"c1\",\
                    \"Attributes\":{\"image\":\"busybox\"}},\"time\":1}\n";
        assert_eq!(new, line.repeat(2));
        assert!(!told(52, false, vec![event(start)]).await.contains("status"));
        let old = told(51, false, vec![event(start)]).await;
        let old: serde_json::Value = serde_json::from_str(&old).unwrap();
        let legacy = [&old["status"], &old["id"], &old["from"], &old["Action"]];
        assert_eq!(legacy, ["start", "c1", "busybox", "start"]);
        assert_eq!(
            told(55, true, vec![event(start)]).await,
            format!("\u{1e}{line}")
        );
    }

    #[tokio::test]
    async fn old_clients_see_neither_new_events_nor_lose_old_fields() {
        let create = r#"{"Type":"image","Action":"create","Actor":{"ID":"i"}}"#;
        let network = r#"{"Type":"network","Action":"create","Actor":{"ID":"n"}}"#;
        assert_eq!(told(45, false, vec![event(create)]).await, "");
        let shown = told(46, false, vec![event(create)]).await;
        assert!(
            shown.contains("\"id\":\"i\"") && !shown.contains("from"),
            "{shown}"
        );
        assert!(
            !told(46, false, vec![event(network)])
                .await
                .contains("status")
        );
    }

    #[test]
    fn the_window_must_make_sense() {
        let read = |q: &str| window(&Query::parse(q).unwrap(), Timestamp::UNIX_EPOCH);
        assert_eq!(read("").unwrap(), (None, None));
        assert!(read("since=1&until=1").is_ok());
        assert_eq!(
            read("since=2&until=1").unwrap_err().to_string(),
            "`since` time (2) cannot be after `until` time (1)"
        );
        assert!(read("since=x").is_err());
    }
}
