//! `GET /system/df`

use berth_engine::DiskUsageOptions;
use berth_errdefs::Kind;
use berth_wire::gates;
use http::StatusCode;

use crate::context::Ctx;
use crate::query::Query;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn df(ctx: Ctx) -> Result<Response> {
    let kinds = ctx.since(42).then_some(&ctx.query);
    let usage = ctx.engine.disk_usage(options(kinds)?).await?;
    if ctx.since(52) && ctx.query.flag("verbose") {
        return reply::json(StatusCode::OK, &usage);
    }
    // Gated for every version: the newest one has both shapes as well.
    let usage = serde_json::to_value(&usage);
    let mut usage = usage.map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    gates::disk_usage(&mut usage, ctx.version);
    reply::json(StatusCode::OK, &usage)
}

/// The kinds that `type` names; all where it names none.
fn options(query: Option<&Query>) -> Result<DiskUsageOptions> {
    let kinds: Vec<_> = query.map_or_else(Vec::new, |query| query.all("type").collect());
    let all = kinds.is_empty();
    let mut options = DiskUsageOptions {
        containers: all,
        images: all,
        volumes: all,
        build_cache: all,
    };
    for kind in kinds {
        let asked = match kind {
            "container" => &mut options.containers,
            "image" => &mut options.images,
            "volume" => &mut options.volumes,
            "build-cache" => &mut options.build_cache,
            other => return Err(Error::invalid(format!("unknown object type: {other}"))),
        };
        *asked = true;
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read() {
        let read = |text: &str| options(Some(&Query::parse(text).unwrap()));
        let some = read("type=container&type=image").unwrap();
        assert!(some.containers && some.images && !some.volumes && !some.build_cache);
        assert!(read("").unwrap().build_cache);
        assert_eq!(
            read("type=x").unwrap_err().to_string(),
            "unknown object type: x"
        );
    }
}
