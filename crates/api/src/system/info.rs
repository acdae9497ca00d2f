//! `GET /info`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn info(ctx: Ctx) -> Result<Response> {
    ctx.gated(&ctx.engine.info().await, berth_wire::gates::info)
}
