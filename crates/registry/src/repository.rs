//! One conversation with one repository: manifests and blobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_reference::{Digest, Reference};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::Mutex;

use crate::auth::{self, Challenge};
use crate::transport::Rules;
use crate::{Credentials, Error, Registry, Result};

/// How long a manifest may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The largest manifest taken, in bytes; the distribution specification asks for 4 MiB.
const MAX_MANIFEST: usize = 8 << 20;
/// The longest error body read.
const MAX_ERROR: usize = 64 << 10;
/// The manifests we understand.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// A manifest or index as the registry sent it, its digest verified.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The media type: what the registry called it, without parameters.
    pub media_type: String,
    /// The digest of `data`.
    pub digest: Digest,
    /// The bytes.
    pub data: Bytes,
}

/// A blob under way.
pub struct Blob {
    /// The offset of the first byte that comes, which is 0 when the registry does not do ranges.
    pub offset: u64,
    /// The bytes. They are not verified.
    pub stream: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// A conversation about one repository. Clones share the token.
#[derive(Clone, Debug)]
pub struct Repository {
    registry: Registry,
    /// Captured when the conversation began.
    rules: Arc<Rules>,
    reference: Reference,
    credentials: Option<Credentials>,
    /// The mirror that this is a conversation with; `None`: the registry itself.
    mirror: Option<Url>,
    /// Whom to ask before.
    mirrors: Vec<Repository>,
    /// It could not be reached: the rest of the conversation goes on without it.
    down: Arc<AtomicBool>,
    /// The `Authorization` header that got us in last.
    authorization: Arc<Mutex<Option<Secret>>>,
}

/// A header value that never shows in logs.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Repository {
    pub(crate) fn new(
        registry: Registry,
        rules: Arc<Rules>,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Repository {
        let with = |mirror: Option<Url>| Repository {
            registry: registry.clone(),
            rules: rules.clone(),
            reference: reference.clone(),
            credentials: None,
            mirror,
            mirrors: Vec::new(),
            down: Arc::default(),
            authorization: Arc::default(),
        };
        // Mirrors are of Docker Hub only, and its credentials are none of their business.
        let mirrors = match reference.domain() == berth_reference::DEFAULT_DOMAIN {
            true => rules
                .mirrors
                .iter()
                .cloned()
                .map(|url| with(Some(url)))
                .collect(),
            false => Vec::new(),
        };
        Repository {
            credentials,
            mirrors,
            ..with(None)
        }
    }

    /// The digest that a tag points to now, without fetching the manifest; `None` when the
    /// registry does not say.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub async fn digest(&self, tag: &str) -> Result<Option<Digest>> {
        let (_, response) = self
            .send(Method::HEAD, "manifests", tag, 0, Some(LIMIT))
            .await?;
        let header = response.headers().get("docker-content-digest");
        Ok(header
            .and_then(|h| h.to_str().ok())
            .and_then(|h| Digest::parse(h).ok()))
    }

    /// The manifest or index that a tag or digest names, verified.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Denied`] and failures of the exchange.
    pub async fn manifest(&self, tag_or_digest: &str) -> Result<Manifest> {
        let (url, response) = self
            .send(Method::GET, "manifests", tag_or_digest, 0, Some(LIMIT))
            .await?;
        let media_type = response
            .headers()
            .get("content-type")
            .and_then(|h| h.to_str().ok())
            .and_then(|h| h.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_owned();
        let data = limited("Get", &url, response, MAX_MANIFEST).await?;
        let digest = Digest::of(&data);
        if let Ok(expected) = Digest::parse(tag_or_digest)
            && expected != digest
        {
            return Err(Error::Digest {
                subject: format!("manifest of {}", self.reference.familiar()),
                expected: expected.to_string(),
                actual: digest.to_string(),
            });
        }
        Ok(Manifest {
            media_type,
            digest,
            data,
        })
    }

    /// A blob from `offset` on, where the registry does ranges; see [`Blob::offset`].
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::Denied`] and failures of the exchange.
    pub async fn blob(&self, digest: &Digest, offset: u64) -> Result<Blob> {
        let (url, response) = self
            .send(Method::GET, "blobs", digest.as_str(), offset, None)
            .await?;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let stream = response
            .bytes_stream()
            .map(move |part| part.map_err(|e| Error::transport("Get", &url, &e)));
        Ok(Blob {
            offset: if partial { offset } else { 0 },
            stream: Box::pin(stream),
        })
    }

    /// Sends one request to the first mirror that has what is asked for, else to the registry.
    async fn send(
        &self,
        method: Method,
        kind: &str,
        what: &str,
        offset: u64,
        limit: Option<Duration>,
    ) -> Result<(Url, Response)> {
        for mirror in &self.mirrors {
            if mirror.down.load(Ordering::Relaxed) {
                continue;
            }
            match mirror.ask(method.clone(), kind, what, offset, limit).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    let gone = matches!(error, Error::Transport { .. });
                    mirror.down.store(gone, Ordering::Relaxed);
                    let url = mirror.mirror.as_ref().map(Url::as_str).unwrap_or_default();
                    tracing::warn!(mirror = url, %error, "a mirror does not answer; asking on");
                }
            }
        }
        self.ask(method, kind, what, offset, limit).await
    }

    /// Sends one request, answering one challenge on the way.
    async fn ask(
        &self,
        method: Method,
        kind: &str,
        what: &str,
        offset: u64,
        limit: Option<Duration>,
    ) -> Result<(Url, Response)> {
        let (client, base) = match &self.mirror {
            Some(mirror) => (
                self.registry.client_for(&self.rules, mirror)?,
                mirror.clone(),
            ),
            None => {
                let domain = self.reference.domain();
                self.registry.endpoint(&self.rules, domain).await?
            }
        };
        let url = base
            .join(&format!("{}/{kind}/{what}", self.reference.path()))
            .map_err(|e| Error::Protocol(e.to_string()))?;
        let verb = if method == Method::HEAD {
            "Head"
        } else {
            "Get"
        };
        let mut challenged = false;
        loop {
            let mut request = client.request(method.clone(), url.clone());
            if kind == "manifests" {
                request = request.header("accept", ACCEPT);
            }
            if offset > 0 {
                request = request.header("range", format!("bytes={offset}-"));
            }
            if let Some(limit) = limit {
                request = request.timeout(limit);
            }
            let sent = self.authorization.lock().await.clone();
            if let Some(Secret(value)) = &sent {
                request = request.header("authorization", value);
            }
            let response = request.send().await.map_err(|e| {
                self.rules.forget(self.reference.domain());
                Error::transport(verb, &url, &e)
            })?;
            if response.status().is_success() {
                return Ok((url, response));
            }
            if let Some(away) = redirected(&response) {
                return self.elsewhere(verb, away, offset, limit).await;
            }
            if response.status() == StatusCode::UNAUTHORIZED
                && !challenged
                && self.authorize(&response, sent.as_ref()).await?
            {
                challenged = true;
                continue;
            }
            return Err(self.refused(verb, kind, what, &url, response).await);
        }
    }

    /// Follows an insecure registry's redirect to another host, where certificates count again
    /// and our credentials are nobody's business.
    async fn elsewhere(
        &self,
        verb: &'static str,
        url: Url,
        offset: u64,
        limit: Option<Duration>,
    ) -> Result<(Url, Response)> {
        let method = if verb == "Head" {
            Method::HEAD
        } else {
            Method::GET
        };
        let mut request = self
            .registry
            .client_for(&self.rules, &url)?
            .request(method, url.clone());
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        let response = request
            .send()
            .await
            .map_err(|e| Error::transport(verb, &url, &e))?;
        match response.status() {
            status if status.is_success() => Ok((url, response)),
            status => {
                let text = format!("received unexpected HTTP status: {status}");
                Err(if status.is_server_error() {
                    Error::Server(text)
                } else {
                    Error::Status(text)
                })
            }
        }
    }

    /// Answers the challenge of `response`; false when we have nothing to answer it with.
    async fn authorize(&self, response: &Response, sent: Option<&Secret>) -> Result<bool> {
        let mut slot = self.authorization.lock().await;
        // Another request of this conversation may have answered it meanwhile.
        if let Some(now) = slot.as_ref()
            && sent.is_none_or(|sent| sent.0 != now.0)
        {
            return Ok(true);
        }
        let headers = response.headers().get_all("www-authenticate");
        let mut challenges: Vec<Challenge> = headers
            .iter()
            .filter_map(|h| h.to_str().ok())
            .map(Challenge::parse)
            .collect();
        // Bearer before Basic, as it says less about the user.
        challenges.sort_by_key(|c| c.scheme != "bearer");
        let scope = format!("repository:{}:pull", self.reference.path());
        for challenge in &challenges {
            let answer = auth::answer(
                &self.registry,
                &self.rules,
                challenge,
                &scope,
                self.credentials.as_ref(),
            )
            .await;
            match answer {
                Ok(Some(value)) => {
                    *slot = Some(Secret(value));
                    return Ok(true);
                }
                Ok(None) => {}
                // Without credentials a refused token means what a refused request does.
                Err(Error::Unauthorized(_)) if self.credentials.is_none() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    /// Puts an error answer into dockerd's words.
    async fn refused(
        &self,
        verb: &'static str,
        kind: &str,
        what: &str,
        url: &Url,
        response: Response,
    ) -> Error {
        let status = response.status();
        let body = limited(verb, url, response, MAX_ERROR)
            .await
            .unwrap_or_default();
        let detail = detail(&body);
        match status {
            StatusCode::NOT_FOUND if kind == "blobs" => Error::BlobUnknown(what.to_owned()),
            StatusCode::NOT_FOUND if body_says(&body, "NAME_UNKNOWN") => Error::NameUnknown {
                repository: self.reference.familiar_name(),
                detail: words(detail, "repository name not known to registry"),
            },
            StatusCode::NOT_FOUND => Error::ManifestUnknown {
                reference: self.reference_to(what),
                detail: words(detail, "manifest unknown"),
            },
            StatusCode::UNAUTHORIZED if self.credentials.is_some() => {
                Error::Unauthorized(words(detail, "authentication required"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(),
            StatusCode::TOO_MANY_REQUESTS => Error::TooMany(words(detail, "rate limit exceeded")),
            _ => {
                let text = match detail {
                    Some((code, message)) => format!("{code}: {message}"),
                    None => format!("received unexpected HTTP status: {status}"),
                };
                if status.is_server_error() {
                    Error::Server(text)
                } else {
                    Error::Status(text)
                }
            }
        }
    }

    fn denied(&self) -> Error {
        Error::Denied {
            repository: self.reference.familiar_name(),
            detail: "denied: requested access to the resource is denied".to_owned(),
        }
    }

    fn reference_to(&self, what: &str) -> String {
        let name = self.reference.familiar_name();
        let separator = if what.contains(':') { '@' } else { ':' };
        format!("{name}{separator}{what}")
    }
}

/// Where a redirect leads that the HTTP client left to us.
fn redirected(response: &Response) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get("location")?.to_str().ok()?;
    response.url().join(location).ok()
}

/// The whole body of an answer that must not be larger than `limit` bytes.
pub(crate) async fn limited(
    method: &'static str,
    url: &Url,
    response: Response,
    limit: usize,
) -> Result<Bytes> {
    let mut stream = response.bytes_stream();
    let mut body = BytesMut::new();
    while let Some(part) = stream.next().await {
        body.extend_from_slice(&part.map_err(|e| Error::transport(method, url, &e))?);
        if body.len() > limit {
            let url = crate::error::printable(url);
            return Err(Error::Protocol(format!(
                "{url}: answer is larger than {limit} bytes"
            )));
        }
    }
    Ok(body.freeze())
}

#[derive(serde::Deserialize)]
struct Failures {
    #[serde(default)]
    errors: Vec<Failure>,
}

#[derive(serde::Deserialize)]
struct Failure {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn failures(body: &[u8]) -> Vec<Failure> {
    serde_json::from_slice::<Failures>(body)
        .map(|f| f.errors)
        .unwrap_or_default()
}

fn body_says(body: &[u8], code: &str) -> bool {
    failures(body).iter().any(|f| f.code == code)
}

/// The registry's message, or what its error code means where it has none.
fn words(detail: Option<(String, String)>, default: &str) -> String {
    detail.map_or_else(|| default.to_owned(), |(_, message)| message)
}

/// The first error of a distribution error body, as Docker writes it: code and message.
fn detail(body: &[u8]) -> Option<(String, String)> {
    let first = failures(body).into_iter().next()?;
    let code = first.code.to_ascii_lowercase().replace('_', " ");
    let message = if first.message.is_empty() {
        code.clone()
    } else {
        first.message
    };
    Some((code, message))
}
