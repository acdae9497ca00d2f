//! What one repository has: manifests, blobs and tags.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use berth_reference::{Digest, Reference};
use bytes::Bytes;
use futures::Stream;
use reqwest::{Method, StatusCode};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::conversation::{Answer, Ask, Conversation, Size, challenges, verb};
use crate::hosts::Host;
use crate::limits::{Limits, paced};
use crate::refusal::{Refusal, limited, small};
use crate::rules::Rules;
use crate::{Credentials, Error, Result};

/// The largest manifest taken, in bytes; the distribution specification asks for 4 MiB.
const MAX_MANIFEST: usize = 8 << 20;
/// The largest page of a list of tags taken, in bytes.
const MAX_PAGE: usize = 8 << 20;
/// How many pages, and how many tags, a list of tags may have.
const MAX_PAGES: usize = 1000;
const MAX_TAGS: usize = 100_000;
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
    pub stream: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
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
    /// Captured when the conversation began.
    rules: Arc<Rules>,
    agent: Arc<str>,
    pub(crate) reference: Reference,
    credentials: Option<Credentials>,
    scopes: Arc<[String]>,
    /// It is written to.
    target: bool,
    /// Whom to ask, found with the first request.
    hosts: Arc<OnceCell<Vec<Conversation>>>,
}

/// What kind of thing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Manifest,
    Blob,
    Tags,
}

impl Repository {
    pub(crate) fn new(
        rules: Arc<Rules>,
        agent: Arc<str>,
        reference: &Reference,
        credentials: Option<Credentials>,
        scopes: Vec<String>,
        target: bool,
    ) -> Repository {
        Repository {
            rules,
            agent,
            reference: reference.clone(),
            credentials,
            scopes: scopes.into(),
            target,
            hosts: Arc::default(),
        }
    }

    /// The digest that a tag points to now, without fetching the manifest; `None` when the
    /// registry does not say.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub async fn digest(&self, tag: &str) -> Result<Option<Digest>> {
        let ask = Ask::new(Method::HEAD, Size::Small).header("accept", ACCEPT);
        let answer = self.find(Kind::Manifest, tag, ask).await?;
        let header = answer.response.headers().get("docker-content-digest");
        Ok(header
            .and_then(|h| h.to_str().ok())
            .and_then(|h| Digest::parse(h).ok()))
    }

    /// The manifest or index that a tag or digest names, verified.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Denied`] and failures of the exchange.
    pub async fn manifest(&self, tag_or_digest: &str) -> Result<Manifest> {
        let ask = Ask::new(Method::GET, Size::Small).header("accept", ACCEPT);
        let Answer { url, response } = self.find(Kind::Manifest, tag_or_digest, ask).await?;
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
        let ask = Ask::new(Method::GET, Size::Large);
        let answer = self.find(Kind::Blob, digest.as_str(), from(ask, offset));
        blob(answer.await?, offset, self.rules.limits)
    }

    /// All of a blob that is small; `None` when it is larger than `limit` bytes.
    ///
    /// # Errors
    /// As [`Repository::blob`].
    pub async fn small_blob(&self, digest: &Digest, limit: usize) -> Result<Option<Bytes>> {
        let ask = Ask::new(Method::GET, Size::Slow);
        let Answer { url, response } = self.find(Kind::Blob, digest.as_str(), ask).await?;
        small("Get", &url, response, limit).await
    }

    /// A blob from `offset` on, from an address that its manifest names: a layer that registries
    /// may not distribute. Our credentials are none of that host's business.
    ///
    /// # Errors
    /// Failures of the exchange.
    pub async fn foreign(&self, address: &str, digest: &Digest, offset: u64) -> Result<Blob> {
        let refused = |why: &str| Error::Protocol(format!("invalid address of {digest}: {why}"));
        let url = reqwest::Url::parse(address).map_err(|e| refused(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return Err(refused(&format!("unsupported protocol scheme {scheme:?}")));
        }
        let host = Host::new(
            crate::hosts::At::Url(url.clone()),
            crate::hosts::Does::MIRROR,
            false,
        );
        let scopes = Arc::default();
        let there = Conversation::new(self.rules.clone(), self.agent.clone(), host, None, scopes);
        let ask = from(Ask::new(Method::GET, Size::Large), offset);
        let answer = there.ask(url, ask).await?;
        if !answer.response.status().is_success() {
            let limits = there.limits();
            let refusal = Refusal::read("Get", &answer.url, answer.response, limits).await;
            return Err(refusal.other());
        }
        blob(answer, offset, there.limits())
    }

    /// All tags of the repository.
    ///
    /// # Errors
    /// [`Error::NameUnknown`], [`Error::Denied`] and failures of the exchange.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let listed = timeout(self.rules.limits.list, self.all_tags()).await;
        listed.unwrap_or_else(|_| {
            let name = self.reference.familiar_name();
            let text = format!("the registry takes too long to list the tags of {name}");
            Err(Error::Server { text, after: None })
        })
    }

    async fn all_tags(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let mut path = "list".to_owned();
        for _ in 0..MAX_PAGES {
            let ask = Ask::new(Method::GET, Size::Small);
            let Answer { url, response } = self.find(Kind::Tags, &path, ask).await?;
            let next = next_page(&response);
            let data = limited("Get", &url, response, MAX_PAGE).await?;
            let page: Page = serde_json::from_slice(&data)
                .map_err(|_| Error::Protocol("the registry sent no list of tags".to_owned()))?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(query) if tags.len() <= MAX_TAGS => path = format!("list?{query}"),
                _ => return Ok(tags),
            }
        }
        Ok(tags)
    }

    /// Whom to ask, in this order.
    pub(crate) async fn hosts(&self) -> Result<&[Conversation]> {
        let found = self.hosts.get_or_try_init(|| async {
            let hosts = self.rules.hosts(self.reference.domain()).await?;
            let with = |host: Host| {
                Conversation::new(
                    self.rules.clone(),
                    self.agent.clone(),
                    host,
                    self.credentials.clone(),
                    self.scopes.clone(),
                )
            };
            Ok::<_, Error>(hosts.into_iter().map(with).collect())
        });
        Ok(found.await?)
    }

    /// Asks the first host that has what is wanted; the last one's refusal is the answer.
    async fn find(&self, kind: Kind, what: &str, ask: Ask) -> Result<Answer> {
        let hosts: Vec<&Conversation> = self
            .hosts()
            .await?
            .iter()
            .filter(|c| match self.target {
                // What is there already must be where it is going to be.
                true => c.host.does.push,
                false => does(c, kind, what),
            })
            .collect();
        let mut last = None;
        for (n, conversation) in hosts.iter().enumerate() {
            let alone = n + 1 == hosts.len();
            if !alone && conversation.down.load(Ordering::Relaxed) {
                continue;
            }
            match self.ask(conversation, kind, what, ask.clone()).await {
                Ok(found) => return Ok(found),
                Err(error) if alone => return Err(error),
                Err(error) => {
                    let gone = matches!(error, Error::Transport { .. });
                    conversation.down.store(gone, Ordering::Relaxed);
                    tracing::warn!(host = ?conversation.host.at, %error, "a mirror does not have it; asking on");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            let name = self.reference.familiar_name();
            Error::Setup(format!("no host is configured to have {name}"))
        }))
    }

    /// Asks one host; what is not success is an error.
    async fn ask(
        &self,
        conversation: &Conversation,
        kind: Kind,
        what: &str,
        ask: Ask,
    ) -> Result<Answer> {
        let url = conversation.url(&self.path(kind, what)).await?;
        let method = verb(&ask.method);
        let answer = conversation.ask(url, ask).await?;
        if answer.response.status().is_success() {
            return Ok(answer);
        }
        Err(self.refused(conversation, method, kind, what, answer).await)
    }

    /// The path below a host's base.
    pub(crate) fn path(&self, kind: Kind, what: &str) -> String {
        let folder = match kind {
            Kind::Manifest => "manifests",
            Kind::Blob => "blobs",
            Kind::Tags => "tags",
        };
        format!("{}/{folder}/{what}", self.reference.path())
    }

    /// Puts a refusal into dockerd's words.
    pub(crate) async fn refused(
        &self,
        conversation: &Conversation,
        method: &'static str,
        kind: Kind,
        what: &str,
        answer: Answer,
    ) -> Error {
        let asked = challenges(&answer.response);
        let known = conversation.has_credentials();
        let limits = conversation.limits();
        let refusal = Refusal::read(method, &answer.url, answer.response, limits).await;
        match refusal.status {
            StatusCode::NOT_FOUND if refusal.says("NAME_UNKNOWN") || kind == Kind::Tags => {
                Error::NameUnknown {
                    repository: self.reference.familiar_name(),
                    detail: refusal.words("repository name not known to registry"),
                }
            }
            StatusCode::NOT_FOUND if kind == Kind::Blob => Error::BlobUnknown(what.to_owned()),
            StatusCode::NOT_FOUND => Error::ManifestUnknown {
                reference: self.reference_to(what),
                detail: refusal.words("manifest unknown"),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.target => {
                let basic = asked.iter().any(|c| c.scheme == "basic");
                let scope = asked.iter().any(|c| c.scheme == "bearer");
                Error::PushDenied(if basic && !known {
                    "authorization failed: no basic auth credentials".to_owned()
                } else if scope {
                    "server message: insufficient_scope: authorization failed".to_owned()
                } else {
                    refusal.words("denied: requested access to the resource is denied")
                })
            }
            StatusCode::UNAUTHORIZED if known => {
                Error::Unauthorized(refusal.words("authentication required"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied {
                repository: self.reference.familiar_name(),
                detail: "denied: requested access to the resource is denied".to_owned(),
            },
            _ => refusal.other(),
        }
    }

    fn reference_to(&self, what: &str) -> String {
        let name = self.reference.familiar_name();
        let separator = if what.contains(':') { '@' } else { ':' };
        format!("{name}{separator}{what}")
    }
}

/// Whether a host may be asked for it.
fn does(conversation: &Conversation, kind: Kind, what: &str) -> bool {
    let does = conversation.host.does;
    match kind {
        Kind::Manifest if !what.contains(':') => does.resolve,
        Kind::Tags => does.resolve,
        Kind::Manifest | Kind::Blob => does.pull,
    }
}

fn from(ask: Ask, offset: u64) -> Ask {
    match offset {
        0 => ask,
        _ => ask.header("range", &format!("bytes={offset}-")),
    }
}

fn blob(answer: Answer, asked: u64, limits: Limits) -> Result<Blob> {
    let Answer { url, response } = answer;
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    let range = response.headers().get("content-range");
    let range = range.map(|range| String::from_utf8_lossy(range.as_bytes()));
    let offset = match range {
        _ if !partial => 0,
        None => asked,
        // From before what was asked for is as good.
        Some(range) => first(&range)
            .filter(|first| *first <= asked)
            .ok_or_else(|| {
                Error::Protocol(format!("unhandled content range in response: {range}"))
            })?,
    };
    Ok(Blob {
        offset,
        stream: Box::pin(paced(response.bytes_stream(), url, limits)),
    })
}

/// The first byte of a range: `bytes 2-3/4`.
pub(crate) fn first(range: &str) -> Option<u64> {
    let (unit, rest) = range.trim().split_once(' ')?;
    let (first, _) = rest.trim_start().split_once('-')?;
    first
        .parse()
        .ok()
        .filter(|_| unit.eq_ignore_ascii_case("bytes"))
}

/// The query of the next page of a list: `Link: </v2/…?n=100&last=x>; rel="next"`.
fn next_page(response: &reqwest::Response) -> Option<String> {
    next_query(response.headers().get("link")?.to_str().ok()?)
}

pub(crate) fn next_query(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.contains("next") {
        return None;
    }
    // Whatever it says, we stay with this list of this host.
    let (_, query) = target.split_once('?')?;
    Some(query.to_owned())
}
