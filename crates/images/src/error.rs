//! What can go wrong with images, in dockerd's words.

use berth_errdefs::{Classify, Kind};

/// A failed operation on images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image.
    #[error("No such image: {0}")]
    NotFound(String),
    /// There is no image of this name to push.
    #[error("tag does not exist: {0}")]
    NoTag(String),
    /// There is no tag of this repository to push.
    #[error("An image does not exist locally with the tag: {0}")]
    NoTags(String),
    /// An ID prefix fits several images.
    #[error("ambiguous reference")]
    Ambiguous,
    /// A name that is not one.
    #[error(transparent)]
    Reference(#[from] berth_reference::Error),
    /// The caller's input makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The image is in use, or has other names.
    #[error("conflict: unable to delete {reference} ({}) - {message}", if *.hard { "cannot be forced" } else { "must be forced" })]
    Conflict {
        /// The name or short ID that was to be removed.
        reference: String,
        /// Force does not help either.
        hard: bool,
        /// Why.
        message: String,
    },
    /// The index has no manifest for the platform.
    #[error(
        "no matching manifest for {0} in the manifest list entries: no match for platform in manifest: not found"
    )]
    Platform(String),
    /// The image is here, but not for the platform asked for.
    #[error(
        "image with reference {name} was found but does not provide the specified platform ({platform})"
    )]
    OtherPlatform {
        /// What the client called it.
        name: String,
        /// The platform asked for.
        platform: String,
    },
    /// The image is here, but nothing of it for a platform that is to be removed.
    #[error(
        "failed to delete platform {platform} for image {image}: image with reference {name} was found but does not provide any platform"
    )]
    NoPlatform {
        /// The image's name, or its ID where it has none.
        name: String,
        /// The image's ID.
        image: String,
        /// The platform asked for.
        platform: String,
    },
    /// What arrived is not what it should be.
    #[error("{0}")]
    Corrupt(String),
    /// An archive is not an image archive, or a hostile one.
    #[error("{0}")]
    Archive(String),
    /// Something that a manifest refers to is missing.
    #[error("content digest {0}: not found")]
    Missing(String),
    /// The registry, or the way there.
    #[error(transparent)]
    Registry(#[from] berth_registry::Error),
    /// containerd, or the way there.
    #[error(transparent)]
    Containerd(#[from] berth_ctrd::Error),
    /// containerd cannot make a snapshot of a layer.
    #[error("failed to extract layer {layer}: {error}")]
    Extract {
        /// The layer's diff ID.
        layer: berth_reference::Digest,
        /// Why not.
        error: berth_ctrd::Error,
    },
    /// The client's stream broke off.
    #[error("{0}")]
    Input(String),
    /// The operation was given up.
    #[error("context canceled")]
    Cancelled,
}

impl Error {
    /// True when there is no room on containerd's disk.
    pub(crate) fn is_out_of_space(&self) -> bool {
        let error = match self {
            Error::Containerd(error) | Error::Extract { error, .. } => error,
            _ => return false,
        };
        error.is_out_of_space()
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            // dockerd answers 404 to an ambiguous prefix too.
            Error::NotFound(_)
            | Error::NoTag(_)
            | Error::NoTags(_)
            | Error::Ambiguous
            | Error::Platform(_)
            | Error::OtherPlatform { .. }
            | Error::NoPlatform { .. }
            | Error::Missing(_) => Kind::NotFound,
            Error::Invalid(_) | Error::Archive(_) => Kind::InvalidArgument,
            Error::Reference(e) => e.kind(),
            Error::Conflict { .. } => Kind::Conflict,
            Error::Corrupt(_) | Error::Input(_) => Kind::Internal,
            Error::Registry(e) => e.kind(),
            Error::Containerd(e) | Error::Extract { error: e, .. } => e.kind(),
            Error::Cancelled => Kind::Cancelled,
        }
    }
}
