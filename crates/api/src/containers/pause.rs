//! `POST /containers/{id}/pause`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn pause(ctx: Ctx) -> Result<Response> {
    ctx.engine.pause(ctx.id()).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
