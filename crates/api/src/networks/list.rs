//! `GET /networks`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn list(ctx: Ctx) -> Result<Response> {
    let networks = ctx.engine.networks(&ctx.filters()?)?;
    ctx.gated(&networks, berth_wire::gates::network_list)
}
