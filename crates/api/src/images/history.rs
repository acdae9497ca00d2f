//! `GET /images/{name}/history`

use http::StatusCode;

use super::chosen_platform;
use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn history(ctx: Ctx) -> Result<Response> {
    let (images, name) = (ctx.engine.images(), ctx.param("name"));
    let image = match chosen_platform(&ctx, 48)? {
        Some(platform) => images.for_platform(name, &platform).await?,
        None => images.resolve(name)?,
    };
    reply::json(StatusCode::OK, &image.steps())
}
