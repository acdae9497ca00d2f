//! `/networks/…`

mod inspect;
mod list;

pub(crate) use inspect::inspect;
pub(crate) use list::list;
