//! Where a test can have the daemon die.
//!
//! What is left by a crash between two steps of a teardown or a removal cannot be made from
//! outside. So each step names itself here. A daemon whose environment names a file in
//! `BERTH_FAULTS` aborts, as by `kill -9`, at the step that the file names at that time. Builds
//! without debug assertions, such as releases, have nothing of this in them.

/// A step has come. Does nothing unless a test says so.
#[cfg(debug_assertions)]
pub(crate) fn point(step: &str) {
    static FILE: std::sync::LazyLock<Option<std::ffi::OsString>> =
        std::sync::LazyLock::new(|| std::env::var_os("BERTH_FAULTS"));
    let Some(file) = FILE.as_ref() else { return };
    if std::fs::read_to_string(file).is_ok_and(|named| named.trim() == step) {
        tracing::error!(step, "aborting, as a test asked");
        std::process::abort();
    }
}

/// A step has come.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn point(_: &str) {}
