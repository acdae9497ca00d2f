//! Execs of an earlier daemon that still are in a container which was taken over.
//!
//! Nobody can ask for them any more, as with dockerd; but they run on, so what they write must be
//! read, and what the shim holds of them given back when they end. Their FIFOs tell which there are:
//! they are made before the exec and removed after it.

use std::collections::BTreeSet;
use std::path::Path;

use berth_ctrd::{FifoSet, Status, Task};

use crate::exec;
use crate::shared::{Shared, blocking};
use crate::stdio::Hub;

/// What stands behind an exec's id in the name of the FIFO that each has.
const OUTPUT: &str = "-stdout";

/// One exec, as its FIFOs tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stray {
    id: String,
    stdin: bool,
    terminal: bool,
}

/// Sees the execs out that an earlier daemon left in the container `id`.
pub(crate) async fn see_out(shared: &Shared, id: &str, task: &Task) {
    let directory = shared.io_dir(id);
    let found = {
        let directory = directory.clone();
        blocking(move || Ok(find(&directory))).await
    };
    for stray in found.unwrap_or_default() {
        tracing::info!(
            exec = stray.id,
            container = id,
            "an exec of an earlier daemon runs on unattended"
        );
        let fifos = FifoSet::new(&directory, &stray.id, stray.stdin, stray.terminal);
        tokio::spawn(see_through(task.clone(), stray, fifos));
    }
}

fn find(directory: &Path) -> BTreeSet<Stray> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ids = names.filter_map(|name| {
        let id = name.strip_suffix(OUTPUT)?;
        (id.len() == 64).then(|| id.to_owned())
    });
    ids.map(|id| Stray {
        stdin: directory.join(format!("{id}-stdin")).exists(),
        terminal: !directory.join(format!("{id}-stderr")).exists(),
        id,
    })
    .collect()
}

async fn see_through(task: Task, stray: Stray, fifos: FifoSet) {
    let process = task.process(&stray.id);
    match process.status().await {
        // It was never started, and is not going to be.
        Ok(Status::Created) => exec::delete(&process).await,
        Err(error) if error.is_not_found() => {}
        _ => match fifos.open() {
            Ok(streams) => {
                let hub = Hub::new();
                let keyboard = hub.keyboard();
                let mut session = hub.begin(streams, process.clone(), None);
                session.listen();
                // Who typed is gone.
                keyboard.close().await;
                let _ = process.wait().await;
                tokio::join!(exec::delete(&process), session.finish());
            }
            Err(error) => {
                tracing::warn!(exec = stray.id, %error, "the streams of an exec are lost");
                let _ = process.wait().await;
                exec::delete(&process).await;
            }
        },
    }
    if let Err(error) = fifos.remove() {
        tracing::debug!(%error, "removing the FIFOs of an exec");
    }
}
