//! `POST /networks/create`

use berth_wire::NetworkCreateRequest;
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn create(mut ctx: Ctx) -> Result<Response> {
    let mut request: NetworkCreateRequest = ctx.required_json().await?;
    if !ctx.since(48) {
        // Every network had IPv4.
        request.enable_ipv4 = None;
    }
    let created = ctx.engine.network_create(request).await?;
    reply::json(StatusCode::CREATED, &created)
}
