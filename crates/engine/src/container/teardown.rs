//! The end of a run: what it used is given back, each part tried whatever became of the others.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth_ctrd::{Container, Task};
use berth_net::Endpoint;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::force;
use super::handle::Mounted;
use super::record::Record;
use super::state::SIGKILL;
use crate::shared::{Shared, blocking};
use crate::stdio::Session;
use crate::{fault, shm, volumes};

/// How long containerd may be away before what it was to do is given up.
const AWAY: Duration = Duration::from_secs(30);
/// The pause between two attempts to reach it: doubled each time up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a process may live on after SIGKILL: longer than its shim may.
const KILLED: Duration = Duration::from_secs(15);
/// How long the runtime may take to delete what has ended.
const DELETED: Duration = Duration::from_secs(30);
/// How long its shim may take to see that the runtime was killed.
const ENDED: Duration = Duration::from_secs(5);
/// How long after a daemon's death containerd may start a shim that the dead one had asked for.
const LATE: Duration = Duration::from_millis(500);

/// What a run holds.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) task: Task,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) session: Option<Session>,
    pub(crate) mounted: Option<Mounted>,
    /// Nobody saw its init end: it may run on.
    pub(crate) lost: bool,
}

/// One teardown under way, counted until it ends, however it does.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Shared>);

impl Counted {
    pub(crate) fn begin(shared: Arc<Shared>) -> Counted {
        shared.teardowns.send_modify(|running| *running += 1);
        Counted(shared)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.teardowns.send_modify(|running| *running -= 1);
    }
}

/// Takes a run down whose init has ended; returns what went wrong.
pub(crate) async fn tear_down(shared: Arc<Shared>, record: Arc<Record>, run: Run) -> Vec<String> {
    let Run {
        task,
        endpoints,
        session,
        mounted: _mounted,
        lost,
    } = run;
    fault::point("teardown");
    let in_containerd = async {
        // The shim copies what is left of the output before it answers.
        let mut errors = match lost {
            true => discard(task.container()).await,
            false => delete_or_force(&task).await,
        };
        if let Some(session) = session {
            errors.extend(session.finish().await);
        }
        fault::point("teardown:streams");
        errors
    };
    let (mut errors, released) = tokio::join!(
        in_containerd,
        release(&shared, &record, endpoints, has_netns(&record), false)
    );
    errors.extend(released);
    errors.extend(remove_fifos(&shared, &record).await);
    fault::point("teardown:fifos");
    errors
}

/// Whether a run of this container has a network namespace that the engine made.
pub(crate) fn has_netns(record: &Record) -> bool {
    use berth_spec::modes::Mode;
    record.config.network_disabled || Mode::of(&record.host.network_mode).is_private()
}

/// Gives back the network, the shared memory, the volumes, and with `fifos` the FIFOs.
pub(crate) async fn release(
    shared: &Arc<Shared>,
    record: &Arc<Record>,
    endpoints: Vec<Endpoint>,
    netns: bool,
    fifos: bool,
) -> Vec<String> {
    let mut errors = Vec::new();
    let disconnected = endpoints
        .iter()
        .map(|endpoint| shared.net.disconnect(endpoint));
    for error in join_all(disconnected)
        .await
        .into_iter()
        .filter_map(Result::err)
    {
        errors.push(format!("disconnecting from the network: {error}"));
    }
    fault::point("teardown:endpoint");
    if netns && let Err(error) = shared.net.remove_netns(&record.id).await {
        errors.push(format!("removing the network namespace: {error}"));
    }
    fault::point("teardown:netns");
    if fifos {
        errors.extend(remove_fifos(shared, record).await);
    }
    if record.host.ipc_mode == shm::SHAREABLE {
        let path = shm::path(shared, &record.id);
        if let Err(error) = blocking(move || shm::unmount(&path)).await {
            errors.push(error.to_string());
        }
    }
    if !record.mounts.is_empty() {
        let (shared, record) = (shared.clone(), record.clone());
        let detached = blocking(move || Ok(volumes::detach(&shared, &record)));
        errors.extend(
            detached
                .await
                .unwrap_or_else(|error| vec![error.to_string()]),
        );
    }
    fault::point("teardown:volumes");
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

/// Deletes a task that has ended and its container. The container stays when the task does:
/// without it nobody could reach the task any more.
async fn delete(task: &Task) -> Vec<String> {
    let mut errors = Vec::new();
    let deletions = async {
        gone("task", insist(|| task.delete()).await.map(drop))?;
        fault::point("teardown:task");
        gone("container", insist(|| task.container().delete()).await)?;
        fault::point("teardown:container");
        Ok(())
    };
    errors.extend(deletions.await.err());
    errors
}

/// [`delete`] in limited time. A runtime that does not come to an end is killed: then it has failed,
/// and can be asked again. Where the shim is what hangs it goes: without one containerd clears away
/// by itself what there is of the task.
async fn delete_or_force(task: &Task) -> Vec<String> {
    let id = task.container().id();
    let deletion = delete(task);
    tokio::pin!(deletion);
    for limit in [DELETED, ENDED] {
        if let Ok(errors) = tokio::time::timeout(limit, &mut deletion).await {
            return errors;
        }
        force::end_processes(id).await;
    }
    force::end_shim(id).await;
    let _ = tokio::time::timeout(KILLED, task.wait()).await;
    delete(task).await
}

/// Deleting what is gone already is no error.
fn gone(what: &str, outcome: berth_ctrd::Result<()>) -> Result<(), String> {
    match outcome {
        Err(error) if !error.is_not_found() => {
            Err(format!("deleting containerd's {what}: {error}"))
        }
        _ => Ok(()),
    }
}

/// Calls until containerd answers, for a limited time: it may just be starting again.
pub(crate) async fn insist<T, F>(call: impl Fn() -> F) -> berth_ctrd::Result<T>
where
    F: Future<Output = berth_ctrd::Result<T>>,
{
    let deadline = tokio::time::Instant::now() + AWAY;
    let mut pause = PAUSE.0;
    loop {
        match call().await {
            Err(error) if error.is_unreachable() && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
            outcome => return outcome,
        }
    }
}

/// Gets rid of a container of containerd's that nobody owns, with whatever runs in it; returns
/// what went wrong.
pub(crate) async fn discard(container: &Container) -> Vec<String> {
    discard_late(container, Duration::ZERO).await
}

/// [`discard`] of a container whose start was cut off with the daemon: containerd may still be at it.
pub(crate) async fn discard_cut_off(container: &Container) -> Vec<String> {
    discard_late(container, LATE).await
}

async fn discard_late(container: &Container, late: Duration) -> Vec<String> {
    let task = container.task(0);
    let id = container.id().to_owned();
    let over = CancellationToken::new();
    let ended = over.clone().drop_guard();
    tokio::spawn(force::see_dead(id.clone(), over));
    match insist(|| task.kill(SIGKILL, true)).await {
        Err(error) if error.is_unreachable() => return vec![error.to_string()],
        Err(error) if !error.is_not_found() => force::end_processes(&id).await,
        _ => {}
    }
    let _ = tokio::time::timeout(KILLED, task.wait()).await;
    drop(ended);
    let errors = delete_or_force(&task).await;
    // One whose runtime failed to delete the container is not forgotten: it can be asked again.
    if errors.is_empty() {
        force::end_forgotten_shims(&id, late).await;
    }
    errors
}
