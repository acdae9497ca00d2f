//! Tests of what `berthd` asks of a real containerd; all of them stand in `tests/`.
//!
//! `cargo test -p containerd-tests` (as root). Against dockerd they do not run: its budgets are not
//! ours.
