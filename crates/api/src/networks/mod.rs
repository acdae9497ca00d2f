//! `/networks/…`

mod connect;
mod create;
mod disconnect;
mod inspect;
mod list;
mod prune;
mod remove;

pub(crate) use connect::connect;
pub(crate) use create::create;
pub(crate) use disconnect::disconnect;
pub(crate) use inspect::inspect;
pub(crate) use list::list;
pub(crate) use prune::prune;
pub(crate) use remove::remove;
