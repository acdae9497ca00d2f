//! `POST /exec/{id}/resize`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn resize(ctx: Ctx) -> Result<Response> {
    let height = ctx.query.cells("h", "height")?;
    let width = ctx.query.cells("w", "width")?;
    ctx.engine.exec_resize(ctx.id(), height, width).await?;
    Ok(reply::empty(StatusCode::OK))
}
