//! `POST /containers/{id}/update`

use berth_wire::{HostConfig, UpdateResponse};
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn update(mut ctx: Ctx) -> Result<Response> {
    // Its fields are those of a host configuration that are limits, and the restart policy.
    let mut asked: HostConfig = ctx.required_json().await?;
    if !ctx.since(40) {
        asked.pids_limit = None;
    }
    if ctx.since(42) {
        asked.kernel_memory = 0;
    }
    let warnings = ctx.engine.update(ctx.id(), asked).await?;
    reply::json(StatusCode::OK, &UpdateResponse { warnings })
}
