//! `POST /networks/{id}/disconnect`

use berth_wire::NetworkDisconnectRequest;
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn disconnect(mut ctx: Ctx) -> Result<Response> {
    let request: NetworkDisconnectRequest = ctx.required_json().await?;
    ctx.engine.network_disconnect(ctx.id(), request).await?;
    Ok(reply::empty(StatusCode::OK))
}
