//! `POST /containers/{id}/exec`

use berth_wire::ExecCreate;
use http::StatusCode;
use serde::Serialize;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

#[derive(Serialize)]
struct Created {
    #[serde(rename = "Id")]
    id: String,
}

pub(crate) async fn create(mut ctx: Ctx) -> Result<Response> {
    let mut request: ExecCreate = ctx.json().await?.unwrap_or_default();
    if request.cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    if !ctx.since(42) {
        request.console_size = None;
    }
    let id = ctx.engine.exec_create(ctx.id(), request)?;
    reply::json(StatusCode::CREATED, &Created { id })
}
