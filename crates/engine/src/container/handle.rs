//! How everybody else sees a container: the published [`View`], and a way to ask its actor.

use std::sync::Arc;

use arc_swap::ArcSwap;
use berth_config::Live;
use berth_ctrd::Task;
use berth_wire as wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::record::{Record, RunState};
use super::state::{Done, StopHow};
use crate::networks::Found;
use crate::stdio::Hub;
use crate::{Error, Result};

/// How many requests may wait for one actor.
pub(crate) const MAILBOX: usize = 64;

/// A container as of one moment. Never changed, only replaced.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) record: Arc<Record>,
    pub(crate) run: RunState,
    /// What containerd runs for it, while it runs.
    pub(crate) task: Option<Task>,
    /// Removed: nobody finds it any more, but who holds it can see that.
    pub(crate) gone: bool,
    /// How often removing it has failed, and why it did the last time.
    pub(crate) failed_removals: (u64, Arc<str>),
}

impl View {
    /// A container that nobody has tried to remove.
    pub(crate) fn new(record: Arc<Record>, run: RunState, task: Option<Task>) -> View {
        View {
            record,
            run,
            task,
            gone: false,
            failed_removals: (0, "".into()),
        }
    }
}

impl View {
    /// Its places in networks, while it runs: afterwards they are only being given back.
    pub(crate) fn endpoints(&self) -> &[berth_net::Endpoint] {
        if self.run.status.is_running() {
            &self.run.endpoints
        } else {
            &[]
        }
    }

    /// Its published ports.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &berth_net::PublishedPort> {
        self.endpoints().iter().flat_map(|endpoint| &endpoint.ports)
    }
}

/// Something a caller wants of a container.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Start it, under this configuration.
    Start(Arc<Live>),
    Stop(StopHow),
    Restart(StopHow, Arc<Live>),
    Kill(u32),
    Pause,
    /// As a pause, until it is undone for the same reason: not for longer than this daemon lives.
    Freeze,
    Unpause,
    Remove {
        force: bool,
        /// Its anonymous volumes too.
        volumes: bool,
    },
    Rename(String),
    /// Change what this does not leave at its default.
    Update(Box<wire::HostConfig>),
    Rewire(Rewire),
}

/// A change of the networks that a container is in.
#[derive(Debug)]
pub(crate) enum Rewire {
    /// Join this network, under this configuration.
    Join(Found, Box<wire::EndpointSettings>, Arc<Live>),
    /// Leave this network; `force`: although it cannot be done cleanly.
    Leave {
        /// Its name.
        network: String,
        force: bool,
    },
    /// Forget the link of this alias, under this configuration.
    Unlink(String, Arc<Live>),
    /// Join everything anew that the record names: which places it had there is not known any more.
    Rejoin(Arc<Live>),
}

/// What reaches an actor from outside.
#[derive(Debug)]
pub(crate) enum Message {
    Wish(Wish, oneshot::Sender<Result<Done>>),
    /// The kernel killed one of its processes for want of memory.
    OutOfMemory,
}

/// A container, as all but its actor know it.
#[derive(Debug)]
pub(crate) struct Handle {
    id: Arc<str>,
    mailbox: mpsc::Sender<Message>,
    view: ArcSwap<View>,
    changes: watch::Sender<()>,
    hub: Arc<Hub>,
    /// Given to one at a time: see [`Mounted`].
    mounting: Arc<Semaphore>,
}

/// The right to have the container's root file system mounted where it can be written to. A run
/// has it from before its start until after its end, a copy into a container that does not run
/// meanwhile: what the kernel makes of two overlays over one upper directory is undefined.
#[derive(Debug)]
pub(crate) struct Mounted {
    _permit: OwnedSemaphorePermit,
}

impl Handle {
    pub(crate) fn new(view: View, hub: Arc<Hub>) -> (Arc<Handle>, mpsc::Receiver<Message>) {
        let (mailbox, receiver) = mpsc::channel(MAILBOX);
        let handle = Handle {
            id: view.record.id.as_str().into(),
            mailbox,
            view: ArcSwap::from_pointee(view),
            changes: watch::Sender::new(()),
            hub,
            mounting: Arc::new(Semaphore::new(1)),
        };
        (Arc::new(handle), receiver)
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The container as of now. Never waits.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Waits until nobody else has the root file system mounted to be written to.
    pub(crate) async fn mounted(&self) -> Mounted {
        // Never closed, so that there is no other end.
        loop {
            if let Ok(permit) = self.mounting.clone().acquire_owned().await {
                return Mounted { _permit: permit };
            }
        }
    }

    /// The same without waiting; `None` while somebody has it.
    pub(crate) fn try_mounted(&self) -> Option<Mounted> {
        let permit = self.mounting.clone().try_acquire_owned().ok()?;
        Some(Mounted { _permit: permit })
    }

    /// Its standard streams.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Tells of every change after this call.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Replaces the view. For the actor alone.
    pub(crate) fn publish(&self, view: View) {
        self.view.store(Arc::new(view));
        self.changes.send_replace(());
    }

    /// Asks the actor, which carries the wish out even when this future is dropped.
    pub(crate) async fn ask(&self, wish: Wish) -> Result<Done> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::not_found(format!("No such container: {}", self.id));
        self.mailbox
            .send(Message::Wish(wish, reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Passes on what containerd told; a full mailbox loses nothing but this hint.
    pub(crate) fn out_of_memory(&self) {
        let _ = self.mailbox.try_send(Message::OutOfMemory);
    }
}
