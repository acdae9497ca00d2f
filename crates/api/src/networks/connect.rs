//! `POST /networks/{id}/connect`

use berth_wire::NetworkConnectRequest;
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn connect(mut ctx: Ctx) -> Result<Response> {
    let mut request: NetworkConnectRequest = ctx.required_json().await?;
    if let Some(endpoint) = request.endpoint_config.as_mut() {
        if !ctx.since(44) {
            endpoint.mac_address.clear();
        }
        if !ctx.since(48) {
            endpoint.gw_priority = 0;
        }
    }
    ctx.engine.network_connect(ctx.id(), request).await?;
    Ok(reply::empty(StatusCode::OK))
}
