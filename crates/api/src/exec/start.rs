//! `POST /exec/{id}/start`

use berth_errdefs::{Classify, Kind};
use berth_wire::ExecStart;
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::hijack;
use crate::reply::{self, Response};

pub(crate) async fn start(mut ctx: Ctx) -> Result<Response> {
    let mut request: ExecStart = ctx.json().await?.unwrap_or_default();
    if !request.tty || !ctx.since(42) {
        request.console_size = None;
    }
    let (detach, tty) = (request.detach, request.tty);
    if !detach {
        ctx.session.expect_takeover();
    }
    match ctx.engine.exec_start(ctx.id(), request).await {
        Ok(Some(attachment)) => match hijack::attach(&ctx, true, attachment).await {},
        Ok(None) => Ok(reply::empty(StatusCode::OK)),
        // dockerd leaves HTTP before it starts the process: that the process can't be started is
        // told as its output, and clients take the exit code (126, 127) from inspect.
        Err(error) if !detach && !matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {
            match hijack::apologize(&ctx, tty, &error.to_string()).await {}
        }
        Err(error) => Err(error.into()),
    }
}
