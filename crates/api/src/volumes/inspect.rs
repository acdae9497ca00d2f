//! `GET /volumes/{name}`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    reply::json(StatusCode::OK, &ctx.engine.volume(ctx.param("name"))?)
}
