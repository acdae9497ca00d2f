//! `POST /containers/{id}/stop`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn stop(ctx: Ctx) -> Result<Response> {
    let options = super::stop_options(&ctx)?;
    Ok(super::changed(ctx.engine.stop(ctx.id(), options).await?))
}
