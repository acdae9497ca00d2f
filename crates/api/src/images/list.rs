//! `GET /images/json`

use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn list(ctx: Ctx) -> Result<Response> {
    let mut filters = ctx.filters()?.lists();
    if !ctx.since(41)
        && let Some(name) = ctx.query.given("filter")
    {
        filters
            .entry("reference".to_owned())
            .or_default()
            .push(name.to_owned());
    }
    // `manifests` only asks for more than there is: what is not told is not there.
    let shared_size = ctx.since(42) && ctx.query.flag("shared-size");
    let images = ctx.engine.images().list(&filters, shared_size)?;
    ctx.gated(&images, berth_wire::gates::image_list)
}
