//! `DELETE /networks/{id}`

use berth_errdefs::Kind;

use crate::context::Ctx;
use crate::reply::Response;
use crate::{Error, Result};

pub(crate) async fn remove(ctx: Ctx) -> Result<Response> {
    // All networks are predefined.
    let name = ctx.engine.network(ctx.id())?.name;
    let message = format!("{name} is a pre-defined network and cannot be removed");
    Err(Error::new(Kind::Forbidden, message))
}
