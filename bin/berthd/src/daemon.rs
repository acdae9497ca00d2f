//! The daemon's life, from its configuration to its end.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_config::{Config, ConfigStore, Facts, Live};
use rustix::fs::Mode;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::containerd::{self, Containerd};
use crate::control::{self, Control};
use crate::flags::Run;
use crate::listeners::{self, Bound};
use crate::logging;
use crate::pidfile::{self, Pidfile};
use crate::privileges::{self, OpenFiles};
use crate::reload::Reloader;
use crate::signals::{Signals, notify};
use crate::wiring;

/// Threads that run tasks. Nothing computes for long, so two are enough and cost little memory.
const WORKERS: usize = 2;
/// Threads for what blocks, at most; they go when they idle.
const BLOCKING: usize = 64;
/// How long an idle one stays.
const BLOCKING_IDLE: Duration = Duration::from_secs(2);
/// How long what still blocks at the end is waited for.
const LAST: Duration = Duration::from_secs(1);

/// Why the daemon did not start or go on; each is a whole line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Config(#[from] berth_config::Error),
    #[error("{0}")]
    Privileges(String),
    #[error("failed to create {path}: {why}", why = listeners::plain(source))]
    Directory { path: String, source: io::Error },
    #[error("failed to start daemon: {0} is in use by another daemon")]
    InUse(String),
    #[error(transparent)]
    Pidfile(#[from] pidfile::Error),
    #[error(transparent)]
    Listeners(#[from] listeners::Error),
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    #[error("failed to start daemon: {0}")]
    Engine(#[from] wiring::Error),
    #[error("failed to start daemon: {0}")]
    System(#[from] io::Error),
}

/// Runs the daemon until a signal ends it.
pub(crate) fn run(run: Run) -> Result<(), Error> {
    let store = Arc::new(ConfigStore::open(run.sources, Facts::detect())?);
    let config = store.capture();
    wiring::check(&config)?;
    let levels = logging::init(&config.user);
    privileges::require_root(run.program).map_err(Error::Privileges)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    privileges::set_oom_score(config.user.oom_score_adjust).map_err(Error::Privileges)?;
    let open_files = privileges::raise_open_files();
    // In the order of their ends, last one first: what is dropped last is held longest.
    let held = Held::take(&config.user)?;
    store.write_wrappers()?;
    let sockets = listeners::bind(&config.hosts, &config.user.group)?;
    listeners::warn_about_tcp(&sockets, config.tls.as_ref());
    let control = Control::bind(&control::socket(&config.user.exec_root))?;
    tracing::info!(
        version = crate::VERSION,
        commit = crate::COMMIT,
        "Starting up"
    );
    wiring::warn_of_ignored(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(BLOCKING_IDLE)
        .thread_name("berthd")
        .enable_all()
        .build()?;
    let settings = containerd_settings(&config, open_files, run.containerd_metrics);
    let reloader = Arc::new(Reloader::new(store.clone(), levels));
    let outcome = runtime.block_on(live(store, reloader, control, settings, sockets));
    runtime.shutdown_timeout(LAST);
    drop(held);
    outcome
}

/// What one daemon holds and no other may.
struct Held {
    _pidfile: Option<Pidfile>,
    _data: File,
    _exec: File,
}

impl Held {
    fn take(user: &Config) -> Result<Held, Error> {
        make_root(&user.data_root)?;
        make_root(&user.exec_root)?;
        let pidfile = match user.pidfile.as_os_str().is_empty() {
            true => None,
            false => Some(Pidfile::write(&user.pidfile)?),
        };
        Ok(Held {
            _pidfile: pidfile,
            _data: own(&user.data_root)?,
            _exec: own(&user.exec_root)?,
        })
    }
}

/// Makes a directory for root alone. What the administrator made is left as it is.
fn make_root(path: &Path) -> Result<(), Error> {
    let make = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    };
    make().map_err(|source| Error::Directory {
        path: path.display().to_string(),
        source,
    })
}

fn own(root: &Path) -> Result<File, Error> {
    let shown = || root.display().to_string();
    match crate::lock::hold(&root.join("berthd.lock"), 0o600) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(Error::InUse(shown())),
        Err(source) => Err(Error::Directory {
            path: shown(),
            source,
        }),
    }
}

fn containerd_settings(
    config: &Live,
    files: OpenFiles,
    metrics: Option<String>,
) -> containerd::Settings {
    containerd::Settings {
        // Where dockerd has it: what its own containerd keeps is there for us, too.
        root: config.user.data_root.join("containerd/daemon"),
        dir: config.user.exec_root.join("containerd"),
        metrics,
        debug: config.user.debug,
        protected: privileges::may_lower_oom_score(),
        open_files: files.0,
        namespace: config.user.containerd_namespace.clone(),
        storage: config.storage.clone(),
    }
}

/// Everything that needs the runtime.
async fn live(
    store: Arc<ConfigStore>,
    reloader: Arc<Reloader>,
    control: Control,
    settings: containerd::Settings,
    sockets: Vec<Bound>,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    tokio::spawn(Signals::catch()?.act(stop.clone(), reloader.clone()));
    tokio::spawn(control.serve(store.clone(), reloader.clone())?);
    let config = store.capture();
    let containerd = match config.user.containerd.as_str() {
        "" => Containerd::own(settings).await?,
        address => {
            let socket = address.strip_prefix("unix://").unwrap_or(address);
            Containerd::foreign(Path::new(socket), &config.user.containerd_namespace).await?
        }
    };
    let outcome = serve(store, &reloader, &containerd, sockets, stop).await;
    containerd.stop().await;
    if outcome.is_ok() {
        tracing::info!("Daemon shutdown complete");
    }
    outcome
}

/// Serves the API until `stop`, then ends what runs.
async fn serve(
    store: Arc<ConfigStore>,
    reloader: &Reloader,
    containerd: &Containerd,
    sockets: Vec<Bound>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let engine = wiring::open(store.clone(), containerd).await?;
    reloader.lead(engine.clone());
    // Their files go when the daemon has ended, not before: clients wait meanwhile.
    let mut files = Vec::new();
    let mut servers = tokio::task::JoinSet::new();
    let secure = wiring::secure(&store);
    for bound in sockets {
        files.extend(bound.file);
        let server = wiring::server(&engine, bound.socket, secure.clone(), stop.clone())?;
        servers.spawn(server);
        tracing::info!("API listen on {}", bound.name);
    }
    tracing::info!("Daemon has completed initialization");
    reloader.ready();
    notify(vec![NotifyState::Ready]).await;
    stop.cancelled().await;
    notify(vec![NotifyState::Stopping]).await;
    let timeout = store.capture().shutdown_timeout;
    engine.shutdown(timeout).await;
    // Each server limits how long it waits for its clients.
    while servers.join_next().await.is_some() {}
    drop(files);
    Ok(())
}
