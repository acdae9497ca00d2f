//! `GET /images/{name}/attestations`

use http::StatusCode;

use super::chosen_platforms;
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn attestations(ctx: Ctx) -> Result<Response> {
    let platforms = chosen_platforms(&ctx, 0, "platform")?;
    if platforms.len() > 1 {
        return Err(Error::invalid("only one platform can be specified"));
    }
    let types: Vec<String> = ctx.query.all("type").map(str::to_owned).collect();
    let whole = ctx.query.flag("statement");
    let images = ctx.engine.images();
    let found = images.attestations(ctx.param("name"), platforms.first(), &types, whole);
    reply::json(StatusCode::OK, &found.await?)
}
