//! Image names, digests and chain IDs: pure, without any I/O.
//!
//! The grammar is that of the distribution project's `reference` package, which Docker's CLI
//! and daemon share; the error texts are theirs too, because the CLI prints them.

mod digest;
mod name;

pub use digest::{Digest, chain_id, chain_ids};
pub use name::{DEFAULT_DOMAIN, DEFAULT_TAG, Reference, is_identifier, is_tag};

use berth_errdefs::{Classify, Kind};

/// Why a name or digest is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text does not match the grammar.
    #[error("invalid reference format")]
    Format,
    /// The repository has capital letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The text is what an image ID looks like.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The path of the repository is longer than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// The tag does not match the grammar.
    #[error("invalid tag format")]
    Tag,
    /// The digest does not match the grammar.
    #[error("invalid checksum digest format")]
    DigestFormat,
    /// The digest's algorithm is none of sha256, sha384, sha512.
    #[error("unsupported digest algorithm")]
    DigestAlgorithm,
    /// The digest is not as long as its algorithm's are.
    #[error("invalid checksum digest length")]
    DigestLength,
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
