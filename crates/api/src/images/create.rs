//! `POST /images/create`: pull, or import with `fromSrc`.

use berth_errdefs::Kind;
use berth_images::{Import, PullRequest};
use berth_reference::{Digest, Reference};
use http::StatusCode;
use serde::Serialize;

use super::{bad_name, credentials, platform, progress, repo_tag};
use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result, body};

pub(crate) async fn create(ctx: Ctx) -> Result<Response> {
    if ctx.query.given("fromImage").is_some() {
        pull(ctx).await
    } else {
        import(ctx).await
    }
}

async fn pull(ctx: Ctx) -> Result<Response> {
    let request = PullRequest {
        reference: wanted(ctx.query.get("fromImage"), ctx.query.get("tag"))?,
        platform: platform(&ctx)?,
        credentials: credentials::from_headers(&ctx.headers),
    };
    if request.reference.is_name_only() {
        return pull_all(ctx, request).await;
    }
    // What the registry refuses outright is a plain error, not a stream.
    let pull = ctx.engine.images().pull(request).await?;
    let work = |progress| async move { Ok(pull.run(&progress).await?) };
    Ok(reply::stream(
        reply::JSON,
        progress::stream(progress::all, work),
    ))
}

/// Every tag that the registry has of the repository, one after the other.
async fn pull_all(ctx: Ctx, request: PullRequest) -> Result<Response> {
    let images = ctx.engine.images().clone();
    let credentials = request.credentials.clone();
    let names = images.remote_tags(&request.reference, credentials).await?;
    let work = |progress| async move {
        for reference in names {
            let request = PullRequest {
                reference,
                ..request.clone()
            };
            images.pull(request).await?.run(&progress).await?;
        }
        Ok(())
    };
    Ok(reply::stream(
        reply::JSON,
        progress::stream(progress::all, work),
    ))
}

/// The name of `fromImage` and `tag`, which may also be a digest.
fn wanted(image: &str, tag: &str) -> Result<Reference> {
    // `pull --all-tags` sends names that end with a colon.
    let image = image.strip_suffix(':').unwrap_or(image);
    let mut reference = Reference::parse(image).map_err(bad_name)?;
    if !tag.is_empty() {
        reference = match tag.parse::<Digest>() {
            Ok(digest) => reference.repository().with_digest(digest),
            Err(_) => reference.with_tag(tag).map_err(bad_name)?,
        };
    }
    if reference.familiar_name() == "scratch" {
        return Err(Error::new(Kind::Forbidden, "'scratch' is a reserved name"));
    }
    Ok(reference)
}

async fn import(ctx: Ctx) -> Result<Response> {
    #[derive(Serialize)]
    struct Status {
        status: String,
    }
    let source = ctx.query.get("fromSrc").to_owned();
    let (repo, tag) = (ctx.query.get("repo"), ctx.query.get("tag"));
    let message = ctx
        .query
        .given("message")
        .map_or_else(|| format!("Imported from {source}"), str::to_owned);
    let import = Import {
        reference: if repo.is_empty() {
            None
        } else {
            Some(repo_tag(repo, tag)?)
        },
        changes: ctx.query.all("changes").map(str::to_owned).collect(),
        message,
        platform: platform(&ctx)?,
    };
    let images = ctx.engine.images().clone();
    if source != "-" {
        // What the server refuses outright is a plain error, not a stream.
        let download = images.registry().download(&source).await?;
        let work = |progress| async move {
            images
                .import_download(&source, download, import, &progress)
                .await?;
            Ok(())
        };
        return Ok(reply::stream(
            reply::JSON,
            progress::stream(progress::all, work),
        ));
    }
    let input = Box::pin(body::upload(ctx.body));
    let id = images.import(input, import).await?;
    reply::json(
        StatusCode::OK,
        &Status {
            status: id.to_string(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_together() {
        let name = |image: &str, tag: &str| wanted(image, tag).map(|r| r.familiar());
        assert_eq!(name("busybox", "latest").unwrap(), "busybox:latest");
        assert_eq!(name("busybox:1", "").unwrap(), "busybox:1");
        // All of its tags.
        for image in ["busybox", "busybox:"] {
            assert_eq!(name(image, "").unwrap(), "busybox");
        }
        assert_eq!(name("busybox:1", "2").unwrap(), "busybox:2");
        assert_eq!(
            name("localhost:5000/a/b", "x").unwrap(),
            "localhost:5000/a/b:x"
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            name("busybox:1", &digest).unwrap(),
            format!("busybox@{digest}")
        );
        assert_eq!(
            name("scratch", "").unwrap_err().to_string(),
            "'scratch' is a reserved name"
        );
        assert!(
            name("Busybox", "")
                .unwrap_err()
                .to_string()
                .contains("must be lowercase")
        );
        assert!(name("busybox", "a b").is_err());
    }
}
