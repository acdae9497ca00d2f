//! What Docker has and Berth has not, or not yet: the answer says so.

use berth_errdefs::Kind;
use http::StatusCode;

use crate::context::Ctx;
use crate::query::quote;
use crate::reply::{self, Response};
use crate::{Error, Result};

/// What only the manager of a swarm does.
pub(crate) async fn manager(_: Ctx) -> Result<Response> {
    Err(Error::new(
        Kind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
         connect this node to swarm and try again.",
    ))
}

/// What only a member of a swarm does.
pub(crate) async fn member(_: Ctx) -> Result<Response> {
    Err(Error::new(
        Kind::Unavailable,
        "This node is not part of a swarm",
    ))
}

/// `GET /plugins`: there are none.
pub(crate) async fn plugins(ctx: Ctx) -> Result<Response> {
    ctx.filters()?;
    reply::json(StatusCode::OK, &[(); 0])
}

/// A plugin by its name: there is none.
pub(crate) async fn plugin(ctx: Ctx) -> Result<Response> {
    Err(Error::not_found(format!(
        "plugin {} not found",
        quote(ctx.param("name"))
    )))
}
