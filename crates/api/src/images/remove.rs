//! `DELETE /images/{name}`

use http::StatusCode;

use super::chosen_platforms;
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn remove(ctx: Ctx) -> Result<Response> {
    let name = ctx.param("name");
    if name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    let platforms = chosen_platforms(&ctx, 50, "platforms")?;
    let (force, prune) = (ctx.query.flag("force"), !ctx.query.flag("noprune"));
    if !platforms.is_empty() {
        let images = ctx.engine.images();
        let removed = images.remove_platforms(name, &platforms, force).await?;
        return reply::json(StatusCode::OK, &removed);
    }
    reply::json(
        StatusCode::OK,
        &ctx.engine.image_remove(name, force, prune).await?,
    )
}
