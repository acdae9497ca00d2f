//! The socket at which `berthd config …` asks the running daemon: root's alone.
//!
//! A client sends one JSON value and ends its half; the answer is one JSON value.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_config::{ConfigStore, Reloaded};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::listeners::{self, SocketFile};
use crate::reload::Reloader;
use crate::wiring;

/// How long a client may take to ask or to listen.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a dry run may take to read the file.
const READING: Duration = Duration::from_secs(30);
/// More than any question is.
const MOST: u64 = 16 << 10;

/// What can be asked.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Question {
    /// Reload the configuration.
    Reload,
    /// What would a reload of this file do? `None`: of the daemon's own.
    Diff(Option<PathBuf>),
}

/// The answer: lines to print, or why not.
pub(crate) type Answer = Result<String, String>;

/// Where the daemon of this exec root is to be asked.
pub(crate) fn socket(exec_root: &Path) -> PathBuf {
    exec_root.join("berthd.sock")
}

/// The bound socket.
#[derive(Debug)]
pub(crate) struct Control {
    listener: StdListener,
    file: SocketFile,
}

impl Control {
    pub(crate) fn bind(path: &Path) -> Result<Control, listeners::Error> {
        let (listener, file) = listeners::private(path)?;
        Ok(Control { listener, file })
    }

    /// What answers until it is dropped.
    pub(crate) fn serve(
        self,
        store: Arc<ConfigStore>,
        reloader: Arc<Reloader>,
    ) -> io::Result<impl Future<Output = ()>> {
        self.listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(self.listener)?;
        let file = self.file;
        Ok(async move {
            let _file = file;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        tokio::spawn(converse(stream, store.clone(), reloader.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control socket failed; trying again");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        })
    }
}

async fn converse(mut stream: UnixStream, store: Arc<ConfigStore>, reloader: Arc<Reloader>) {
    let mut text = Vec::new();
    let mut bounded = (&mut stream).take(MOST);
    let reading = bounded.read_to_end(&mut text);
    if !matches!(timeout(PATIENCE, reading).await, Ok(Ok(_))) {
        return;
    }
    let answer: Answer = match serde_json::from_slice(&text) {
        Ok(Question::Reload) => reloader.reload().await.map(|done| lines(&done, false)),
        Ok(Question::Diff(file)) => diff(store, file).await.map(|done| lines(&done, true)),
        Err(error) => Err(format!(
            "the daemon does not understand the question: {error}"
        )),
    };
    if let Ok(answer) = serde_json::to_vec(&answer) {
        // Who asked may be gone; what was asked for is done.
        let _ = timeout(PATIENCE, stream.write_all(&answer)).await;
    }
}

async fn diff(store: Arc<ConfigStore>, file: Option<PathBuf>) -> Result<Reloaded, String> {
    let comparing = tokio::task::spawn_blocking(move || match file {
        Some(file) => store.diff(&file),
        None => store.diff(store.file()),
    });
    match timeout(READING, comparing).await {
        Ok(Ok(outcome)) => {
            let outcome = outcome.map_err(|error| error.to_string())?;
            wiring::check(&outcome.live).map_err(|error| error.to_string())?;
            Ok(outcome)
        }
        Ok(Err(error)) => Err(format!("a part of the daemon failed: {error}")),
        Err(_) => Err("reading the file takes too long".to_owned()),
    }
}

fn lines(reloaded: &Reloaded, dry: bool) -> String {
    let changes = reloaded.changes.iter();
    let changes = changes.map(|change| change.line(dry).replace('\n', " ") + "\n");
    let ignored = wiring::ignored(&reloaded.live).into_iter();
    let ignored = ignored.map(|key| format!("{:<26} ignored\n", key.escape_debug().to_string()));
    changes.chain(ignored).collect()
}
