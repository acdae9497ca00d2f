//! DNS for containers in networks of users: at 127.0.0.11, in each container's own namespace.
//!
//! Two sockets a container, on ports that the kernel chooses: port 53 of all addresses is the
//! container's own, it may run a name server itself. Rules in the container's namespace lead
//! 127.0.0.11:53 to them. Two tasks wait for questions; one that does not ask costs no more than
//! that. Questions about containers are answered from the endpoints that readers see, the others
//! go on to the container's name servers, from within its namespace.
//!
//! The sockets keep the namespace, so they are closed when its pin goes.

mod answer;
mod forward;
mod serve;

use std::collections::HashMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::resolv::INTERNAL as ADDRESS;
use crate::shared::Shared;
use crate::threads::Desk;
use crate::{Error, Result, Upstream, firewall};

/// The resolvers that run, by container.
#[derive(Debug)]
pub(crate) struct Resolvers {
    runtime: Handle,
    running: Mutex<HashMap<String, Running>>,
}

/// One container's tasks; they end with this.
#[derive(Debug)]
struct Running(Vec<AbortHandle>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Resolvers {
    /// None yet; their tasks will run on `runtime`.
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            running: Mutex::default(),
        }
    }

    /// What all tasks of this crate run on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends a container's resolver, if it has one.
    pub(crate) fn end(&self, container: &str) {
        self.running().remove(container);
    }

    /// Ends all.
    pub(crate) fn end_all(&self) {
        self.running().clear();
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Starts to answer a container's questions, unless that is so already.
    pub(crate) fn serve_dns(
        self: &Arc<Self>,
        desk: &mut Desk,
        namespace: File,
        container: &str,
        upstream: &Upstream,
    ) -> Result<()> {
        if self.resolvers.running().contains_key(container) {
            return Ok(());
        }
        let (udp, tcp) = desk.home.visit(&namespace, listen)?;
        let resolver = Arc::new(serve::Resolver::new(
            Arc::downgrade(self),
            container.to_owned(),
            namespace,
            upstream.clone(),
        ));
        let runtime = &self.resolvers.runtime;
        let _context = runtime.enter();
        let failed = |source| Error::io("serve DNS at", ADDRESS.to_string(), source);
        let udp = tokio::net::UdpSocket::from_std(udp).map_err(failed)?;
        let tcp = tokio::net::TcpListener::from_std(tcp).map_err(failed)?;
        let tasks = vec![
            runtime
                .spawn(serve::udp(Arc::clone(&resolver), udp))
                .abort_handle(),
            runtime.spawn(serve::tcp(resolver, tcp)).abort_handle(),
        ];
        self.resolvers
            .running()
            .insert(container.to_owned(), Running(tasks));
        Ok(())
    }
}

/// In the container's namespace: the sockets, and the rules that lead to them.
fn listen() -> Result<(UdpSocket, TcpListener)> {
    let failed = |source| Error::io("bind DNS at", ADDRESS.to_string(), source);
    let udp = UdpSocket::bind((ADDRESS, 0)).map_err(failed)?;
    let tcp = TcpListener::bind((ADDRESS, 0)).map_err(failed)?;
    udp.set_nonblocking(true).map_err(failed)?;
    tcp.set_nonblocking(true).map_err(failed)?;
    let port = |address: std::io::Result<SocketAddr>| address.map(|address| address.port());
    let udp_port = port(udp.local_addr()).map_err(failed)?;
    let tcp_port = port(tcp.local_addr()).map_err(failed)?;
    firewall::nft(&rules(udp_port, tcp_port))?;
    Ok((udp, tcp))
}

/// A table of its own, so that nothing of the container's is touched; made anew each time, since
/// an earlier daemon's led elsewhere.
fn rules(udp: u16, tcp: u16) -> String {
    format!(
        "add table ip berth_dns\n\
         delete table ip berth_dns\n\
         table ip berth_dns {{\n\
         \x20 chain output {{\n\
         \x20   type nat hook output priority -100; policy accept;\n\
         \x20   ip daddr {ADDRESS} udp dport 53 dnat to {ADDRESS}:{udp}\n\
         \x20   ip daddr {ADDRESS} tcp dport 53 dnat to {ADDRESS}:{tcp}\n\
         \x20 }}\n\
         }}\n"
    )
}
