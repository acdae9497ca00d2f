//! The namespace modes of a host configuration: `host`, `container:NAME` and their kin.

use berth_wire::HostConfig;

use crate::error::{Error, Result};

/// A namespace mode taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'a> {
    /// Nothing given.
    Default,
    /// The host's own namespace.
    Host,
    /// The namespace of another container, by name or id.
    Container(&'a str),
    /// Any other word (`private`, `shareable`, `none`, a network's name …).
    Named(&'a str),
}

impl<'a> Mode<'a> {
    /// Takes `text` apart.
    #[must_use]
    pub fn of(text: &'a str) -> Mode<'a> {
        match text {
            "" => Mode::Default,
            "host" => Mode::Host,
            _ => match text.split_once(':') {
                Some(("container", name)) => Mode::Container(name),
                _ => Mode::Named(text),
            },
        }
    }

    /// Whether the container has a namespace of its own.
    #[must_use]
    pub fn is_private(self) -> bool {
        !matches!(self, Mode::Host | Mode::Container(_))
    }
}

/// Checks the IPC, PID, UTS, user and cgroup namespace modes.
///
/// # Errors
/// `invalid IPC mode: X` and the same for the others.
pub(crate) fn validate(host: &HostConfig) -> Result<()> {
    let refuse =
        |what: &str, mode: &str| Err(Error::invalid(format!("invalid {what} mode: {mode}")));
    match Mode::of(&host.ipc_mode) {
        Mode::Default | Mode::Host | Mode::Named("private" | "shareable" | "none") => {}
        Mode::Container(name) if !name.is_empty() => {}
        _ => return refuse("IPC", &host.ipc_mode),
    }
    match Mode::of(&host.pid_mode) {
        Mode::Default | Mode::Host => {}
        Mode::Container(name) if !name.is_empty() => {}
        _ => return refuse("PID", &host.pid_mode),
    }
    match Mode::of(&host.uts_mode) {
        Mode::Default | Mode::Host => {}
        _ => return refuse("UTS", &host.uts_mode),
    }
    match Mode::of(&host.userns_mode) {
        Mode::Default | Mode::Host => {}
        _ => return refuse("user namespace", &host.userns_mode),
    }
    match Mode::of(&host.cgroupns_mode) {
        Mode::Default | Mode::Host | Mode::Named("private") => Ok(()),
        _ => refuse("cgroup namespace", &host.cgroupns_mode),
    }
}
