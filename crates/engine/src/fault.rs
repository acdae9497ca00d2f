//! Where a test can have the daemon die.
//!
//! What is left by a crash between two steps of a teardown or a removal cannot be made from
//! outside. So each step names itself here, and a daemon whose environment has
//! `BERTH_ABORT_AT=<step>` aborts there, as `kill -9` would. Builds without debug assertions, such
//! as releases, have nothing of this in them.

/// A step has come. Does nothing unless a test says so.
#[inline]
pub(crate) fn point(step: &str) {
    #[cfg(debug_assertions)]
    {
        static AT: std::sync::LazyLock<Option<String>> =
            std::sync::LazyLock::new(|| std::env::var("BERTH_ABORT_AT").ok());
        if AT.as_deref() == Some(step) {
            tracing::error!(step, "aborting, as a test asked");
            std::process::abort();
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = step;
}
