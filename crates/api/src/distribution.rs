//! `GET /distribution/{name}/json`: an image as its registry has it.

use berth_reference::{Reference, is_identifier};
use http::StatusCode;

use crate::context::Ctx;
use crate::images::{bad_name, credentials};
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn inspect(ctx: Ctx) -> Result<Response> {
    let name = ctx.param("name");
    if is_identifier(name) || name.parse::<berth_reference::Digest>().is_ok() {
        let message = format!("unknown image reference format: {name}");
        return Err(Error::invalid(message));
    }
    let reference = Reference::parse(name).map_err(bad_name)?;
    let credentials = credentials::from_headers(&ctx.headers);
    let images = ctx.engine.images();
    let found = images.distribution(&reference, credentials).await?;
    reply::json(StatusCode::OK, &found)
}
