//! `GET /images/{name}/json`

use super::refuse;
use crate::context::Ctx;
use crate::reply::Response;
use crate::{Error, Result};

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    refuse(&ctx, 49, "platform", "inspecting one platform of an image")?;
    if ctx.since(48) && ctx.query.flag("manifests") {
        return Err(Error::unsupported("listing the manifests of an image"));
    }
    let image = ctx.engine.images().inspect(ctx.param("name"))?;
    ctx.gated(&image, berth_wire::gates::image_inspect)
}
