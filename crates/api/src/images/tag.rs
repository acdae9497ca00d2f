//! `POST /images/{name}/tag`

use http::StatusCode;

use super::repo_tag;
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn tag(ctx: Ctx) -> Result<Response> {
    let target = repo_tag(ctx.query.get("repo"), ctx.query.get("tag"))?;
    if target.familiar_name() == "sha256" {
        return Err(Error::invalid(
            "refusing to create an ambiguous tag using digest algorithm as name",
        ));
    }
    ctx.engine.images().tag(ctx.param("name"), &target).await?;
    Ok(reply::empty(StatusCode::CREATED))
}
