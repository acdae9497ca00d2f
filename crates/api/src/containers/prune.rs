//! `POST /containers/prune`

use http::StatusCode;
use jiff::Timestamp;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Result, time};

pub(crate) async fn prune(ctx: Ctx) -> Result<Response> {
    let now = Timestamp::now();
    let moment = |text: &str| {
        time::parse(text, now).map_err(|error| berth_engine::Error::invalid(error.to_string()))
    };
    let report = ctx.engine.prune(&ctx.filters()?, moment).await?;
    reply::json(StatusCode::OK, &report)
}
