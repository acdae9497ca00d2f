//! `OPTIONS` of anything

use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn options(_: Ctx) -> Result<Response> {
    Ok(reply::empty(StatusCode::OK))
}
