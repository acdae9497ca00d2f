//! Sockets that systemd opened for us: `fd://`.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::listeners::{Bound, Socket};

/// The sockets that `fd://name` means: all of them when it is empty or `*`, else those of that
/// name, or the one of that number.
pub(crate) fn sockets(name: &str) -> Result<Vec<Bound>, String> {
    let passed = sd_notify::listen_fds_with_names()
        .map_err(|error| format!("can't use the sockets that systemd passed: {error}"))?;
    let passed: Vec<(i32, String)> = passed.collect();
    if passed.is_empty() {
        return Err(
            "no sockets found via socket activation: make sure the service was started by systemd"
                .to_owned(),
        );
    }
    let wanted = |(number, given): &&(i32, String)| {
        matches!(name, "" | "*") || given == name || number.to_string() == name
    };
    let found: Vec<_> = passed.iter().filter(wanted).collect();
    if found.is_empty() {
        return Err(format!(
            "failed to find systemd activated sockets that match fd://{name}"
        ));
    }
    found
        .into_iter()
        .map(|(number, given)| socket(*number, given))
        .collect()
}

fn socket(number: i32, name: &str) -> Result<Bound, String> {
    let failed = |error: rustix::io::Errno| {
        format!("can't use file descriptor {number} as a socket: {error}")
    };
    let fd = duplicate(number).map_err(failed)?;
    if sockopt::socket_type(&fd).map_err(failed)? != SocketType::STREAM
        || !sockopt::socket_acceptconn(&fd).map_err(failed)?
    {
        return Err(format!(
            "file descriptor {number} is not a listening stream socket"
        ));
    }
    let name = format!("fd://{number} ({name})");
    let socket = match sockopt::socket_domain(fd.as_fd()).map_err(failed)? {
        AddressFamily::UNIX => Socket::Unix(UnixListener::from(fd)),
        AddressFamily::INET | AddressFamily::INET6 => Socket::Tcp(TcpListener::from(fd)),
        _ => {
            return Err(format!(
                "file descriptor {number} is neither a Unix nor a TCP socket"
            ));
        }
    };
    // systemd made the file and removes it.
    Ok(Bound {
        socket,
        name,
        file: None,
    })
}

/// An owned copy of an open file that we know by number only. To take the number itself would
/// need `unsafe`; the kernel gives out copies to whoever may trace a process, such as itself.
fn duplicate(number: i32) -> rustix::io::Result<OwnedFd> {
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(&ourselves, number, PidfdGetfdFlags::empty())
}
