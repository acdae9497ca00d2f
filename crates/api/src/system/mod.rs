//! What is not about one kind of object: `/_ping`, `/version`, `/info`, `/events`, `/system/df`.

mod df;
mod events;
mod info;
mod options;
mod ping;
mod version;

pub(crate) use df::df;
pub(crate) use events::events;
pub(crate) use info::info;
pub(crate) use options::options;
pub(crate) use ping::ping;
pub(crate) use version::version;
