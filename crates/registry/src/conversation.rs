//! One conversation with one host, under one set of credentials.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use futures::Stream;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Body, Client, Method, Response, StatusCode, Url};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::auth::{self, Challenge, Scopes};
use crate::hosts::{At, Host};
use crate::limits::Limits;
use crate::rules::{Rules, authority};
use crate::trust::Trust;
use crate::{Credentials, Error, Result};

/// How often a request may be sent elsewhere.
const REDIRECTS: usize = 10;

/// A conversation with one host. Clones share the token.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) host: Host,
    rules: Arc<Rules>,
    agent: Arc<str>,
    credentials: Option<Credentials>,
    scopes: Scopes,
    /// It could not be reached: where there are others, the conversation goes on without it.
    pub(crate) down: Arc<AtomicBool>,
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

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) size: Size,
}

/// What an answer is like, which says how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// [`Limits::answer`](crate::limits::Limits::answer) for all of it.
    Small,
    /// [`Limits::settle`](crate::limits::Limits::settle) for all of it.
    Slow,
    /// As long as it comes on, once it has begun.
    Large,
}

impl Ask {
    pub(crate) fn new(method: Method, size: Size) -> Ask {
        Ask {
            method,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            size,
        }
    }

    /// With a header more; a value that is none is left out.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Ask {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// An answer, whatever its status, and the address that it is of.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) url: Url,
    pub(crate) response: Response,
}

impl Conversation {
    pub(crate) fn new(
        rules: Arc<Rules>,
        agent: Arc<str>,
        host: Host,
        credentials: Option<Credentials>,
        scopes: Scopes,
    ) -> Conversation {
        Conversation {
            credentials: credentials.filter(|_| host.own),
            host,
            rules,
            agent,
            scopes,
            down: Arc::default(),
            authorization: Arc::default(),
        }
    }

    pub(crate) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// The address of `path` below the host's base.
    pub(crate) async fn url(&self, path: &str) -> Result<Url> {
        let base = match &self.host.at {
            At::Url(url) => url.clone(),
            At::Either(host) => self.rules.either(&self.agent, host).await?,
        };
        base.join(path).map_err(|e| Error::Protocol(e.to_string()))
    }

    /// Sends one request, answering one challenge and following redirects on the way.
    pub(crate) async fn ask(&self, url: Url, ask: Ask) -> Result<Answer> {
        let mut challenged = false;
        let (mut at, mut hops) = (url.clone(), 0);
        loop {
            let ours = same_place(&url, &at);
            let sent = match ours {
                true => self.authorization.lock().await.clone(),
                false => None,
            };
            let response = self.send(&at, &ask, ours, sent.as_ref()).await?;
            if let Some(next) = redirected(&response, &ask.method) {
                hops += 1;
                at = self.may_follow(&at, next, hops, &ask)?;
                continue;
            }
            let refused = response.status() == StatusCode::UNAUTHORIZED;
            if refused && ours && !challenged && self.authorize(&response, sent.as_ref()).await? {
                challenged = true;
                at = url.clone();
                continue;
            }
            return Ok(Answer { url: at, response });
        }
    }

    /// Sends one request as it is: no challenge is answered and no redirect followed.
    pub(crate) async fn ping(&self, url: Url, ask: &Ask) -> Result<Answer> {
        let response = self.send(&url, ask, true, None).await?;
        Ok(Answer { url, response })
    }

    /// Sends `body`, which can't be sent twice: no challenge is answered and no redirect followed.
    pub(crate) async fn pour<S>(
        &self,
        url: Url,
        method: Method,
        length: u64,
        body: S,
    ) -> Result<Answer>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let verb = verb(&method);
        let (upload, body) = crate::limits::watched(body, self.limits());
        let ours = same_place(&self.url("").await?, &url);
        let client = self.client(&url, ours).await?;
        let mut request = client
            .request(method, url.clone())
            .header("content-type", "application/octet-stream")
            .header("content-length", length);
        if ours {
            request = request.headers(self.host.headers.clone());
            if let Some(Secret(value)) = self.authorization.lock().await.clone() {
                request = request.header("authorization", value);
            }
        }
        let sent = tokio::select! {
            response = request.body(Body::wrap_stream(body)).send() => response,
            error = upload.too_slow(verb, &url) => return Err(error),
        };
        let response = sent.map_err(|e| Error::transport(verb, &url, &e))?;
        Ok(Answer { url, response })
    }

    /// Forgets the token, which may have expired while a body was sent.
    pub(crate) async fn forget_authorization(&self) {
        *self.authorization.lock().await = None;
    }

    pub(crate) fn limits(&self) -> Limits {
        self.rules.limits
    }

    async fn client(&self, url: &Url, ours: bool) -> Result<Client> {
        let none = Trust::default();
        let more = if ours { &self.host.trust } else { &none };
        self.rules.client(&self.agent, url, more).await
    }

    async fn send(
        &self,
        url: &Url,
        ask: &Ask,
        ours: bool,
        authorization: Option<&Secret>,
    ) -> Result<Response> {
        let client = self.client(url, ours).await?;
        let mut request = client
            .request(ask.method.clone(), url.clone())
            .headers(ask.headers.clone());
        if ours {
            request = request.headers(self.host.headers.clone());
        }
        if ask.method != Method::GET && ask.method != Method::HEAD {
            request = request
                .header("content-length", ask.body.len())
                .body(ask.body.clone());
        }
        if let Some(Secret(value)) = authorization {
            request = request.header("authorization", value);
        }
        let (limits, verb) = (self.limits(), verb(&ask.method));
        request = match ask.size {
            Size::Small => request.timeout(limits.answer),
            Size::Slow => request.timeout(limits.settle),
            Size::Large => request,
        };
        let begun = async {
            match ask.size {
                Size::Large => timeout(limits.answer, request.send()).await,
                Size::Small | Size::Slow => Ok(request.send().await),
            }
        };
        let error = match begun.await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(e)) => Error::transport(verb, url, &e),
            Err(_) => Error::slow(verb, url, Error::NO_ANSWER.to_owned()),
        };
        if let At::Either(host) = &self.host.at {
            self.rules.forget(host);
        }
        Err(error)
    }

    /// Where a redirect leads, if we go there: not from HTTPS to plain HTTP, and not in circles.
    fn may_follow(&self, from: &Url, to: Url, hops: usize, ask: &Ask) -> Result<Url> {
        let stop = |reason: String| Error::Transport {
            method: verb(&ask.method),
            url: crate::error::printable(&to),
            reason,
            timeout: false,
        };
        if hops > REDIRECTS {
            return Err(stop(format!("stopped after {REDIRECTS} redirects")));
        }
        match to.scheme() {
            "https" => Ok(to),
            "http" if from.scheme() == "http" || self.rules.is_insecure(&to) => Ok(to),
            "http" => Err(stop("redirected from HTTPS to plain HTTP".to_owned())),
            other => Err(stop(format!("unsupported protocol scheme {other:?}"))),
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
        for challenge in &challenges(response) {
            let client = auth::Client {
                rules: &self.rules,
                agent: &self.agent,
                credentials: self.credentials.as_ref(),
            };
            match client.answer(challenge, &self.scopes).await {
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
}

/// The challenges of an answer, Bearer before Basic, as it says less about the user.
pub(crate) fn challenges(response: &Response) -> Vec<Challenge> {
    let headers = response.headers().get_all("www-authenticate");
    let mut challenges: Vec<Challenge> = headers
        .iter()
        .filter_map(|h| h.to_str().ok())
        .map(Challenge::parse)
        .collect();
    challenges.sort_by_key(|c| c.scheme != "bearer");
    challenges
}

/// Whether credentials for `a` may go to `b`.
fn same_place(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && authority(a) == authority(b)
}

/// Where a redirect leads. What changes something is not sent elsewhere.
fn redirected(response: &Response, method: &Method) -> Option<Url> {
    let reading = *method == Method::GET || *method == Method::HEAD;
    if !reading || !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get("location")?.to_str().ok()?;
    response.url().join(location).ok()
}

/// A method as Go's HTTP client writes it.
pub(crate) fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "HEAD" => "Head",
        "POST" => "Post",
        "PUT" => "Put",
        "PATCH" => "Patch",
        _ => "Get",
    }
}
