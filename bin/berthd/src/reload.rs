//! A reload: the configuration's transaction, and what follows from it in the daemon.
//!
//! ```text
//! SIGHUP ────────────┐                       ┌─ failed ──> log, event with `error`
//!                    ├─> prepare (blocks, ───┤
//! config reload ─────┘   time-limited)       └─ commit ──> log levels, downloads ──> log, event
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use berth_config::{ConfigStore, Outcome, Prepared, Reloaded};
use berth_engine::Engine;
use sd_notify::NotifyState;

use crate::logging::Levels;
use crate::signals::notify;
use crate::wiring;

/// How long the file, and what it refers to, may take to be read: it may be on a file system that
/// hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// Reloads the configuration, one at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    store: Arc<ConfigStore>,
    levels: Levels,
    /// There once it is open.
    engine: OnceLock<Arc<Engine>>,
    /// The daemon is ready: systemd is to be told.
    ready: AtomicBool,
    one: tokio::sync::Mutex<()>,
}

impl Reloader {
    pub(crate) fn new(store: Arc<ConfigStore>, levels: Levels) -> Reloader {
        Reloader {
            store,
            levels,
            engine: OnceLock::new(),
            ready: AtomicBool::new(false),
            one: tokio::sync::Mutex::default(),
        }
    }

    /// From now on the engine follows the configuration, and reloads are told as events.
    pub(crate) fn lead(&self, engine: Arc<Engine>) {
        let _ = self.engine.set(engine);
        // A reload may have gone by while it opened.
        self.follow(&self.store.capture());
    }

    /// From now on reloads are told to systemd.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Reloads, or changes nothing and tells why: as the error, once in the log, and as an event.
    pub(crate) async fn reload(&self) -> Result<Reloaded, String> {
        let _one = self.one.lock().await;
        let ready = self.ready.load(Ordering::Relaxed);
        if ready {
            let mut states = vec![NotifyState::Reloading];
            states.extend(NotifyState::monotonic_usec_now());
            notify(states).await;
        }
        let outcome = self.transact().await;
        let attributes = match &outcome {
            Ok(reloaded) => {
                self.follow(&reloaded.live);
                log(reloaded);
                reloaded.live.reload_attributes()
            }
            Err(error) => {
                tracing::error!(error, "configuration not reloaded, the former one stays");
                [("error".to_owned(), error.clone())].into()
            }
        };
        if let Some(engine) = self.engine.get() {
            engine.tell_reload(attributes);
        }
        if ready {
            notify(vec![NotifyState::Ready]).await;
        }
        outcome
    }

    async fn transact(&self) -> Result<Reloaded, String> {
        let store = self.store.clone();
        let preparing = tokio::task::spawn_blocking(move || prepare(&store));
        let prepared = match tokio::time::timeout(LIMIT, preparing).await {
            Ok(Ok(prepared)) => prepared?,
            Ok(Err(error)) => return Err(format!("a part of the daemon failed: {error}")),
            Err(_) => {
                let file = self.store.file().display();
                return Err(format!(
                    "reading {file} takes longer than {} s",
                    LIMIT.as_secs()
                ));
            }
        };
        // Nobody else commits.
        let lost = || "the configuration was replaced meanwhile".to_owned();
        self.store.commit(prepared).ok_or_else(lost)
    }

    /// Brings what keeps a setting of its own up to date.
    fn follow(&self, live: &berth_config::Live) {
        self.levels.apply(&live.user);
        if let Some(engine) = self.engine.get() {
            engine.images().set_limits(wiring::limits(live));
        }
    }
}

/// All that can go wrong, in this order: scripts are written only for what is going to be live.
fn prepare(store: &ConfigStore) -> Result<Prepared, String> {
    let prepared = store.prepare().map_err(|error| error.to_string())?;
    wiring::check(prepared.live()).map_err(|error| error.to_string())?;
    let written = prepared.write_wrappers();
    written.map_err(|error| error.to_string())?;
    Ok(prepared)
}

fn log(reloaded: &Reloaded) {
    let applied = reloaded.keys(Outcome::Applied).join(",");
    let restart = reloaded.keys(Outcome::NeedsRestart).join(",");
    tracing::info!(applied, "reloaded configuration");
    if !restart.is_empty() {
        let keys = restart;
        tracing::warn!(
            keys,
            "these options of the configuration file take a restart"
        );
    }
    wiring::warn_of_ignored(&reloaded.live);
}
