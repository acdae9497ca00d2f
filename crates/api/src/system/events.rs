//! `GET /events`

use std::io;
use std::sync::Arc;

use berth_engine::EventStream;
use berth_wire::Event;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result, time};

/// How many events are written at once at most when more are waiting.
const BATCH: usize = 128;

pub(crate) async fn events(ctx: Ctx) -> Result<Response> {
    let now = Timestamp::now();
    let time = |key: &str| ctx.query.given(key).map(|t| time::parse(t, now)).transpose();
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            ctx.query.get("since"),
            ctx.query.get("until")
        )));
    }
    let events = ctx.engine.events(since, until, &ctx.filters()?)?;
    let body = body(each(events)).take_until(ctx.cancel.cancelled_owned());
    Ok(reply::stream(reply::JSON, body))
}

fn each(events: EventStream) -> impl Stream<Item = Arc<Event>> + Send {
    stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((event, events))
    })
}

/// One event a line; what is there already is written at once.
fn body(events: impl Stream<Item = Arc<Event>> + Send) -> impl Stream<Item = io::Result<Bytes>> {
    events.ready_chunks(BATCH).map(|batch| {
        let mut out = BytesMut::new();
        for event in batch {
            out.extend_from_slice(&reply::encode(&*event).map_err(io::Error::other)?);
        }
        Ok(out.freeze())
    })
}
