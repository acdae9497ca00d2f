//! `GET /containers/{id}/top`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn top(ctx: Ctx) -> Result<Response> {
    let found = ctx.engine.top(ctx.id(), ctx.query.get("ps_args")).await?;
    reply::json(StatusCode::OK, &found)
}
