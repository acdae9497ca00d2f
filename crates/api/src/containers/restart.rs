//! `POST /containers/{id}/restart`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn restart(ctx: Ctx) -> Result<Response> {
    ctx.engine
        .restart(ctx.id(), super::stop_options(&ctx)?)
        .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
