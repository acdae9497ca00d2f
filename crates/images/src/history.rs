//! History: how an image came about, newest first, with the size of each step.

use serde::Serialize;

use crate::{Images, Result};

/// One step: Docker's `ImageHistoryResponseItem`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryItem {
    /// The image's ID for the newest step, `<missing>` for the others.
    pub id: String,
    /// When, in seconds since 1970.
    pub created: i64,
    /// By what command.
    pub created_by: String,
    /// The image's tags for the newest step.
    pub tags: Option<Vec<String>>,
    /// The size of the step's unpacked layer, in bytes.
    pub size: i64,
    /// A comment.
    pub comment: String,
}

impl Images {
    /// How the image came about, newest step first. No RPC.
    ///
    /// # Errors
    /// As [`Images::resolve`].
    pub fn history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        let image = self.resolve(name)?;
        let mut sizes = image.metadata.layer_sizes.iter();
        let mut items: Vec<HistoryItem> = image
            .history()
            .iter()
            .map(|entry| HistoryItem {
                id: "<missing>".to_owned(),
                created: entry
                    .created
                    .as_deref()
                    .and_then(|c| c.parse::<jiff::Timestamp>().ok())
                    .map_or(0, jiff::Timestamp::as_second),
                created_by: entry.created_by.clone(),
                tags: None,
                size: if entry.empty_layer { 0 } else { sizes.next().copied().unwrap_or(0) },
                comment: entry.comment.clone(),
            })
            .collect();
        items.reverse();
        if let Some(newest) = items.first_mut() {
            newest.id = image.id().to_string();
            newest.tags = Some(image.tags().to_vec()).filter(|tags| !tags.is_empty());
        }
        Ok(items)
    }
}
