//! `GET /version`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn version(ctx: Ctx) -> Result<Response> {
    ctx.gated(&ctx.engine.version(), berth_wire::gates::version)
}
