//! `POST /volumes/prune`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn prune(ctx: Ctx) -> Result<Response> {
    let mut filters = ctx.filters()?;
    if !ctx.since(42) {
        // Volumes that have names were pruned, too.
        filters.add("all", "true");
    }
    reply::json(StatusCode::OK, &ctx.engine.volumes_prune(filters).await?)
}
