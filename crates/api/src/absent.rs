//! What Docker has and Berth has not, or not yet: the answer says so.

use berth_errdefs::Kind;
use http::StatusCode;
use serde::Serialize;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

/// Everything of Swarm, as an engine answers that is in no swarm.
pub(crate) async fn swarm(_: Ctx) -> Result<Response> {
    Err(Error::new(
        Kind::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
         connect this node to swarm and try again.",
    ))
}

/// `GET /volumes`: there are none.
pub(crate) async fn volumes(_: Ctx) -> Result<Response> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Volumes {
        volumes: [(); 0],
        warnings: Option<()>,
    }
    reply::json(StatusCode::OK, &Volumes { volumes: [], warnings: None })
}

/// A volume by its name: there is none.
pub(crate) async fn volume(ctx: Ctx) -> Result<Response> {
    let name = ctx.param("name");
    Err(Error::not_found(format!("get {name}: no such volume")))
}

/// `GET /plugins`: there are none.
pub(crate) async fn plugins(_: Ctx) -> Result<Response> {
    reply::json(StatusCode::OK, &[(); 0])
}

/// A plugin by its name: there is none.
pub(crate) async fn plugin(ctx: Ctx) -> Result<Response> {
    let name = ctx.param("name");
    Err(Error::not_found(format!("plugin {} not found", crate::query::quote(name))))
}
