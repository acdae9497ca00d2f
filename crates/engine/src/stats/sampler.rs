//! The one that looks, for all who follow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_cgroups::{Group, Host};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Reading, Target, pass};
use crate::container::handle::Handle;
use crate::container::state::Generation;

/// Between two passes, as dockerd has it.
const PERIOD: Duration = Duration::from_secs(1);

/// What one pass found; `None` for what does not run.
pub(crate) type Round = HashMap<Arc<str>, Option<Reading>>;

/// Where the groups of runs are.
pub(crate) type Groups = HashMap<Arc<str>, (Generation, Group)>;

/// Looks at what is followed, each second, as long as anything is.
#[derive(Debug)]
pub(crate) struct Sampler {
    host: Arc<Host>,
    rounds: watch::Sender<Arc<Round>>,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// By id: the container and how many follow it.
    containers: HashMap<Arc<str>, (Arc<Handle>, usize)>,
    /// There is a task that looks. It ends when nothing is followed.
    looking: bool,
}

impl Sampler {
    pub(crate) fn new(host: Arc<Host>) -> Arc<Sampler> {
        Arc::new(Sampler {
            host,
            rounds: watch::Sender::new(Arc::default()),
            followed: Mutex::default(),
        })
    }

    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Follows a container, from the next pass on.
    pub(crate) fn watch(self: &Arc<Self>, handle: Arc<Handle>) -> Watch {
        let rounds = self.rounds.subscribe();
        let mut followed = self.followed();
        followed
            .containers
            .entry(handle.id().clone())
            .or_insert_with(|| (handle.clone(), 0))
            .1 += 1;
        if !std::mem::replace(&mut followed.looking, true) {
            tokio::spawn(self.clone().look());
        }
        Watch {
            sampler: self.clone(),
            handle,
            rounds,
        }
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(self: Arc<Self>) {
        let mut groups = Groups::new();
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(targets) = self.targets() else {
                return;
            };
            let host = self.host.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let round = pass(&host, &targets, &mut groups);
                (round, groups)
            });
            groups = match looked.await {
                Ok((round, groups)) => {
                    self.rounds.send_replace(Arc::new(round));
                    groups
                }
                Err(error) => {
                    tracing::error!(%error, "a pass over the containers failed");
                    Groups::new()
                }
            };
        }
    }

    /// What to look at; `None`, and nobody looks any more, when nothing is followed.
    fn targets(&self) -> Option<Vec<Target>> {
        let mut followed = self.followed();
        if followed.containers.is_empty() {
            followed.looking = false;
            return None;
        }
        let handles = followed.containers.values();
        Some(
            handles
                .map(|(handle, _)| Target::of(&handle.view()))
                .collect(),
        )
    }

    /// Whether anybody looks.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> bool {
        self.followed().looking
    }
}

/// One who follows a container.
#[derive(Debug)]
pub(crate) struct Watch {
    sampler: Arc<Sampler>,
    handle: Arc<Handle>,
    rounds: watch::Receiver<Arc<Round>>,
}

impl Watch {
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// What the next pass finds: `Some(None)` when the container does not run. Dropping the future
    /// loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Option<Reading>> {
        loop {
            self.rounds.changed().await.ok()?;
            // A pass that had begun before does not have it.
            let round = self.rounds.borrow_and_update().clone();
            if let Some(reading) = round.get(self.handle.id()) {
                return Some(reading.clone());
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut followed = self.sampler.followed();
        if let Some((_, count)) = followed.containers.get_mut(self.handle.id()) {
            *count -= 1;
            if *count == 0 {
                followed.containers.remove(self.handle.id());
            }
        }
    }
}
