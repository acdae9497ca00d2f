//! Images.

mod config;
mod descriptor;
mod inspect;
mod list;

pub use config::ImageConfig;
pub use descriptor::{DistributionInspect, OciDescriptor, OciPlatform};
pub use inspect::{ImageInspect, ImageMetadata, RootFs};
pub use list::{
    AttestationData, AttestationStatement, ImageData, ImageDataSize, ImageDeleteItem,
    ImageHistoryItem, ImageSummary, ImagesPruned, ManifestSize, ManifestSummary,
};
