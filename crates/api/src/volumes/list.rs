//! `GET /volumes`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn list(ctx: Ctx) -> Result<Response> {
    reply::json(StatusCode::OK, &ctx.engine.volumes(&ctx.filters()?)?)
}
