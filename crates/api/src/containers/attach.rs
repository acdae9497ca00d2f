//! `POST /containers/{id}/attach` and `GET /containers/{id}/attach/ws`

use berth_engine::{AttachOptions, Attachment};

use crate::context::Ctx;
use crate::hijack::websocket::{self, Frames};
use crate::reply::Response;
use crate::{Result, body, hijack};

pub(crate) async fn attach(mut ctx: Ctx) -> Result<Response> {
    body::discard(&mut ctx.body).await?;
    ctx.session.expect_takeover();
    let options = options(&ctx, |stream| ctx.query.flag(stream));
    let attachment = ctx.engine.attach(ctx.id(), options.clone()).await?;
    match hijack::attach(&ctx, ends_with_output(&options, &attachment), attachment).await {}
}

/// The same over a WebSocket.
pub(crate) async fn attach_ws(ctx: Ctx) -> Result<Response> {
    let head = websocket::head(&ctx.method, &ctx.headers)?;
    ctx.session.expect_takeover();
    // Before 1.42 a client could not choose.
    let options = options(&ctx, |stream| !ctx.since(42) || ctx.query.flag(stream));
    let frames = match ctx.since(28) {
        true => Frames::Binary,
        false => Frames::Text,
    };
    let attachment = ctx.engine.attach(ctx.id(), options.clone()).await?;
    let ends = ends_with_output(&options, &attachment);
    match websocket::attach(&ctx, head, frames, ends, attachment).await {}
}

/// Only a client that does nothing but type stays when there is no more output. One that can do
/// neither has come for nothing, and is let go at once.
fn ends_with_output(options: &AttachOptions, attachment: &Attachment) -> bool {
    options.stdout || options.stderr || attachment.input.is_none()
}

fn options(ctx: &Ctx, wants: impl Fn(&str) -> bool) -> AttachOptions {
    AttachOptions {
        stdin: wants("stdin"),
        stdout: wants("stdout"),
        stderr: wants("stderr"),
        stream: ctx.query.flag("stream"),
        logs: ctx.query.flag("logs"),
        detach_keys: ctx.query.given("detachKeys").map(str::to_owned),
    }
}
