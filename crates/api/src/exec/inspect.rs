//! `GET /exec/{id}/json`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    reply::json(StatusCode::OK, &ctx.engine.exec_inspect(ctx.id())?)
}
