//! `POST /containers/{id}/start`

use hyper::body::Body;

use crate::context::Ctx;
use crate::reply::Response;
use crate::{Error, Result, body};

pub(crate) async fn start(mut ctx: Ctx) -> Result<Response> {
    // Long ago the body held a HostConfig. A JSON object with anything in it has more than
    // seven bytes; of a body of unknown length only an empty one is let through.
    let harmless = match ctx.body.size_hint().exact() {
        Some(length) => length <= 7,
        None => body::is_empty(&mut ctx.body).await?,
    };
    if !harmless {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and \
             removed in v1.24",
        ));
    }
    if ctx.query.given("checkpoint").is_some() {
        return Err(Error::unsupported("starting from a checkpoint"));
    }
    Ok(super::changed(ctx.engine.start(ctx.id()).await?))
}
