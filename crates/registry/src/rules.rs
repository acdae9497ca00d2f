//! How registries are reached: mirrors, certificates, proxies, and who may speak plain HTTP.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_reference::DEFAULT_DOMAIN;
use reqwest::{Client, Url, redirect};

use crate::hosts::{self, At, Does, Host, Hosts};
use crate::insecure::Insecure;
use crate::limits::Limits;
use crate::proxy::Proxies;
use crate::trust::{Trust, folders};
use crate::{Error, Result};

/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(30);
/// How many clients are kept. There is one for all hosts without certificates of their own.
const CLIENTS: usize = 64;
/// Where the default registry really lives.
const HUB: &str = "registry-1.docker.io";
/// The folder whose `hosts.toml` counts for registries that have none.
const ANY: &str = "_default";

/// What [`Rules`] are made of.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Base URLs of mirrors of Docker Hub, tried in this order.
    pub mirrors: Vec<String>,
    /// Registries that may speak HTTP or have an unknown certificate: hosts, with their port where
    /// names have one, or CIDRs.
    pub insecure: Vec<String>,
    /// The folder with a folder for each host, with certificates or a `hosts.toml`; empty: none.
    /// It is read anew for each conversation.
    pub certificates: PathBuf,
    /// The proxies.
    pub proxies: Proxies,
}

/// How registries are reached: one value, replaced whole. A conversation keeps the one that it
/// began with.
#[derive(Debug, Default)]
pub struct Rules {
    /// Where to look before Docker Hub.
    mirrors: Vec<Url>,
    insecure: Arc<Insecure>,
    certificates: PathBuf,
    proxies: Proxies,
    pub(crate) limits: Limits,
    /// The connection pools.
    clients: Mutex<HashMap<Trust, Client>>,
    /// Which protocol an insecure host was found to speak.
    plain: Mutex<HashMap<String, bool>>,
}

impl Rules {
    /// Reads the settings; certificates are read when they are needed.
    ///
    /// # Errors
    /// A mirror or a proxy that is no URL.
    pub fn new(settings: Settings) -> Result<Rules> {
        let mirrors = settings.mirrors.iter().map(|mirror| {
            // Joined below, so it must end in a slash.
            let text = format!("{}/v2/", mirror.trim_end_matches('/'));
            Url::parse(&text).map_err(|e| Error::Setup(format!("invalid mirror {mirror:?}: {e}")))
        });
        settings.proxies.check()?;
        Ok(Rules {
            mirrors: mirrors.collect::<Result<_>>()?,
            insecure: Arc::new(Insecure::new(&settings.insecure)),
            certificates: settings.certificates,
            proxies: settings.proxies,
            ..Rules::default()
        })
    }

    /// The hosts to ask for what the registry `domain` has, best first.
    pub(crate) async fn hosts(&self, domain: &str) -> Result<Vec<Host>> {
        let address = address(domain).to_owned();
        let own = Host::new(self.place(&address).await?, Does::ALL, true);
        if let Some(found) = self.configured(domain, &address).await? {
            let mut hosts = found.hosts;
            hosts.push(found.server.unwrap_or(own));
            return Ok(hosts);
        }
        // Mirrors are of Docker Hub only, and its credentials are none of their business.
        let mut hosts = Vec::new();
        if domain == DEFAULT_DOMAIN {
            let mirrors = self.mirrors.iter().cloned();
            hosts.extend(mirrors.map(|url| Host::new(At::Url(url), Does::MIRROR, false)));
        }
        hosts.push(own);
        Ok(hosts)
    }

    /// Where the host of a registry is.
    async fn place(&self, address: &str) -> Result<At> {
        if self.insecure.covers_resolved(address).await {
            return Ok(At::Either(address.to_owned()));
        }
        base("https", address).map(At::Url)
    }

    /// What `hosts.toml` says of a registry.
    async fn configured(&self, domain: &str, address: &str) -> Result<Option<Hosts>> {
        let root = self.certificates.clone();
        if root.as_os_str().is_empty() {
            return Ok(None);
        }
        let (domain, address) = (domain.to_owned(), address.to_owned());
        blocking(move || {
            let mut places = folders(&root, &domain);
            places.push(root.join(ANY));
            for folder in places {
                if let Some(found) = hosts::read(&folder, &address)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
        .await
    }

    /// The client for requests to `url`; `more` is what a `hosts.toml` says of the host.
    pub(crate) async fn client(&self, agent: &str, url: &Url, more: &Trust) -> Result<Client> {
        let mut trust = self.trust(&authority(url)).await?;
        trust.anyone |= more.anyone;
        trust.authorities.extend(more.authorities.iter().cloned());
        if more.identity.is_some() {
            trust.identity = more.identity.clone();
        }
        if let Some(client) = self.clients().get(&trust) {
            return Ok(client.clone());
        }
        let builder = trust.apply(self.builder(agent)?)?;
        let client = builder.build().map_err(|e| Error::Setup(e.to_string()))?;
        let mut clients = self.clients();
        if clients.len() >= CLIENTS {
            clients.clear();
        }
        Ok(clients.entry(trust).or_insert(client).clone())
    }

    /// Whom we believe to be `host`.
    async fn trust(&self, host: &str) -> Result<Trust> {
        let anyone = self.insecure.covers_resolved(host).await;
        let found = folders(&self.certificates, host);
        let trust = match found.is_empty() {
            true => Trust::default(),
            false => {
                blocking(move || {
                    for folder in &found {
                        let trust = Trust::read(folder)?;
                        if trust != Trust::default() {
                            return Ok(trust);
                        }
                    }
                    Ok(Trust::default())
                })
                .await?
            }
        };
        Ok(Trust { anyone, ..trust })
    }

    fn builder(&self, agent: &str) -> Result<reqwest::ClientBuilder> {
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(agent)
            .connect_timeout(CONNECT)
            // Followed by us, who know whose credentials are whose.
            .redirect(redirect::Policy::none());
        self.proxies.apply(builder)
    }

    /// The base address of an insecure host. The first call finds out whether it speaks TLS.
    pub(crate) async fn either(&self, agent: &str, host: &str) -> Result<Url> {
        let known = self.plain().get(host).copied();
        let plain = match known {
            Some(plain) => plain,
            None => {
                let url = base("https", host)?;
                let client = self.client(agent, &url, &Trust::default()).await?;
                let plain = !speaks_tls(&client, host).await?;
                self.plain().insert(host.to_owned(), plain);
                plain
            }
        };
        base(if plain { "http" } else { "https" }, host)
    }

    /// Whether `url` may be plain HTTP or have an unknown certificate.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        self.insecure.covers(&authority(url))
    }

    /// Forgets what protocol a host spoke: it may be another one by now.
    pub(crate) fn forget(&self, host: &str) {
        self.plain().remove(host);
    }

    fn plain(&self) -> std::sync::MutexGuard<'_, HashMap<String, bool>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<Trust, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host that a registry's name stands for.
pub(crate) fn address(domain: &str) -> &str {
    match domain {
        DEFAULT_DOMAIN => HUB,
        other => other,
    }
}

/// The host of `url`, with its port where it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
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

pub(crate) fn base(scheme: &str, host: &str) -> Result<Url> {
    Url::parse(&format!("{scheme}://{host}/v2/"))
        .map_err(|e| Error::Protocol(format!("invalid registry host {host:?}: {e}")))
}

/// Reads files where that delays nobody.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|e| Error::Setup(e.to_string()))?
}
