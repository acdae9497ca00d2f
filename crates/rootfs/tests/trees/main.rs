//! Trees of containers on the real kernel; needs root.

mod copies;
mod views;
mod world;
