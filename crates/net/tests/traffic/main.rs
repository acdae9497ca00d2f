//! Real traffic through real kernels: as root, each test on a host (network namespace) of its own.
#![allow(unsafe_code, clippy::unwrap_used)]

mod lifecycle;
mod names;
mod policy;
mod reach;
mod repair;
mod settings;
mod world;
