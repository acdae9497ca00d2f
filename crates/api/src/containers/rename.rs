//! `POST /containers/{id}/rename`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn rename(ctx: Ctx) -> Result<Response> {
    ctx.engine.rename(ctx.id(), ctx.query.get("name")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
