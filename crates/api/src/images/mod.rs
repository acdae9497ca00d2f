//! `/images/…`

mod attestations;
mod commit;
mod create;
pub(crate) mod credentials;
mod history;
mod inspect;
mod list;
mod load;
mod progress;
mod prune;
mod push;
mod remove;
mod save;
mod search;
mod tag;

pub(crate) use attestations::attestations;
pub(crate) use commit::commit;
pub(crate) use create::create;
pub(crate) use history::history;
pub(crate) use inspect::inspect;
pub(crate) use list::list;
pub(crate) use load::load;
pub(crate) use prune::prune;
pub(crate) use push::push;
pub(crate) use remove::remove;
pub(crate) use save::save;
pub(crate) use search::search;
pub(crate) use tag::tag;

use berth_images::Platform;
use berth_reference::Reference;

use crate::context::Ctx;
use crate::{Error, Result};

/// A name that is none.
pub(crate) fn bad_name(error: impl std::fmt::Display) -> Error {
    Error::invalid(error.to_string())
}

/// The name that `repo` and `tag` make; `latest` is meant without a tag.
fn repo_tag(repo: &str, tag: &str) -> Result<Reference> {
    let reference = Reference::parse(repo).map_err(bad_name)?;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    if tag.is_empty() {
        return Ok(reference.tagged());
    }
    reference.with_tag(tag).map_err(bad_name)
}

/// The `platform` parameter: `os/architecture[/variant]`.
fn platform(ctx: &Ctx) -> Result<Option<Platform>> {
    let text = if ctx.since(32) {
        ctx.query.given("platform")
    } else {
        None
    };
    text.map(|t| Platform::parse(t).map_err(Error::from))
        .transpose()
}

/// The `platform` parameter that API `1.minor` brought, in JSON.
fn chosen_platform(ctx: &Ctx, minor: u16) -> Result<Option<Platform>> {
    match ctx.query.given("platform") {
        Some(text) if ctx.since(minor) => Ok(Some(Platform::from_json(text)?)),
        _ => Ok(None),
    }
}

/// As [`chosen_platform`], where there may be several, each a `parameter` of its own.
fn chosen_platforms(ctx: &Ctx, minor: u16, parameter: &str) -> Result<Vec<Platform>> {
    if !ctx.since(minor) {
        return Ok(Vec::new());
    }
    let given = ctx.query.all(parameter).filter(|text| !text.is_empty());
    given.map(|text| Ok(Platform::from_json(text)?)).collect()
}
