//! `GET /images/json`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

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
    let shared_size = ctx.since(42) && ctx.query.flag("shared-size");
    let manifests = ctx.since(47) && ctx.query.flag("manifests");
    let images = ctx.engine.image_list(&filters, shared_size, manifests);
    let mut images = images.await?;
    berth_wire::gates::image_list(&mut images, ctx.version);
    reply::json(StatusCode::OK, &images)
}
