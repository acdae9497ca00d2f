//! `GET /images/{name}/json`

use super::refuse;
use crate::Result;
use crate::context::Ctx;
use crate::reply::Response;

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    refuse(&ctx, "platform", "inspecting one platform of an image")?;
    let image = ctx.engine.images().inspect(ctx.param("name"))?;
    ctx.gated(&image, berth_wire::gates::image_inspect)
}
