//! The sockets that the API is served on.
//!
//! All are bound while the process has one thread: making a Unix socket takes the process's
//! umask for a moment.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use berth_config::{Host, Tls};
use rustix::fs::Mode;

use crate::{activation, group};

/// The group that need not exist: dockerd's default.
const DEFAULT_GROUP: &str = "docker";
/// What a Unix socket's users may do.
const SOCKET_MODE: u32 = 0o660;

/// Why there is no socket; a whole line.
#[derive(Debug, thiserror::Error)]
#[error("failed to load listeners: {0}")]
pub(crate) struct Error(String);

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A bound socket and how it is called in the log.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: Socket,
    pub(crate) name: String,
    /// Removes the socket's file when dropped.
    pub(crate) file: Option<SocketFile>,
}

/// Binds all hosts, or none.
pub(crate) fn bind(hosts: &[Host], group: &str) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for host in hosts {
        match host {
            Host::Unix(path) => bound.push(unix(path, group)?),
            Host::Tcp { host, port } => bound.push(tcp(host, *port)?),
            Host::Fd(name) => bound.extend(activation::sockets(name).map_err(Error)?),
        }
    }
    Ok(bound)
}

fn tcp(host: &str, port: u16) -> Result<Bound, Error> {
    let failed = |what: &str, error: io::Error| {
        Error(format!(
            "listen tcp {host}:{port}: {what}: {}",
            plain(&error)
        ))
    };
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| failed("lookup", error))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(|error| failed("bind", error))?;
    let name = listener
        .local_addr()
        .map_or_else(|_| format!("{host}:{port}"), |a| a.to_string());
    Ok(Bound {
        socket: Socket::Tcp(listener),
        name,
        file: None,
    })
}

/// Tells of TCP sockets that let in whom they should not.
pub(crate) fn warn_about_tcp(bound: &[Bound], tls: Option<&Tls>) {
    for Bound { socket, name, .. } in bound {
        let Socket::Tcp(listener) = socket else {
            continue;
        };
        let loopback = listener
            .local_addr()
            .is_ok_and(|address| address.ip().is_loopback());
        match tls {
            Some(tls) if tls.verify => {}
            Some(_) => tracing::warn!(
                "API is accessible on https://{name} without client verification: access to it is root access on this host"
            ),
            None if loopback => tracing::warn!(
                "API is accessible on http://{name} without encryption: every user of this host who can connect to it is root"
            ),
            None => tracing::warn!(
                "API is accessible on http://{name} without encryption or authentication: access to it is root access on this host"
            ),
        }
    }
}

fn unix(path: &Path, group: &str) -> Result<Bound, Error> {
    let failed = |why: String| {
        Error(format!(
            "can't create unix socket {}: {why}",
            path.display()
        ))
    };
    let (listener, file) = closed(path).map_err(failed)?;
    let gid = match group::lookup(group) {
        Some(gid) => gid,
        None if group.is_empty() => rustix::process::getegid().as_raw(),
        None if group == DEFAULT_GROUP => {
            tracing::warn!(
                "could not change group of {} to {group}: group {group} not found",
                path.display()
            );
            0
        }
        None => return Err(failed(format!("group {group} not found"))),
    };
    std::os::unix::fs::chown(path, Some(0), Some(gid))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)))
        .map_err(|error| failed(plain(&error)))?;
    Ok(Bound {
        socket: Socket::Unix(listener),
        name: path.display().to_string(),
        file: Some(file),
    })
}

/// Binds a socket for root alone.
pub(crate) fn private(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let failed = |why: String| {
        Error(format!(
            "can't create unix socket {}: {why}",
            path.display()
        ))
    };
    let (listener, file) = closed(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| failed(plain(&error)))?;
    Ok((listener, file))
}

/// Binds a socket that nobody gets into before it has its owner and mode.
fn closed(path: &Path) -> Result<(UnixListener, SocketFile), String> {
    make_way(path)?;
    let umask = rustix::process::umask(Mode::from_raw_mode(0o777));
    let listener = UnixListener::bind(path);
    rustix::process::umask(umask);
    let listener = listener.map_err(|error| format!("bind: {}", plain(&error)))?;
    let file = SocketFile::of(path).map_err(|error| plain(&error))?;
    Ok((listener, file))
}

/// Removes a socket that nobody listens on any more.
fn make_way(path: &Path) -> Result<(), String> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(plain(&error)),
    };
    if !found.file_type().is_socket() {
        return Err("a file that is not a socket is in the way".to_owned());
    }
    match UnixStream::connect(path) {
        // Connecting may also fail because its queue is full or we may not: somebody is there.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| plain(&error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err("address already in use".to_owned()),
    }
}

/// The file of a Unix socket of ours; removed when dropped, unless another took its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        let file = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            path: path.to_owned(),
            device: file.dev(),
            inode: file.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Ok(file) = fs::symlink_metadata(&self.path)
            && (file.dev(), file.ino()) == (self.device, self.inode)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The system's words without Rust's error number, in lower case as Go has them.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

#[cfg(test)]
mod tests;
