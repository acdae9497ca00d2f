//! Trees of containers on the real kernel; needs root.

mod archives;
mod changed;
mod copies;
mod views;
mod world;
