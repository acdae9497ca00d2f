//! `GET /containers/{id}/export`

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn export(ctx: Ctx) -> Result<Response> {
    // A failure after the head can only be told by cutting the stream off.
    let archive = ctx.engine.export(ctx.id()).await?;
    Ok(reply::stream("application/x-tar", archive))
}
