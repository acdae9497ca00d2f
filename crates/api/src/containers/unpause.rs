//! `POST /containers/{id}/unpause`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn unpause(ctx: Ctx) -> Result<Response> {
    ctx.engine.unpause(ctx.id()).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
