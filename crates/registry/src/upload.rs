//! What one repository is to have: blobs and manifests go up.

use berth_reference::Digest;
use bytes::Bytes;
use futures::Stream;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};

use crate::conversation::{Answer, Ask, Conversation, Size};
use crate::repository::{Kind, Repository};
use crate::{Error, Result};

/// What became of asking for a blob to be mounted from elsewhere.
#[derive(Debug)]
pub enum Mounted {
    /// It is there.
    Yes,
    /// It must be sent.
    No(Upload),
}

/// An upload that the registry has agreed to.
#[derive(Debug)]
pub struct Upload {
    location: Url,
}

impl Repository {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// [`Error::PushDenied`] and failures of the exchange.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let ask = Ask::new(Method::HEAD, Size::Small);
        self.has(Kind::Blob, digest.as_str(), ask).await
    }

    /// Whether the repository has a manifest.
    ///
    /// # Errors
    /// [`Error::PushDenied`] and failures of the exchange.
    pub async fn has_manifest(&self, digest: &Digest, media_type: &str) -> Result<bool> {
        let ask = Ask::new(Method::HEAD, Size::Small).header("accept", media_type);
        self.has(Kind::Manifest, digest.as_str(), ask).await
    }

    async fn has(&self, kind: Kind, what: &str, ask: Ask) -> Result<bool> {
        let there = self.there().await?;
        let url = there.url(&self.path(kind, what)).await?;
        let answer = there.ask(url, ask).await?;
        match answer.response.status() {
            status if status.is_success() => Ok(true),
            // Without a body nothing more can be learned; the upload will tell.
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused(there, "Head", kind, what, answer).await),
        }
    }

    /// Asks for a blob to be mounted from the repository `source` of the same registry.
    ///
    /// # Errors
    /// [`Error::PushDenied`] and failures of the exchange.
    pub async fn mount(&self, digest: &Digest, source: &str) -> Result<Mounted> {
        let there = self.there().await?;
        let mut url = there.url(&self.path(Kind::Blob, "uploads/")).await?;
        url.query_pairs_mut()
            .append_pair("mount", digest.as_str())
            .append_pair("from", source);
        let answer = there.ask(url, Ask::new(Method::POST, Size::Small)).await?;
        match answer.response.status() {
            StatusCode::CREATED => Ok(Mounted::Yes),
            StatusCode::ACCEPTED => Ok(Mounted::No(upload(&answer)?)),
            // We may not read there, which is no reason not to send it.
            _ => Ok(Mounted::No(self.begin().await?)),
        }
    }

    /// Begins to send a blob.
    ///
    /// # Errors
    /// [`Error::PushDenied`] and failures of the exchange.
    pub async fn begin(&self) -> Result<Upload> {
        let there = self.there().await?;
        let url = there.url(&self.path(Kind::Blob, "uploads/")).await?;
        let answer = there.ask(url, Ask::new(Method::POST, Size::Small)).await?;
        match answer.response.status() {
            StatusCode::ACCEPTED => upload(&answer),
            _ => Err(self.refused(there, "Post", Kind::Tags, "", answer).await),
        }
    }

    /// Sends all of a blob of `size` bytes.
    ///
    /// # Errors
    /// Failures of the exchange, which are worth another upload where
    /// [`Error::is_transient`] says so.
    pub async fn send<S>(
        &self,
        upload: Upload,
        digest: &Digest,
        size: u64,
        content: S,
    ) -> Result<()>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let there = self.there().await?;
        let mut url = upload.location;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let answer = there.pour(url, Method::PUT, size, content).await?;
        match answer.response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED => {
                // The token may have run out meanwhile: the next try gets a new one.
                there.forget_authorization().await;
                let error = self.refused(there, "Put", Kind::Blob, digest.as_str(), answer);
                let text = error.await.to_string();
                Err(Error::Server { text, after: None })
            }
            _ => {
                let what = digest.as_str();
                Err(self.refused(there, "Put", Kind::Blob, what, answer).await)
            }
        }
    }

    /// Sends a manifest or index; its blobs, or manifests, must be there. A tag points to it then.
    ///
    /// # Errors
    /// [`Error::PushDenied`] and failures of the exchange; also when the registry took it for
    /// another one.
    pub async fn put_manifest(
        &self,
        tag_or_digest: &str,
        media_type: &str,
        data: Bytes,
    ) -> Result<()> {
        let there = self.there().await?;
        let url = there.url(&self.path(Kind::Manifest, tag_or_digest)).await?;
        let digest = Digest::of(&data);
        let mut ask = Ask::new(Method::PUT, Size::Slow).header("content-type", media_type);
        ask.body = data;
        let answer = there.ask(url, ask).await?;
        if !answer.response.status().is_success() {
            let refused = self.refused(there, "Put", Kind::Manifest, tag_or_digest, answer);
            return Err(refused.await);
        }
        let told = header(answer.response.headers(), "docker-content-digest");
        match told.map(Digest::parse) {
            Some(Ok(told)) if told != digest => Err(Error::Digest {
                subject: format!("manifest of {}", self.reference.familiar()),
                expected: digest.to_string(),
                actual: told.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Where everything goes: the first host that takes uploads.
    async fn there(&self) -> Result<&Conversation> {
        let found = self.hosts().await?.iter().find(|c| c.host.does.push);
        found.ok_or_else(|| {
            let name = self.reference.familiar_name();
            Error::Setup(format!("no host is configured to take pushes of {name}"))
        })
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Where the registry wants the blob. It may be another host, which gets no credentials of ours.
fn upload(answer: &Answer) -> Result<Upload> {
    let location = header(answer.response.headers(), "location");
    let location = location.and_then(|to| answer.url.join(to).ok());
    match location {
        Some(url) if url.scheme() == "https" || url.scheme() == answer.url.scheme() => {
            Ok(Upload { location: url })
        }
        _ => Err(Error::Protocol(
            "the registry did not say where to upload to".to_owned(),
        )),
    }
}
