//! `POST /networks/prune`

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result, time};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    /// dockerd says `null` when it removed none.
    networks_deleted: Option<Vec<String>>,
}

pub(crate) async fn prune(ctx: Ctx) -> Result<Response> {
    let filters = ctx.filters()?;
    let until = match filters.get("until").as_slice() {
        [] => None,
        [text] => Some(time::parse(text, Timestamp::now())?),
        _ => return Err(Error::invalid("more than one until filter specified")),
    };
    let removed = ctx.engine.network_prune(filters, until).await?;
    let pruned = Pruned {
        networks_deleted: Some(removed).filter(|names| !names.is_empty()),
    };
    reply::json(StatusCode::OK, &pruned)
}
