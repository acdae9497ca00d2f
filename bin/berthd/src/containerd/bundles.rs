//! Bundles that a containerd left half made when it was killed.
//!
//! containerd makes a task's bundle, starts its shim, and only then writes down which shim that is.
//! Killed in between, its successor can neither load the bundle nor clean it up, and every later
//! start of that container fails with "file exists" (seen with 1.6). While no containerd runs, who
//! is about to start one can tell such a bundle and remove it.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What a containerd writes once the shim runs: 1.6, 1.7, 2.
const COMPLETE: [&str; 3] = ["runtime", "shim-binary-path", "bootstrap.json"];

/// Removes the bundles of the namespace that were never completed, and that no shim uses. `state` is
/// containerd's state directory. What cannot be removed is logged: it keeps one container from
/// starting, not the daemon.
pub(super) fn sweep(state: &Path, namespace: &str) {
    let tasks = state.join("io.containerd.runtime.v2.task").join(namespace);
    for entry in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let bundle = entry.path();
        if !is_cut_off(&bundle) {
            continue;
        }
        match remove(&bundle) {
            Ok(()) => {
                tracing::info!(bundle = %bundle.display(), "removed a bundle that was cut off")
            }
            Err(error) => {
                tracing::warn!(bundle = %bundle.display(), %error, "removing a bundle that was cut off");
            }
        }
    }
}

fn is_cut_off(bundle: &Path) -> bool {
    let complete = COMPLETE.iter().any(|file| bundle.join(file).exists());
    !complete && bundle.is_dir() && !has_shim(bundle)
}

/// Whether somebody answers at the address that the shim left, if it left one.
fn has_shim(bundle: &Path) -> bool {
    let address = fs::read_to_string(bundle.join("address")).unwrap_or_default();
    let path = address.trim().strip_prefix("unix://");
    path.is_some_and(|path| UnixStream::connect(path).is_ok())
}

/// Removes a bundle; never what is mounted in it, which is the container's.
fn remove(bundle: &Path) -> io::Result<()> {
    match fs::remove_dir(bundle.join("rootfs")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir_all(bundle)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_what_was_cut_off_goes() {
        let state = tempfile::tempdir().unwrap();
        let tasks = state.path().join("io.containerd.runtime.v2.task/moby");
        let shim = state.path().join("shim");
        let _shim = UnixListener::bind(&shim).unwrap();
        let bundle = |name: &str, files: &[(&str, &str)]| {
            fs::create_dir_all(tasks.join(name).join("rootfs")).unwrap();
            fs::write(tasks.join(name).join("config.json"), "{}").unwrap();
            for (file, text) in files {
                fs::write(tasks.join(name).join(file), text).unwrap();
            }
        };
        let there = format!("unix://{}", shim.display());
        bundle("bare", &[]);
        bundle("shim-gone", &[("address", "unix:///nowhere")]);
        bundle("shim-there", &[("address", &there)]);
        bundle("of-1.6", &[("runtime", "io.containerd.runc.v2")]);
        bundle("of-1.7", &[("shim-binary-path", "/usr/bin/shim")]);
        bundle("of-2", &[("bootstrap.json", "{}")]);
        bundle("used", &[]);
        fs::write(tasks.join("used/rootfs/file"), "of the container").unwrap();
        sweep(state.path(), "moby");
        let mut left: Vec<_> = fs::read_dir(&tasks)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["of-1.6", "of-1.7", "of-2", "shim-there", "used"]);
        assert!(tasks.join("used/rootfs/file").exists());
        sweep(&state.path().join("nothing"), "moby");
    }
}
