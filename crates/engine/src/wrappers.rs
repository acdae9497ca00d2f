//! Which wrapper scripts stay.
//!
//! Scripts are never removed while the daemon runs: what a container was started with must stay for
//! as long as it runs. At the start those go that nobody needs any more. dockerd empties the
//! directory there, before it looks for what runs.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_config::{Live, Wrapper};

use crate::Result;
use crate::shared::{Shared, blocking};

/// Removes the scripts that the configuration does not define and no task may refer to: neither
/// containerd nor a record of ours names them. Where one of the two cannot be asked, all stay. To be
/// called once, after what has ended has been taken down and before anything is started.
pub(crate) async fn sweep(shared: &Shared, live: &Arc<Live>) {
    let in_use = match shared.client.runtimes_in_use().await {
        Ok(in_use) => in_use,
        Err(error) => {
            return tracing::warn!(%error, "wrapper scripts of runtimes stay: it is not known which are in use");
        }
    };
    let recorded = shared.table.load();
    let recorded = recorded
        .all()
        .map(|handle| handle.view().run.runtime.clone());
    let defined = live
        .runtimes
        .iter()
        .filter_map(|runtime| runtime.wrapper.as_ref());
    let defined = defined.map(|wrapper| wrapper.path.to_string_lossy().into_owned());
    // The name tells the content, wherever the directory was called from.
    let keep = in_use.into_iter().chain(recorded).chain(defined);
    let keep: HashSet<OsString> = keep
        .filter_map(|path| Some(Path::new(&path).file_name()?.to_owned()))
        .collect();
    let dir = live.user.data_root.join("runtimes");
    let swept = blocking(move || {
        for path in stale(&dir, &keep)? {
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    tracing::debug!(path = %path.display(), "removed a wrapper script that nobody needs")
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "removing a wrapper script")
                }
            }
        }
        Ok(())
    });
    if let Err(error) = swept.await {
        tracing::warn!(%error, "looking for wrapper scripts that nobody needs");
    }
}

/// The files in `dir` that are not to be kept.
fn stale(dir: &Path, keep: &HashSet<OsString>) -> Result<Vec<PathBuf>> {
    let unfinished = Wrapper::unfinished();
    let being_written = |name: &OsStr| {
        name.to_str()
            .is_some_and(|name| name.starts_with(&unfinished))
    };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries
            .map_err(|error| crate::Error::internal(format!("{}: {error}", dir.display())))?,
    };
    let stale = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        is_file && !keep.contains(&name) && !being_written(&name)
    });
    Ok(stale.map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_nobody_needs_go() {
        let dir = tempfile::tempdir().unwrap();
        let unfinished = format!("{}7", Wrapper::unfinished());
        for name in ["kept.1", "old.2", ".new-1-2", unfinished.as_str()] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        let keep = HashSet::from([OsString::from("kept.1")]);
        let mut stale = stale(dir.path(), &keep).unwrap();
        stale.sort();
        assert_eq!(
            stale,
            [dir.path().join(".new-1-2"), dir.path().join("old.2")]
        );
        assert!(
            super::stale(&dir.path().join("none"), &keep)
                .unwrap()
                .is_empty()
        );
    }
}
