//! `/exec/…` and `/containers/{id}/exec`

mod create;
mod inspect;
mod resize;
mod start;

pub(crate) use create::create;
pub(crate) use inspect::inspect;
pub(crate) use resize::resize;
pub(crate) use start::start;
