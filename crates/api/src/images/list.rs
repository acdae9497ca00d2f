//! `GET /images/json`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn list(ctx: Ctx) -> Result<Response> {
    let mut filters = ctx.filters()?.to_map();
    if !ctx.since(41)
        && let Some(name) = ctx.query.given("filter")
    {
        filters.entry("reference".to_owned()).or_default().push(name.to_owned());
    }
    let images = ctx.engine.images().list(&filters, ctx.query.flag("shared-size"))?;
    ctx.gated(&images, berth_wire::gates::image_list)
}
