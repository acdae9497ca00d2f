//! The HTTP clients and the choice between HTTPS and, on loopback, plain HTTP.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use berth_reference::Reference;
use reqwest::{Client, Url, redirect};

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
    /// For every host but loopback ones: HTTPS with the system's roots.
    public: OnceLock<Client>,
    /// For loopback hosts: any certificate, or none.
    local: OnceLock<Client>,
    /// Which protocol a loopback host was found to speak.
    plain: Mutex<HashMap<String, bool>>,
}

impl Registry {
    /// Prepares the pools; `agent` is what we call ourselves, e.g. `docker/29.0.0 …`.
    pub fn new(agent: &str) -> Registry {
        Registry {
            inner: Arc::new(Inner {
                agent: agent.to_owned(),
                public: OnceLock::new(),
                local: OnceLock::new(),
                plain: Mutex::default(),
            }),
        }
    }

    /// A conversation about the repository that `reference` names. No request is made.
    pub fn repository(&self, reference: &Reference, auth: Option<Credentials>) -> Repository {
        Repository::new(self.clone(), reference, auth)
    }

    /// The client and base address (`https://host/v2/`) for a registry, by its domain in names.
    ///
    /// For a loopback host the first call finds out whether it speaks TLS.
    pub(crate) async fn endpoint(&self, domain: &str) -> Result<(Client, Url)> {
        let host = if domain == berth_reference::DEFAULT_DOMAIN {
            HUB
        } else {
            domain
        };
        if !is_loopback(host) {
            return Ok((self.client(false)?, base("https", host)?));
        }
        let client = self.client(true)?;
        let known = self.plain().get(host).copied();
        let plain = match known {
            Some(plain) => plain,
            None => {
                let plain = !speaks_tls(&client, host).await?;
                self.plain().insert(host.to_owned(), plain);
                plain
            }
        };
        Ok((client, base(if plain { "http" } else { "https" }, host)?))
    }

    /// Forgets what protocol a host spoke: it may be another one by now.
    pub(crate) fn forget(&self, domain: &str) {
        self.plain().remove(domain);
    }

    /// The client for requests to `url`, wherever that is.
    pub(crate) fn client_for(&self, url: &Url) -> Result<Client> {
        self.client(url.host_str().is_some_and(is_loopback))
    }

    fn plain(&self) -> std::sync::MutexGuard<'_, HashMap<String, bool>> {
        self.inner
            .plain
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, local: bool) -> Result<Client> {
        let slot = if local {
            &self.inner.local
        } else {
            &self.inner.public
        };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(&self.inner.agent)
            .connect_timeout(CONNECT)
            .read_timeout(READ);
        let builder = if local {
            let stay = redirect::Policy::custom(|attempt| match attempt.url().host_str() {
                Some(host) if is_loopback(host) => follow(attempt),
                _ => attempt.stop(),
            });
            builder
                .no_proxy()
                .tls_danger_accept_invalid_certs(true)
                .redirect(stay)
        } else {
            builder.redirect(redirect::Policy::custom(follow))
        };
        let client = builder.build().map_err(|e| Error::Setup(e.to_string()))?;
        Ok(slot.get_or_init(|| client).clone())
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

/// True for `localhost` and addresses of the loopback interface, with or without a port.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or_default(),
        None => host,
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
