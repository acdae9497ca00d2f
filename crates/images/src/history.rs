//! History: how an image came about, newest first, with the size of each step.

use berth_wire as wire;

use crate::image::Image;

impl Image {
    /// How it came about, newest step first.
    pub fn steps(&self) -> Vec<wire::ImageHistoryItem> {
        let image = self;
        let mut sizes = image.metadata.layer_sizes.iter();
        let mut items: Vec<wire::ImageHistoryItem> = image
            .history()
            .iter()
            .map(|entry| wire::ImageHistoryItem {
                id: "<missing>".to_owned(),
                created: entry
                    .created
                    .as_deref()
                    .and_then(|c| c.parse::<jiff::Timestamp>().ok())
                    .map_or(0, jiff::Timestamp::as_second),
                created_by: entry.created_by.clone(),
                tags: Vec::new(),
                size: if entry.empty_layer {
                    0
                } else {
                    sizes.next().copied().unwrap_or(0)
                },
                comment: entry.comment.clone(),
            })
            .collect();
        items.reverse();
        if let Some(newest) = items.first_mut() {
            newest.id = image.id().to_string();
            newest.tags = image.tags().to_vec();
        }
        items
    }
}
