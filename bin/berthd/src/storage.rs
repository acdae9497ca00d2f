//! Which of containerd's snapshotters images and containers are kept in.
//!
//! The one that is asked for or, where none is, `overlayfs`; where that cannot be had, `native`. What
//! containerd says of itself is not enough: it does not try whether the kernel mounts an overlay
//! where its files are, and of a proxy it knows no more than where it should be.

use std::io;
use std::path::Path;
use std::time::Duration;

use berth_ctrd::{Client, Labels, Snapshotter};
use berth_rootfs::{Base, Layer, View};

/// What is taken where nothing is asked for.
const OVERLAY: &str = "overlayfs";
/// What works everywhere, at the price of a copy for each layer and each container.
const NATIVE: &str = "native";
/// What is tried out with, in the snapshotter's directory or in the snapshotter itself.
const PROBE: &str = "berthd-probe";
/// How long a proxy may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Why no snapshotter can be used. The words before the colon are dockerd's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Containerd(#[from] berth_ctrd::Error),
    #[error("driver not supported: {name}: containerd has {offered}")]
    Unknown { name: String, offered: String },
    #[error("driver not supported: {name}: {why} (containerd has {offered})")]
    Unusable {
        name: String,
        why: String,
        offered: String,
    },
}

/// The snapshotter to use: `asked`, where one is. 1 RPC, and 2 to try a proxy.
pub(crate) async fn choose(client: &Client, asked: Option<&str>) -> Result<String, Error> {
    let all = client.snapshotters().await?;
    if let Some(name) = asked {
        return pick(client, &all, name).await;
    }
    match pick(client, &all, OVERLAY).await {
        Err(error @ (Error::Unknown { .. } | Error::Unusable { .. })) => {
            tracing::warn!(%error, "falling back to the snapshotter {NATIVE}: each container and each layer is a copy");
            pick(client, &all, NATIVE).await
        }
        other => other,
    }
}

async fn pick(client: &Client, all: &[Snapshotter], name: &str) -> Result<String, Error> {
    let name = name.to_owned();
    let offered = offered(all);
    let Some(found) = all.iter().find(|one| one.name == name) else {
        return Err(Error::Unknown { name, offered });
    };
    match try_out(client, found).await {
        Ok(()) => Ok(name),
        Err(why) => Err(Error::Unusable { name, why, offered }),
    }
}

/// The names of those that came up.
fn offered(all: &[Snapshotter]) -> String {
    let up = all.iter().filter(|one| one.failure.is_none());
    let mut names: Vec<_> = up.map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

async fn try_out(client: &Client, snapshotter: &Snapshotter) -> Result<(), String> {
    if let Some(why) = &snapshotter.failure {
        return Err(why.clone());
    }
    if snapshotter.is_proxy {
        let asking = ask(client, &snapshotter.name);
        let outcome = tokio::time::timeout(ANSWER, asking).await;
        let limit = ANSWER.as_secs();
        return outcome.unwrap_or_else(|_| Err(format!("it did not answer within {limit} s")));
    }
    match &snapshotter.root {
        // A containerd in another mount namespace may have it where we cannot see it.
        Some(root) if snapshotter.name == OVERLAY && root.is_dir() => {
            let root = root.clone();
            let tried = tokio::task::spawn_blocking(move || overlay_in(&root)).await;
            tried.unwrap_or_else(|error| Err(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Has a proxy make a snapshot: less does not reach it.
async fn ask(client: &Client, name: &str) -> Result<(), String> {
    let snapshots = client.snapshots(name);
    let key = probe();
    let told = |error: berth_ctrd::Error| error.to_string();
    let made = snapshots.prepare(&key, "", &Labels::new()).await;
    made.map_err(told)?;
    match snapshots.remove(&key).await {
        // Nothing refers to it, so that it may have been collected meanwhile.
        Err(error) if !error.is_not_found() => Err(told(error)),
        _ => Ok(()),
    }
}

/// This daemon's own name for what it tries out with.
fn probe() -> String {
    format!("{PROBE}-{}", std::process::id())
}

/// Mounts an overlay of directories in `root`, out of sight, and uses it. Blocks.
fn overlay_in(root: &Path) -> Result<(), String> {
    // Other daemons may use the same snapshotter. One that died in here leaves three empty folders.
    let probe = root.join(probe());
    let _ = std::fs::remove_dir_all(&probe);
    let outcome = use_overlay(&probe);
    if let Err(error) = std::fs::remove_dir_all(&probe) {
        tracing::debug!(path = %probe.display(), %error, "removing what an overlay was tried with");
    }
    outcome.map_err(|why| format!("no overlay can be used in {}: {why}", root.display()))
}

fn use_overlay(probe: &Path) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let folder = |name: &str| probe.join(name);
    for name in ["lower", "upper", "work"] {
        std::fs::create_dir_all(folder(name)).map_err(told)?;
    }
    std::fs::write(folder("lower").join("file"), "").map_err(told)?;
    let option = |option: &str, name: &str| format!("{option}={}", folder(name).display());
    let layer = Layer {
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: vec![
            option("lowerdir", "lower"),
            option("upperdir", "upper"),
            option("workdir", "work"),
        ],
    };
    let view = View::open(&Base::Snapshot(vec![layer]), &[], &folder("lower"))
        .map_err(|error| error.to_string())?;
    // What a container does: write something new, and take away what is its image's.
    std::fs::write(view.path().join("new"), "").map_err(told)?;
    std::fs::remove_file(view.path().join("file")).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_came_up_are_offered() {
        let snapshotter = |name: &str, failure: Option<&str>| Snapshotter {
            name: name.to_owned(),
            failure: failure.map(str::to_owned),
            root: None,
            is_proxy: false,
        };
        let all = [
            snapshotter("overlayfs", None),
            snapshotter("zfs", Some("no")),
            snapshotter("native", None),
        ];
        assert_eq!(offered(&all), "native, overlayfs");
        assert_eq!(offered(&all[1..2]), "none");
    }
}
