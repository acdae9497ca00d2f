//! Where a test can have the daemon die.
//!
//! What is left by a crash between two steps of a change cannot be made from outside. So each step
//! names itself here. A daemon whose environment names a file in `BERTH_FAULTS` aborts, as by
//! `kill -9`, at the step that the file names at that time. A number behind the name says how often
//! the step is passed before that. Beside it, in a file with the extension `points`, the daemon lists
//! the steps that there are, and the tests ask for each of them. Builds without debug assertions, such
//! as releases, have nothing of this in them.

/// Every step at which the daemon can be had to die. The word before the colon is the change; the
/// tests walk each of them, and fail for one that they do not know.
#[cfg(debug_assertions)]
const POINTS: &[&str] = &[
    "create:snapshot",
    "create:volumes",
    "create:config",
    "create:record",
    "start:volumes",
    "start:prepared",
    "start:container",
    "start:task",
    "start:network",
    "start:made",
    "start:started",
    "run:begun",
    "signal:asked",
    "signal:sent",
    "freeze:done",
    "commit:frozen",
    "commit:packed",
    "commit:made",
    "rename:saved",
    "update:told",
    "update:saved",
    "rewire:done",
    "rewire:noted",
    "rewire:saved",
    "exec:added",
    "exec:started",
    "exec:ended",
    "probe:started",
    "probe:ended",
    "exit:seen",
    "exit:saved",
    "restart:waiting",
    "restart:due",
    "teardown",
    "teardown:task",
    "teardown:container",
    "teardown:streams",
    "teardown:endpoint",
    "teardown:netns",
    "teardown:fifos",
    "teardown:volumes",
    "remove",
    "remove:run",
    "remove:snapshot",
    "remove:volumes",
    "remove:record",
    "network:made",
    "network:saved",
    "network:unmade",
    "network:removed",
    "volume:made",
    "volume:removed",
    "lease:taken",
    "lease:ended",
    "pull:layer",
    "pull:document",
    "load:stored",
    "blob:stored",
    "document:stored",
    "ahead:prepared",
    "ahead:unpacked",
    "unpack:prepared",
    "unpack:applied",
    "unpack:committed",
    "name:kept",
    "name:recorded",
    "name:cleared",
    "rmi:kept",
    "rmi:record",
    "rmi:manifest",
];

/// A step has come. Does nothing unless a test says so.
#[cfg(debug_assertions)]
pub fn point(step: &str) {
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex};

    // Held while the file is read and written: steps come from several threads.
    static FILE: LazyLock<Option<Mutex<PathBuf>>> = LazyLock::new(|| {
        let file = PathBuf::from(std::env::var_os("BERTH_FAULTS")?);
        if let Err(error) = std::fs::write(file.with_extension("points"), POINTS.join("\n")) {
            tracing::error!(%error, "telling the points");
        }
        Some(Mutex::new(file))
    });
    let Some(file) = FILE.as_ref() else { return };
    let file = file
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let named = std::fs::read_to_string(&*file).unwrap_or_default();
    let mut words = named.split_whitespace();
    let (known, meant) = (POINTS.contains(&step), words.next() == Some(step));
    if known && !meant {
        return;
    }
    let passes = words.next().and_then(|word| word.parse::<u32>().ok());
    if let Some(left) = passes.and_then(|passes| passes.checked_sub(1)) {
        if let Err(error) = std::fs::write(&*file, format!("{step} {left}")) {
            tracing::error!(%error, "counting a step");
        }
        return;
    }
    tracing::error!(step, known, "aborting, as a test asked");
    std::process::abort();
}

/// A step has come.
#[cfg(not(debug_assertions))]
#[inline]
pub fn point(_: &str) {}
