//! Fetching what is no registry's: the archive that an import's URL names.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use reqwest::{Method, Url};

use crate::conversation::{Ask, Conversation, Size};
use crate::hosts::{At, Does, Host};
use crate::limits::paced;
use crate::{Error, Registry, Result};

/// What is being fetched.
pub struct Download {
    /// Its size in bytes, where the server says.
    pub size: Option<u64>,
    /// The bytes.
    pub stream: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Fetches `address`, by the same proxies and certificates as everything, without credentials.
    ///
    /// # Errors
    /// It is no HTTP URL, or the server refuses.
    pub async fn download(&self, address: &str) -> Result<Download> {
        let url = match address.contains("://") {
            true => Url::parse(address),
            false => Url::parse(&format!("http://{address}")),
        };
        let url = url.map_err(|e| Error::Term(format!("parse {address:?}: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return Err(Error::Term(format!(
                "unsupported protocol scheme {scheme:?}"
            )));
        }
        let host = Host::new(At::Url(url.clone()), Does::MIRROR, false);
        let there = Conversation::new(self.rules(), self.agent(), host, None, Arc::default());
        let answer = there.ask(url, Ask::new(Method::GET, Size::Large)).await?;
        let status = answer.response.status();
        if !status.is_success() {
            let printable = crate::error::printable(&answer.url);
            return Err(Error::Status(format!(
                "failed to GET {printable} with status {status}"
            )));
        }
        let size = answer.response.content_length();
        let stream = paced(answer.response.bytes_stream(), answer.url, there.limits());
        Ok(Download {
            size,
            stream: Box::pin(stream),
        })
    }
}
