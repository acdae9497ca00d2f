//! `POST /images/load`

use berth_images::Progress;
use futures::{StreamExt, stream};

use super::{chosen_platforms, progress};
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Result, body};

pub(crate) async fn load(ctx: Ctx) -> Result<Response> {
    let platforms = chosen_platforms(&ctx, 48, "platform")?;
    let keep = if ctx.query.flag_or("quiet", true) {
        progress::results
    } else {
        progress::all
    };
    let images = ctx.engine.images().clone();
    let input = Box::pin(body::upload(ctx.body));
    let work =
        |progress: Progress| async move { Ok(images.load(input, &platforms, &progress).await?) };
    let mut messages = progress::stream(keep, work);
    // The head waits for the first message: some clients send all of the archive before they
    // read anything.
    let first = messages.next().await;
    Ok(reply::stream(
        reply::JSON,
        stream::iter(first).chain(messages),
    ))
}
