//! `/containers/{id}/archive`: `docker cp`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_engine::ExtractOptions;
use berth_errdefs::Kind;
use berth_wire::ContainerPathStat;
use http::{HeaderValue, StatusCode};

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result, body};

/// What is at the path, as JSON in base64.
const STAT: &str = "x-docker-container-path-stat";

/// `HEAD`: what is at a path.
pub(crate) async fn path_stat(ctx: Ctx) -> Result<Response> {
    let stat = ctx.engine.path_stat(ctx.id(), path(&ctx)?).await?;
    with_stat(reply::empty(StatusCode::OK), &stat)
}

/// `GET`: a tar of what is at a path.
pub(crate) async fn path_archive(ctx: Ctx) -> Result<Response> {
    let (stat, archive) = ctx.engine.path_archive(ctx.id(), path(&ctx)?).await?;
    with_stat(reply::stream("application/x-tar", archive), &stat)
}

/// `PUT`: a tar to unpack into a directory.
pub(crate) async fn path_extract(ctx: Ctx) -> Result<Response> {
    let path = path(&ctx)?.to_owned();
    let options = ExtractOptions {
        no_overwrite_dir_non_dir: ctx.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: ctx.query.flag("copyUIDGID"),
    };
    let id = ctx.id().to_owned();
    let input = Box::pin(body::upload(ctx.body));
    ctx.engine.path_extract(&id, &path, options, input).await?;
    Ok(reply::empty(StatusCode::OK))
}

fn path(ctx: &Ctx) -> Result<&str> {
    match ctx.query.get("path") {
        // dockerd's own words, with the space that they lack.
        "" => Err(Error::invalid("bad parameter: 'path' cannot be empty")),
        path => Ok(path),
    }
}

fn with_stat(mut response: Response, stat: &ContainerPathStat) -> Result<Response> {
    let json = serde_json::to_vec(stat);
    let json = json.map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    let value = HeaderValue::try_from(STANDARD.encode(json));
    let value = value.map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    response.headers_mut().insert(STAT, value);
    Ok(response)
}
