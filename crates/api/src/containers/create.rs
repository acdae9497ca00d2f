//! `POST /containers/create`

use berth_engine::CreateOptions;
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn create(mut ctx: Ctx) -> Result<Response> {
    let request = ctx.required_json().await?;
    let platform = if ctx.since(41) { ctx.query.given("platform") } else { None };
    let options = CreateOptions {
        name: ctx.query.given("name").map(str::to_owned),
        platform: platform.map(str::to_owned),
    };
    let created = ctx.engine.create(options, request).await?;
    reply::json(StatusCode::CREATED, &created)
}
