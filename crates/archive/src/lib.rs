//! Archives from outside: what a stream is compressed with, and a limit on what a tar's headers
//! take. Pure: what is read comes from the caller's reader, and memory is bounded whatever it says.

mod compression;
mod metered;

pub use compression::{Compression, peek, plain, plain_in_little};
pub use metered::{Budget, Metered};
