//! `GET /containers/{id}/stats`

use std::io;

use berth_engine::{StatsOptions, StatsStream};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn stats(ctx: Ctx) -> Result<Response> {
    let options = StatsOptions {
        stream: ctx.query.flag_or("stream", true),
        // Before 1.41 there was no such parameter.
        one_shot: ctx.since(41) && ctx.query.flag_or("one-shot", false),
    };
    let stats = ctx.engine.stats(ctx.id(), options).await?;
    let body = each(stats).take_until(ctx.cancel.cancelled_owned());
    Ok(reply::stream(reply::JSON, body))
}

/// One value a line.
fn each(stats: StatsStream) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(stats, |mut stats| async move {
        let next = stats.next().await?;
        Some((reply::encode(&next).map_err(io::Error::other), stats))
    })
}
