//! `DELETE /containers/{id}`

use berth_engine::RemoveOptions;
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn remove(ctx: Ctx) -> Result<Response> {
    let options = RemoveOptions {
        force: ctx.query.flag("force"),
        volumes: ctx.query.flag("v"),
        link: ctx.query.flag("link"),
    };
    ctx.engine.remove(ctx.id(), options).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
