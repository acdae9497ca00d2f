//! The HTTP clients and the choice between HTTPS and, for insecure hosts, plain HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use berth_reference::Reference;
use reqwest::{Client, ClientBuilder, Url, redirect};

use crate::insecure::Insecure;
use crate::{Credentials, Error, Repository, Result};

/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a registry may be silent in the middle of an answer.
const READ: Duration = Duration::from_secs(60);
/// How often a request may be sent elsewhere.
const REDIRECTS: usize = 10;
/// Where the default registry really lives.
const HUB: &str = "registry-1.docker.io";

/// The connection pools to all registries. Clones share them.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    agent: String,
    /// For every host that must prove who it is: HTTPS with the system's roots.
    public: OnceLock<Client>,
    rules: ArcSwap<Rules>,
}

/// How registries are reached: one value, replaced whole. A conversation keeps the one that it
/// began with.
#[derive(Debug, Default)]
pub struct Rules {
    /// Where to look before Docker Hub.
    pub(crate) mirrors: Vec<Url>,
    insecure: Arc<Insecure>,
    /// For insecure hosts: any certificate, or none.
    local: OnceLock<Client>,
    /// Which protocol an insecure host was found to speak.
    plain: Mutex<HashMap<String, bool>>,
}

impl Registry {
    /// Prepares the pools; `agent` is what we call ourselves, e.g. `docker/29.0.0 …`.
    pub fn new(agent: &str) -> Registry {
        Registry {
            inner: Arc::new(Inner {
                agent: agent.to_owned(),
                public: OnceLock::new(),
                rules: ArcSwap::default(),
            }),
        }
    }

    /// From now on registries are reached by these rules. Conversations under way keep those that
    /// they began with.
    pub fn set_rules(&self, rules: Rules) {
        self.inner.rules.store(Arc::new(rules));
    }

    /// A conversation about the repository that `reference` names. No request is made.
    pub fn repository(&self, reference: &Reference, auth: Option<Credentials>) -> Repository {
        Repository::new(self.clone(), self.inner.rules.load_full(), reference, auth)
    }

    /// The client and base address (`https://host/v2/`) for a registry, by its domain in names.
    ///
    /// For an insecure host the first call finds out whether it speaks TLS.
    pub(crate) async fn endpoint(&self, rules: &Rules, domain: &str) -> Result<(Client, Url)> {
        let host = if domain == berth_reference::DEFAULT_DOMAIN {
            HUB
        } else {
            domain
        };
        if !rules.insecure.covers_resolved(host).await {
            return Ok((self.public()?, base("https", host)?));
        }
        let client = self.local(rules)?;
        let known = rules.plain().get(host).copied();
        let plain = match known {
            Some(plain) => plain,
            None => {
                let plain = !speaks_tls(&client, host).await?;
                rules.plain().insert(host.to_owned(), plain);
                plain
            }
        };
        Ok((client, base(if plain { "http" } else { "https" }, host)?))
    }

    /// The client for requests to `url`, wherever that is.
    pub(crate) fn client_for(&self, rules: &Rules, url: &Url) -> Result<Client> {
        match rules.is_insecure(url) {
            true => self.local(rules),
            false => self.public(),
        }
    }

    fn builder(&self) -> ClientBuilder {
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .user_agent(&self.inner.agent)
            .connect_timeout(CONNECT)
            .read_timeout(READ)
    }

    fn public(&self) -> Result<Client> {
        kept(&self.inner.public, || {
            self.builder().redirect(redirect::Policy::custom(follow))
        })
    }

    fn local(&self, rules: &Rules) -> Result<Client> {
        kept(&rules.local, || {
            let insecure = rules.insecure.clone();
            let stay = redirect::Policy::custom(move |attempt| {
                if insecure.covers(&authority(attempt.url())) {
                    follow(attempt)
                } else {
                    attempt.stop()
                }
            });
            let builder = self.builder().tls_danger_accept_invalid_certs(true);
            builder.no_proxy().redirect(stay)
        })
    }
}

/// The client of this place, built when it is first asked for.
fn kept(slot: &OnceLock<Client>, build: impl FnOnce() -> ClientBuilder) -> Result<Client> {
    if let Some(client) = slot.get() {
        return Ok(client.clone());
    }
    let client = build().build().map_err(|e| Error::Setup(e.to_string()))?;
    Ok(slot.get_or_init(|| client).clone())
}

impl Rules {
    /// Of mirrors of Docker Hub (base URLs, tried in this order), and of registries that may speak
    /// HTTP or have an unknown certificate (hosts, with their port where names have one, or CIDRs).
    ///
    /// # Errors
    /// A mirror that is no URL.
    pub fn new(mirrors: &[String], insecure: &[String]) -> Result<Rules> {
        let mirrors = mirrors.iter().map(|mirror| {
            // Joined below, so it must end in a slash.
            let text = format!("{}/v2/", mirror.trim_end_matches('/'));
            Url::parse(&text).map_err(|e| Error::Setup(format!("invalid mirror {mirror:?}: {e}")))
        });
        Ok(Rules {
            mirrors: mirrors.collect::<Result<_>>()?,
            insecure: Arc::new(Insecure::new(insecure)),
            ..Rules::default()
        })
    }

    /// Whether `url` may be plain HTTP or have an unknown certificate.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        self.insecure.covers(&authority(url))
    }

    /// Forgets what protocol a host spoke: it may be another one by now.
    pub(crate) fn forget(&self, domain: &str) {
        self.plain().remove(domain);
    }

    fn plain(&self) -> std::sync::MutexGuard<'_, HashMap<String, bool>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host of `url`, with its port where it is not the scheme's own.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Follows redirects, but never from HTTPS to plain HTTP; the HTTP client itself drops
/// credentials when the host changes.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgraded = attempt.url().scheme() == "http"
        && attempt.previous().iter().any(|url| url.scheme() == "https");
    if downgraded {
        return attempt.error("redirected from HTTPS to plain HTTP");
    }
    if attempt.previous().len() > REDIRECTS {
        return attempt.error(format!("stopped after {REDIRECTS} redirects"));
    }
    attempt.follow()
}

async fn speaks_tls(client: &Client, host: &str) -> Result<bool> {
    let url = base("https", host)?;
    match client.get(url.clone()).timeout(CONNECT).send().await {
        Ok(_) => Ok(true),
        Err(e) => {
            let error = Error::transport("Get", &base("http", host)?, &e);
            if error.is_refused() {
                Err(error)
            } else {
                Ok(false)
            }
        }
    }
}

fn base(scheme: &str, host: &str) -> Result<Url> {
    Url::parse(&format!("{scheme}://{host}/v2/"))
        .map_err(|e| Error::Protocol(format!("invalid registry host {host:?}: {e}")))
}
