//! `DELETE /images/{name}`

use http::StatusCode;

use super::refuse;
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn remove(ctx: Ctx) -> Result<Response> {
    let name = ctx.param("name");
    if name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    refuse(&ctx, 50, "platforms", "removing one platform of an image")?;
    let (force, prune) = (ctx.query.flag("force"), !ctx.query.flag("noprune"));
    reply::json(
        StatusCode::OK,
        &ctx.engine.image_remove(name, force, prune).await?,
    )
}
