//! `/containers/…`

mod archive;
mod attach;
mod changes;
mod compat;
mod create;
mod export;
mod inspect;
mod kill;
mod list;
mod logs;
mod pause;
mod prune;
mod remove;
mod rename;
mod resize;
mod restart;
mod start;
mod stats;
mod stop;
mod top;
mod unpause;
mod update;
mod wait;

pub(crate) use archive::{path_archive, path_extract, path_stat};
pub(crate) use attach::{attach, attach_ws};
pub(crate) use changes::changes;
pub(crate) use create::create;
pub(crate) use export::export;
pub(crate) use inspect::inspect;
pub(crate) use kill::kill;
pub(crate) use list::list;
pub(crate) use logs::logs;
pub(crate) use pause::pause;
pub(crate) use prune::prune;
pub(crate) use remove::remove;
pub(crate) use rename::rename;
pub(crate) use resize::resize;
pub(crate) use restart::restart;
pub(crate) use start::start;
pub(crate) use stats::stats;
pub(crate) use stop::stop;
pub(crate) use top::top;
pub(crate) use unpause::unpause;
pub(crate) use update::update;
pub(crate) use wait::wait;

use berth_engine::{Changed, StopOptions};
use http::StatusCode;

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

/// `204` for a change, `304` when there was nothing to change.
fn changed(changed: Changed) -> Response {
    reply::empty(match changed {
        Changed::Yes => StatusCode::NO_CONTENT,
        Changed::No => StatusCode::NOT_MODIFIED,
    })
}

/// The parameters of stop and restart.
fn stop_options(ctx: &Ctx) -> Result<StopOptions> {
    // Before 1.42 there was no such parameter, and old clients may send what they like.
    let signal = if ctx.since(42) {
        ctx.query.given("signal")
    } else {
        None
    };
    Ok(StopOptions {
        signal: signal.map(str::to_owned),
        timeout: ctx.query.int("t")?,
    })
}
