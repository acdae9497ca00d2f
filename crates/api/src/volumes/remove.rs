//! `DELETE /volumes/{name}`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn remove(ctx: Ctx) -> Result<Response> {
    let force = ctx.query.flag("force");
    ctx.engine.volume_remove(ctx.param("name"), force).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
