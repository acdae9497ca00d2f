//! Tests of `berthd` through the real docker CLI and the raw API; all of them stand in `tests/`,
//! one file a theme.
//!
//! - All: `cargo test -p cli-tests` (as root). One theme: `cargo test -p cli-tests --test logs`.
//! - Against Debian's dockerd: `TESTKIT_DAEMON=dockerd cargo test -p cli-tests`. It is 20.10: where
//!   newer Docker behaves otherwise a test asks `is_old_dockerd()`.
