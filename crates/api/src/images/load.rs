//! `POST /images/load`

use berth_images::Progress;
use futures::{StreamExt, stream};

use super::{progress, refuse};
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Result, body};

pub(crate) async fn load(ctx: Ctx) -> Result<Response> {
    refuse(&ctx, 48, "platform", "loading one platform of an image")?;
    let keep = if ctx.query.flag_or("quiet", true) {
        progress::results
    } else {
        progress::all
    };
    let images = ctx.engine.images().clone();
    let input = Box::pin(body::upload(ctx.body));
    let work = |progress: Progress| async move { Ok(images.load(input, &progress).await?) };
    let mut messages = progress::stream(keep, work);
    // The head waits for the first message: some clients send all of the archive before they
    // read anything.
    let first = messages.next().await;
    Ok(reply::stream(
        reply::JSON,
        stream::iter(first).chain(messages),
    ))
}
