//! `GET /images/{name}/get` and `GET /images/get`

use std::io;

use futures::StreamExt;

use super::chosen_platforms;
use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn save(ctx: Ctx) -> Result<Response> {
    let platforms = chosen_platforms(&ctx, 48, "platform")?;
    let names: Vec<String> = match ctx.param("name") {
        "" => ctx.query.all("names").map(str::to_owned).collect(),
        name => vec![name.to_owned()],
    };
    let archive = ctx.engine.images().save(&names, &platforms).await?;
    // A failure after the head can only be told by cutting the stream off.
    let archive = archive.map(|piece| piece.map_err(io::Error::other));
    Ok(reply::stream("application/x-tar", archive))
}
