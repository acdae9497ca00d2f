//! A socket filter that drops every packet.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Lets `socket` receive nothing: a listener never completes a handshake, a datagram socket
/// never fills its queue.
pub(crate) fn drop_all(socket: impl AsFd) -> Result<(), Errno> {
    // BPF_RET | BPF_K with k = 0: keep zero bytes of the packet.
    let mut program = [libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let descriptor = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the descriptor and the program it points to live until the call returns, the
    // length is the descriptor's own, and the kernel only reads both; the fd is borrowed and open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const descriptor).cast(),
            length,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
