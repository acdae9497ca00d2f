//! `GET /networks/{id}`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    let network = ctx.engine.network(ctx.id())?;
    ctx.gated(&network, berth_wire::gates::network_inspect)
}
