//! `GET /containers/{id}/json`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    let container = ctx.engine.inspect(ctx.id(), ctx.query.flag("size")).await?;
    ctx.gated(&container, berth_wire::gates::container_inspect)
}
