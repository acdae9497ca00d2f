//! The end of a run: what it used is given back, each part tried whatever became of the others.

use std::sync::Arc;

use berth_ctrd::{Container, Task};
use berth_net::Endpoint;

use super::record::Record;
use super::state::SIGKILL;
use crate::shared::Shared;
use crate::stdio::Session;

/// What a run holds.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) task: Task,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) session: Option<Session>,
}

/// Takes a run down whose init has ended; returns what went wrong.
pub(crate) async fn tear_down(shared: Arc<Shared>, record: Arc<Record>, run: Run) -> Vec<String> {
    let Run { task, endpoint, session } = run;
    let in_containerd = async {
        let mut errors = Vec::new();
        // The shim copies what is left of the output before it answers.
        if let Err(error) = task.delete().await
            && !error.is_not_found()
        {
            errors.push(format!("deleting the task: {error}"));
        }
        if let Err(error) = task.container().delete().await
            && !error.is_not_found()
        {
            errors.push(format!("deleting containerd's container: {error}"));
        }
        if let Some(session) = session {
            errors.extend(session.finish().await);
        }
        errors
    };
    let (mut errors, released) = tokio::join!(
        in_containerd,
        release(&shared, &record, endpoint, has_netns(&record), false)
    );
    errors.extend(released);
    errors.extend(remove_fifos(&shared, &record).await);
    errors
}

/// Whether a run of this container has a network namespace that the engine made.
pub(crate) fn has_netns(record: &Record) -> bool {
    use berth_spec::modes::Mode;
    record.config.network_disabled || Mode::of(&record.host.network_mode).is_private()
}

/// Gives back the network, and with `fifos` the FIFOs.
pub(crate) async fn release(
    shared: &Shared,
    record: &Record,
    endpoint: Option<Endpoint>,
    netns: bool,
    fifos: bool,
) -> Vec<String> {
    let mut errors = Vec::new();
    if let Some(endpoint) = endpoint
        && let Err(error) = shared.net.disconnect(&endpoint).await
    {
        errors.push(format!("disconnecting from the network: {error}"));
    }
    if netns && let Err(error) = shared.net.remove_netns(&record.id).await {
        errors.push(format!("removing the network namespace: {error}"));
    }
    if fifos {
        errors.extend(remove_fifos(shared, record).await);
    }
    errors
}

async fn remove_fifos(shared: &Shared, record: &Record) -> Option<String> {
    let directory = shared.io_dir(&record.id);
    match tokio::fs::remove_dir_all(&directory).await {
        Ok(()) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("removing {}: {error}", directory.display())),
    }
}

/// Gets rid of a container of containerd's that nobody owns, with whatever runs in it.
pub(crate) async fn discard(container: &Container) {
    let task = container.task(0);
    let _ = task.kill(SIGKILL, true).await;
    let limit = std::time::Duration::from_secs(10);
    let _ = tokio::time::timeout(limit, task.wait()).await;
    for (what, outcome) in [("task", task.delete().await.map(drop)), ("container", container.delete().await)] {
        match outcome {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(id = container.id(), %error, "discarding a stray {what}");
            }
            _ => {}
        }
    }
}
