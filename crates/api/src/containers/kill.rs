//! `POST /containers/{id}/kill`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn kill(ctx: Ctx) -> Result<Response> {
    ctx.engine.kill(ctx.id(), ctx.query.given("signal")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
