//! `POST /containers/{id}/kill`

use berth_errdefs::Classify;
use http::StatusCode;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn kill(ctx: Ctx) -> Result<Response> {
    let id = ctx.id();
    ctx.engine
        .kill(id, ctx.query.given("signal"))
        .await
        .map_err(|e| Error::new(e.kind(), format!("cannot kill container: {id}: {e}")))?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
