//! `POST /containers/{id}/attach`

use berth_engine::AttachOptions;

use crate::context::Ctx;
use crate::reply::Response;
use crate::{Result, body, hijack};

pub(crate) async fn attach(mut ctx: Ctx) -> Result<Response> {
    body::discard(&mut ctx.body).await?;
    ctx.session.expect_takeover();
    let options = AttachOptions {
        stdin: ctx.query.flag("stdin"),
        stdout: ctx.query.flag("stdout"),
        stderr: ctx.query.flag("stderr"),
        stream: ctx.query.flag("stream"),
        logs: ctx.query.flag("logs"),
        detach_keys: ctx.query.given("detachKeys").map(str::to_owned),
    };
    let attachment = ctx.engine.attach(ctx.id(), options.clone()).await?;
    match hijack::attach(&ctx, options.stdout || options.stderr, attachment).await {}
}
