//! `POST /images/prune`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn prune(ctx: Ctx) -> Result<Response> {
    let pruned = ctx.engine.images_prune(&ctx.filters()?).await?;
    reply::json(StatusCode::OK, &pruned)
}
