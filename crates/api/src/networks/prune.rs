//! `POST /networks/prune`

use http::StatusCode;
use serde::Serialize;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    /// dockerd says `null` when it removed none.
    networks_deleted: Option<Vec<String>>,
}

pub(crate) async fn prune(ctx: Ctx) -> Result<Response> {
    // All networks are predefined, and those are never pruned.
    ctx.filters()?;
    reply::json(
        StatusCode::OK,
        &Pruned {
            networks_deleted: None,
        },
    )
}
