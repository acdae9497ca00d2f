//! What the daemon does on signals.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::reload::Reloader;

/// The signals that the daemon acts on, caught from the moment this exists.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    /// Catches them.
    pub(crate) fn catch() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Acts on them for ever: SIGTERM and SIGINT cancel `stop`, and the second one ends the
    /// process at once; SIGHUP reloads the configuration.
    pub(crate) async fn act(mut self, stop: CancellationToken, reloader: Arc<Reloader>) {
        loop {
            let (name, number) = tokio::select! {
                _ = self.interrupt.recv() => ("interrupt", 2),
                _ = self.terminate.recv() => ("terminated", 15),
                _ = self.hangup.recv() => {
                    tracing::info!("got signal to reload configuration");
                    let reloader = reloader.clone();
                    // Not awaited: another signal may end the daemon meanwhile.
                    tokio::spawn(async move { drop(reloader.reload().await) });
                    continue;
                }
                _ = self.user.recv() => {
                    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                    tracing::info!(tasks, "got SIGUSR1");
                    continue;
                }
            };
            if stop.is_cancelled() {
                tracing::warn!("got signal '{name}' again, forcing shutdown");
                std::process::exit(128 + number);
            }
            tracing::info!("processing signal '{name}'");
            stop.cancel();
        }
    }
}

/// How long systemd may take to take a message in: its socket's queue is short.
const SYSTEMD: Duration = Duration::from_secs(5);

/// Tells systemd, where it wants to know.
pub(crate) async fn notify(states: Vec<NotifyState<'static>>) {
    let telling = tokio::task::spawn_blocking(move || sd_notify::notify(&states));
    match tokio::time::timeout(SYSTEMD, telling).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "systemd could not be notified"),
        Ok(Err(error)) => tracing::warn!(%error, "systemd could not be notified"),
        Err(_) => tracing::warn!("systemd could not be notified: it takes no messages"),
    }
}
