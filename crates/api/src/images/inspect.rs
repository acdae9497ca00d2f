//! `GET /images/{name}/json`

use berth_wire::DriverData;

use super::chosen_platform;
use crate::context::Ctx;
use crate::reply::Response;
use crate::{Error, Result};

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    let platform = chosen_platform(&ctx, 49)?;
    let manifests = ctx.since(48) && ctx.query.flag("manifests");
    if platform.is_some() && manifests {
        let message = "conflicting options: manifests and platform options cannot both be set";
        return Err(Error::invalid(message));
    }
    let mut image = ctx
        .engine
        .image_inspect(ctx.param("name"), platform.as_ref(), manifests)
        .await?;
    if !ctx.since(52) {
        image.graph_driver = Some(DriverData {
            name: ctx.engine.snapshotter().to_owned(),
            ..DriverData::default()
        });
    }
    ctx.gated(&image, berth_wire::gates::image_inspect)
}
