//! The containerd that the daemon uses: one that was given to it, or one of its own.
//!
//! ```text
//!            ┌─ pidfile names a process with our --config ── adopt ─┐
//!   start ───┤                                                      ├── answers ── ready
//!            └─ nothing there ── spawn ─────────────────────────────┘      │ ends
//!                                  └──────────── backoff ──────────────────┘
//! ```
//!
//! Containers live in shims, which no containerd's end touches. So the daemon's own containerd
//! may be restarted at any time, and outlives a daemon that was killed: the next one adopts it.

mod bundles;
mod log;
mod process;
mod toml;

use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::Storage;
use berth_ctrd::{Client, Endpoint};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use process::Process;

/// How long a containerd may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How long a containerd that was given to us may be away when we start.
const FOREIGN_LIMIT: Duration = Duration::from_secs(5);
/// How long one that we adopt may take to answer.
const ADOPT_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two looks at a containerd that comes up.
const LOOK: Duration = Duration::from_millis(20);
/// How long our own may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The pauses before our own is started again, first and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Who lives this long has not failed to start.
const STABLE: Duration = Duration::from_secs(10);

/// Why there is no containerd; a whole line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed to start containerd: {0}")]
    Start(String),
    #[error("failed to connect to containerd at {socket}: {why}", socket = socket.display())]
    Foreign { socket: PathBuf, why: String },
}

/// How the daemon's own containerd is run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Its persistent state: `<data-root>/containerd/daemon`.
    pub(crate) root: PathBuf,
    /// Its socket, configuration, pidfile and log: `<exec-root>/containerd`.
    pub(crate) dir: PathBuf,
    /// Where it serves metrics, if anywhere.
    pub(crate) metrics: Option<String>,
    /// It logs at debug level.
    pub(crate) debug: bool,
    /// We may make it less likely to be killed when memory is short.
    pub(crate) protected: bool,
    /// The soft limit of open files that it gets; `None`: unlimited.
    pub(crate) open_files: Option<u64>,
    /// The containerd namespace of containers and images.
    pub(crate) namespace: String,
    /// The snapshotter that it is to have in any case, and how to reach it where it is a process
    /// of its own.
    pub(crate) storage: Storage,
}

impl Settings {
    fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("containerd.toml")
    }

    fn pidfile(&self) -> PathBuf {
        self.dir.join("containerd.pid")
    }

    /// Its state: what it has of running tasks.
    fn state(&self) -> PathBuf {
        self.dir.join("daemon")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    fn client(&self) -> Result<Client, Error> {
        let endpoint = Endpoint {
            socket: self.socket(),
            namespace: self.namespace.clone(),
        };
        Client::new(endpoint).map_err(|error| Error::Start(error.to_string()))
    }
}

/// A containerd in use.
#[derive(Debug)]
pub(crate) struct Containerd {
    client: Client,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

impl Containerd {
    /// Uses the one that listens on `socket`, and waits for it for a moment.
    pub(crate) async fn foreign(socket: &Path, namespace: &str) -> Result<Containerd, Error> {
        let failed = |why: String| Error::Foreign {
            socket: socket.to_owned(),
            why,
        };
        let endpoint = Endpoint {
            socket: socket.to_owned(),
            namespace: namespace.to_owned(),
        };
        let client = Client::new(endpoint).map_err(|error| failed(error.to_string()))?;
        if let Err(why) = answers(&client, FOREIGN_LIMIT).await {
            // Why not is told better by the socket itself.
            let why = match tokio::net::UnixStream::connect(socket).await {
                Err(error) => plain(&error),
                Ok(_) => why,
            };
            return Err(failed(why));
        }
        Ok(Containerd { client, own: None })
    }

    /// Starts one of our own, or adopts the one that an earlier daemon left.
    pub(crate) async fn own(settings: Settings) -> Result<Containerd, Error> {
        let client = settings.client()?;
        let (process, seen) = match adopt(&settings, &client).await? {
            // What it said before was shown by the daemon that started it.
            Some(process) => (
                process,
                std::fs::metadata(settings.log()).map_or(0, |log| log.len()),
            ),
            None => (first(&settings, &client).await?, 0),
        };
        let log = tokio::spawn(log::follow(settings.log(), seen));
        let stop = CancellationToken::new();
        let cancelled = stop.clone();
        let supervisor = tokio::spawn(async move {
            supervise(&settings, process, &cancelled).await;
            log.abort();
        });
        Ok(Containerd {
            client,
            own: Some(Own { stop, supervisor }),
        })
    }

    /// The way to it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Stops our own; one that was given to us is left alone.
    pub(crate) async fn stop(self) {
        let Some(own) = self.own else { return };
        own.stop.cancel();
        // Longer than the supervisor's own limits.
        if timeout(STOP_LIMIT * 2, own.supervisor).await.is_err() {
            tracing::error!("containerd could not be stopped");
        }
    }
}

/// Finds what an earlier daemon left, and takes it over if it is what we would start now.
async fn adopt(settings: &Settings, client: &Client) -> Result<Option<Process>, Error> {
    let started = |error: io::Error| Error::Start(plain(&error));
    let Some(mut process) = Process::adopt(&settings.pidfile(), &settings.config()) else {
        return Ok(None);
    };
    let before = std::fs::read_to_string(settings.config()).unwrap_or_default();
    let now = toml::render(settings).map_err(started)?;
    if before == now && answers(client, ADOPT_LIMIT).await.is_ok() {
        tracing::info!(
            pid = process.pid(),
            "containerd is still running; going on with it"
        );
        return Ok(Some(process));
    }
    tracing::info!(
        pid = process.pid(),
        "restarting the containerd that was still running"
    );
    process.stop(STOP_LIMIT).await;
    Ok(None)
}

/// Starts one and waits until it answers; one that does not is ended again.
async fn first(settings: &Settings, client: &Client) -> Result<Process, Error> {
    let mut process = start(settings)?;
    let ready = tokio::select! {
        ready = answers(client, START_LIMIT) => ready,
        how = process.ended() => Err(format!("it ended at once: {how}")),
    };
    if let Err(why) = ready {
        process.stop(STOP_LIMIT).await;
        let _ = std::fs::remove_file(settings.pidfile());
        let last = log::last_line(&settings.log());
        let last = last.map(|line| format!(": {line}")).unwrap_or_default();
        return Err(Error::Start(format!("{why}{last}")));
    }
    Ok(process)
}

fn start(settings: &Settings) -> Result<Process, Error> {
    let failed = |error: io::Error| Error::Start(plain(&error));
    let binary = process::find("containerd").ok_or_else(|| {
        Error::Start("exec: \"containerd\": executable file not found in $PATH".to_owned())
    })?;
    for dir in [&settings.root, &settings.dir] {
        std::fs::create_dir_all(dir).map_err(failed)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    write(&settings.config(), &toml::render(settings).map_err(failed)?).map_err(failed)?;
    let mut options = std::fs::File::options();
    let log = options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(settings.log())
        .map_err(failed)?;
    log.set_len(0).map_err(failed)?;
    bundles::sweep(&settings.state(), &settings.namespace);
    let process =
        Process::spawn(&binary, &settings.config(), settings.open_files, log).map_err(failed)?;
    write(&settings.pidfile(), &process.pid().to_string()).map_err(failed)?;
    tracing::info!(pid = process.pid(), "started containerd");
    Ok(process)
}

/// Replaces a file in one step.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

/// Keeps a containerd running until `stop`, then stops it.
async fn supervise(settings: &Settings, mut process: Process, stop: &CancellationToken) {
    let mut pause = BACKOFF.0;
    let mut since = Instant::now();
    loop {
        let how = tokio::select! {
            () = stop.cancelled() => break,
            how = process.ended() => how,
        };
        if since.elapsed() > STABLE {
            pause = BACKOFF.0;
        }
        tracing::warn!(
            pid = process.pid(),
            how,
            "containerd ended; starting it again"
        );
        match again(settings, stop, &mut pause).await {
            Some(next) => process = next,
            None => return,
        }
        since = Instant::now();
    }
    process.stop(STOP_LIMIT).await;
    for path in [settings.pidfile(), settings.socket()] {
        let _ = std::fs::remove_file(path);
    }
}

/// Tries until it starts. `None` when the daemon ends meanwhile.
async fn again(
    settings: &Settings,
    stop: &CancellationToken,
    pause: &mut Duration,
) -> Option<Process> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep(*pause) => {}
        }
        *pause = (*pause * 2).min(BACKOFF.1);
        match start(settings) {
            Ok(process) => return Some(process),
            Err(error) => tracing::error!(%error, "containerd is still down"),
        }
    }
}

/// Nothing of this name is ever in containerd.
const NOBODY: &str = "berthd-probe";

/// Waits until containerd answers and has what the engine needs: it answers for its version even
/// when nothing else of it came up.
async fn answers(client: &Client, limit: Duration) -> Result<(), String> {
    answers_at_all(client, limit).await?;
    let lacks = |error: berth_ctrd::Error| format!("containerd is not usable: {error}");
    // What there is not needs no shim's answer: some of them may hang.
    match client.task_info(NOBODY, limit).await {
        Err(error) if !error.is_not_found() => return Err(lacks(error)),
        _ => {}
    }
    let snapshotters = client.snapshotters().await.map_err(lacks)?;
    match snapshotters.iter().any(|one| one.failure.is_none()) {
        true => Ok(()),
        false => Err("containerd is not usable: it has no snapshotter".to_owned()),
    }
}

async fn answers_at_all(client: &Client, limit: Duration) -> Result<(), String> {
    let mut last = "no answer".to_owned();
    let asking = async {
        loop {
            match client.version().await {
                Ok((version, _)) => break version,
                Err(error) => last = error.to_string(),
            }
            sleep(LOOK).await;
        }
    };
    match timeout(limit, asking).await {
        Ok(version) => {
            tracing::debug!(version, "containerd answers");
            Ok(())
        }
        Err(_) => Err(format!("timeout waiting for containerd to start: {last}")),
    }
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

#[cfg(test)]
mod tests;
