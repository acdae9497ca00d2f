//! `GET /containers/{id}/changes`

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn changes(ctx: Ctx) -> Result<Response> {
    let changes = ctx.engine.changes(ctx.id()).await?;
    // dockerd says `null` when there are none.
    let changes = Some(changes).filter(|changes| !changes.is_empty());
    reply::json(StatusCode::OK, &changes)
}
