//! Where the daemon listens.

use std::fmt;
use std::path::PathBuf;

use crate::{Error, Result};

/// The ports of a TCP address that names none: without and with TLS.
const DEFAULT_PORTS: [u16; 2] = [2375, 2376];
/// The host of a TCP address that names none.
const DEFAULT_HOST: &str = "localhost";

/// One `--host`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket at an absolute path.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp {
        /// The address or host name to bind, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket that systemd passed: all of them when empty or `*`, else the one of that name or
    /// number.
    Fd(String),
}

impl Host {
    /// The Unix socket that Docker clients use by themselves.
    pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

    /// Parses what `-H` takes. Empty means the default socket; text without a scheme is TCP, whose
    /// default port depends on `tls`.
    ///
    /// # Errors
    /// `invalid bind address …`.
    pub fn parse(text: &str, tls: bool) -> Result<Host> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Host::Unix(Host::DEFAULT_SOCKET.into()));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "fd" => Ok(Host::Fd(rest.to_owned())),
            "unix" => Host::unix(text, rest),
            "tcp" => Host::tcp(text, rest, DEFAULT_PORTS[usize::from(tls)]),
            _ => Err(Error::invalid(format!(
                "invalid bind address format: {text}"
            ))),
        }
    }

    fn unix(text: &str, path: &str) -> Result<Host> {
        match path {
            "" => Ok(Host::Unix(Host::DEFAULT_SOCKET.into())),
            path if path.contains("://") || !path.starts_with('/') => Err(Error::invalid(format!(
                "invalid bind address format: {text}"
            ))),
            path => Ok(Host::Unix(path.into())),
        }
    }

    fn tcp(text: &str, address: &str, default_port: u16) -> Result<Host> {
        let wrong = |why: &str| Error::invalid(format!("invalid bind address ({text}): {why}"));
        if address.contains(['/', '?', '#', '@', ' ']) {
            return Err(wrong("should not contain a path element"));
        }
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("missing ']' in address"))?;
                let port = match port {
                    "" => "",
                    port => port
                        .strip_prefix(':')
                        .ok_or_else(|| wrong("invalid port"))?,
                };
                (host, port)
            }
            None if address.matches(':').count() > 1 => {
                return Err(wrong("too many colons in address"));
            }
            None => address.split_once(':').unwrap_or((address, "")),
        };
        let port = match port {
            "" => default_port,
            port => port.parse().map_err(|_| wrong("invalid port"))?,
        };
        let host = if host.is_empty() { DEFAULT_HOST } else { host };
        Ok(Host::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Host::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Host::Fd(name) => write!(f, "fd://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_shown() {
        for (text, shown) in [
            ("", "unix:///var/run/docker.sock"),
            ("unix://", "unix:///var/run/docker.sock"),
            ("unix:///run/b.sock", "unix:///run/b.sock"),
            ("tcp://", "tcp://localhost:2375"),
            ("tcp://:7777", "tcp://localhost:7777"),
            ("127.0.0.1:4", "tcp://127.0.0.1:4"),
            ("0.0.0.0", "tcp://0.0.0.0:2375"),
            ("tcp://[::1]:80", "tcp://[::1]:80"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("fd://", "fd://"),
            ("fd://docker.socket", "fd://docker.socket"),
        ] {
            assert_eq!(
                Host::parse(text, false).unwrap().to_string(),
                shown,
                "{text}"
            );
        }
        assert_eq!(
            Host::parse("tcp://a", true).unwrap().to_string(),
            "tcp://a:2376"
        );
        for text in [
            "foo://x",
            "unix://run/x",
            "tcp://a:b",
            "tcp://a:1/x",
            "a:b:c",
            "tcp://[::1",
            "tcp://a:99999",
        ] {
            let error = Host::parse(text, false).unwrap_err().to_string();
            assert!(error.starts_with("invalid bind address"), "{text}: {error}");
        }
    }
}
