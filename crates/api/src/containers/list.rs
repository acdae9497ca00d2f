//! `GET /containers/json`

use berth_engine::ListOptions;

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn list(ctx: Ctx) -> Result<Response> {
    let options = ListOptions {
        all: ctx.query.flag("all"),
        limit: ctx.query.int("limit")?,
        size: ctx.query.flag("size"),
        filters: ctx.filters()?,
    };
    let containers = ctx.engine.list(&options)?;
    ctx.gated(&containers, berth_wire::gates::container_list)
}
