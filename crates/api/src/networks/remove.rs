//! `DELETE /networks/{id}`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn remove(ctx: Ctx) -> Result<Response> {
    ctx.engine.network_remove(ctx.id()).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
