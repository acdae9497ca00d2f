//! `POST /images/{name}/push`

use berth_images::{Progress, PushRequest};
use berth_reference::Reference;

use super::{bad_name, chosen_platform, credentials, progress};
use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn push(ctx: Ctx) -> Result<Response> {
    let request = PushRequest {
        reference: wanted(ctx.param("name"), ctx.query.get("tag"))?,
        platform: chosen_platform(&ctx, 46)?,
        credentials: credentials::from_headers(&ctx.headers),
    };
    let images = ctx.engine.images().clone();
    let work = |progress: Progress| async move { Ok(images.push(&request, &progress).await?) };
    Ok(reply::stream(
        reply::JSON,
        progress::stream(progress::all, work),
    ))
}

fn wanted(name: &str, tag: &str) -> Result<Reference> {
    let reference = Reference::parse(name).map_err(bad_name)?;
    match tag {
        "" => Ok(reference),
        tag => reference.with_tag(tag).map_err(bad_name),
    }
}
