//! `POST /commit`

use berth_engine::CommitOptions;
use berth_wire::{CommitResponse, ContainerConfig};
use http::StatusCode;

use super::repo_tag;
use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn commit(mut ctx: Ctx) -> Result<Response> {
    // A client that has nothing to say of the configuration sends `null`, or nothing.
    let config: Option<Option<ContainerConfig>> = ctx.json().await?;
    let query = &ctx.query;
    let options = CommitOptions {
        pause: query.flag_or("pause", true),
        reference: match query.get("repo") {
            "" => None,
            repo => Some(repo_tag(repo, query.get("tag"))?),
        },
        author: query.get("author").to_owned(),
        comment: query.get("comment").to_owned(),
        changes: query.all("changes").map(str::to_owned).collect(),
        config: config.flatten(),
    };
    let id = ctx.engine.commit(query.get("container"), options).await?;
    reply::json(StatusCode::CREATED, &CommitResponse { id })
}
