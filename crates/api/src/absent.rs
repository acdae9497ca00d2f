//! What Docker has and Berth has not, or not yet: the answer says so.

use berth_errdefs::Kind;
use http::StatusCode;
use serde::Serialize;

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

/// `GET /volumes`: there are none.
pub(crate) async fn volumes(ctx: Ctx) -> Result<Response> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Volumes {
        volumes: [(); 0],
        warnings: Option<()>,
    }
    ctx.filters()?;
    reply::json(
        StatusCode::OK,
        &Volumes {
            volumes: [],
            warnings: None,
        },
    )
}

/// A volume by its name: there is none.
pub(crate) async fn volume(ctx: Ctx) -> Result<Response> {
    let name = ctx.param("name");
    Err(Error::not_found(format!("get {name}: no such volume")))
}

/// `DELETE /volumes/{name}`: there is none, which is what `force` wants.
pub(crate) async fn remove_volume(ctx: Ctx) -> Result<Response> {
    if ctx.query.flag("force") {
        return Ok(reply::empty(StatusCode::NO_CONTENT));
    }
    volume(ctx).await
}

/// `POST /volumes/prune`: there are none.
pub(crate) async fn prune_volumes(ctx: Ctx) -> Result<Response> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Pruned {
        volumes_deleted: [(); 0],
        space_reclaimed: u64,
    }
    ctx.filters()?;
    reply::json(
        StatusCode::OK,
        &Pruned {
            volumes_deleted: [],
            space_reclaimed: 0,
        },
    )
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
