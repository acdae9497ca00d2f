//! `GET /images/{name}/history`

use http::StatusCode;

use super::refuse;
use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn history(ctx: Ctx) -> Result<Response> {
    refuse(
        &ctx,
        48,
        "platform",
        "the history of one platform of an image",
    )?;
    reply::json(
        StatusCode::OK,
        &ctx.engine.images().history(ctx.param("name"))?,
    )
}
