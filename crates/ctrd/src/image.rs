//! Image records: names that point into the content store.

use containerd_client::services::v1 as svc;
use containerd_client::types;

use crate::client::CALL;
use crate::content::{Labels, from_labels, to_labels, to_time};
use crate::{Client, Descriptor, Error, Result};

/// The time a synchronous delete may take: it waits for garbage collection.
const COLLECT: std::time::Duration = std::time::Duration::from_secs(300);

/// One image record.
#[derive(Clone, Debug)]
pub struct ImageRecord {
    /// Its name; Docker's are full references, or `moby-dangling@sha256:…`.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// The manifest or index that it points to.
    pub target: Descriptor,
    /// When the name was made.
    pub created: Option<jiff::Timestamp>,
    /// When the name was last pointed elsewhere.
    pub updated: Option<jiff::Timestamp>,
}

impl From<svc::Image> for ImageRecord {
    fn from(image: svc::Image) -> ImageRecord {
        ImageRecord {
            name: image.name,
            labels: from_labels(image.labels),
            target: image.target.unwrap_or_default().into(),
            created: to_time(image.created_at),
            updated: to_time(image.updated_at),
        }
    }
}

/// The image records of the namespace. Clones share the connection.
#[derive(Clone, Debug)]
pub struct ImageRecords {
    client: Client,
}

impl Client {
    /// The image records of the namespace. No RPC.
    pub fn images(&self) -> ImageRecords {
        ImageRecords {
            client: self.clone(),
        }
    }

    fn image_client(&self) -> svc::images_client::ImagesClient<tonic::transport::Channel> {
        // A host with very many images answers List in one message.
        svc::images_client::ImagesClient::new(self.channel()).max_decoding_message_size(64 << 20)
    }
}

fn record(method: &'static str, image: Option<svc::Image>) -> Result<ImageRecord> {
    image.map(ImageRecord::from).ok_or_else(|| Error::Protocol {
        method,
        what: "no image in it".to_owned(),
    })
}

fn message(name: &str, target: &Descriptor, labels: &Labels) -> svc::Image {
    svc::Image {
        name: name.to_owned(),
        labels: to_labels(labels),
        target: Some(types::Descriptor::from(target.clone())),
        ..Default::default()
    }
}

impl ImageRecords {
    /// Makes the name `name` for `target`. 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_already_exists`] when there is an image of that name.
    pub async fn create(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<ImageRecord> {
        let request = svc::CreateImageRequest {
            image: Some(message(name, target, labels)),
            ..Default::default()
        };
        let mut c = self.client.image_client();
        let call = c.create(self.client.request(request));
        record(
            "Images.Create",
            self.client.call("Images.Create", CALL, call).await?.image,
        )
    }

    /// Points the existing name `name` to `target` and replaces its labels. 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is no image of that name.
    pub async fn update(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<ImageRecord> {
        let request = svc::UpdateImageRequest {
            image: Some(message(name, target, labels)),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["target".to_owned(), "labels".to_owned()],
            }),
            ..Default::default()
        };
        let mut c = self.client.image_client();
        let call = c.update(self.client.request(request));
        record(
            "Images.Update",
            self.client.call("Images.Update", CALL, call).await?.image,
        )
    }

    /// The image of that name. 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is none.
    pub async fn get(&self, name: &str) -> Result<ImageRecord> {
        let request = svc::GetImageRequest {
            name: name.to_owned(),
        };
        let mut c = self.client.image_client();
        let call = c.get(self.client.request(request));
        record(
            "Images.Get",
            self.client.call("Images.Get", CALL, call).await?.image,
        )
    }

    /// All image records. 1 RPC.
    pub async fn list(&self) -> Result<Vec<ImageRecord>> {
        let mut c = self.client.image_client();
        let call = c.list(self.client.request(svc::ListImagesRequest::default()));
        let answer = self.client.call("Images.List", CALL, call).await?;
        Ok(answer.images.into_iter().map(ImageRecord::from).collect())
    }

    /// Removes the name; with `sync` waits until what nothing refers to any more is collected.
    /// 1 RPC.
    ///
    /// # Errors
    /// [`Error::is_not_found`] when there is no image of that name.
    pub async fn delete(&self, name: &str, sync: bool) -> Result<()> {
        let request = svc::DeleteImageRequest {
            name: name.to_owned(),
            sync,
            target: None,
        };
        let mut c = self.client.image_client();
        let call = c.delete(self.client.request(request));
        let limit = if sync { COLLECT } else { CALL };
        self.client.call("Images.Delete", limit, call).await
    }
}
