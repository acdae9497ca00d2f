//! `POST /auth`: whether a registry takes credentials.

use berth_registry::Credentials;
use http::StatusCode;
use serde::Serialize;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn log_in(mut ctx: Ctx) -> Result<Response> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct LoggedIn {
        identity_token: String,
        status: &'static str,
    }
    let credentials = ctx.json::<Credentials>().await?.unwrap_or_default();
    let registry = ctx.engine.images().registry();
    let identity_token = registry.log_in(&credentials.unpacked()).await;
    reply::json(
        StatusCode::OK,
        &LoggedIn {
            identity_token: identity_token.map_err(Error::from)?,
            status: "Login Succeeded",
        },
    )
}
