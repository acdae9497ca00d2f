//! `POST /images/load`

use std::future::ready;

use berth_images::Progress;
use futures::{StreamExt, stream};

use super::{progress, refuse};
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Result, body};

pub(crate) async fn load(ctx: Ctx) -> Result<Response> {
    refuse(&ctx, "platform", "loading one platform of an image")?;
    let quiet = ctx.query.flag("quiet");
    let images = ctx.engine.images().clone();
    let input = Box::pin(body::upload(ctx.body));
    let work = |progress: Progress| async move { Ok(images.load(input, &progress).await?) };
    let mut messages = progress::stream(work);
    // The head waits for the first message: some clients send all of the archive before they
    // read anything.
    let first = messages.next().await;
    let messages = stream::iter(first).chain(messages);
    let shown = move |line: &std::io::Result<bytes::Bytes>| {
        // What has a byte count is progress; the names of what was loaded have none.
        let counts = |b: &bytes::Bytes| b.windows(16).any(|w| w == b"\"progressDetail\"");
        ready(!quiet || !line.as_ref().is_ok_and(counts))
    };
    Ok(reply::stream(reply::JSON, messages.filter(shown)))
}
