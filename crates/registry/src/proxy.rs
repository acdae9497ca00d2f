//! The proxies between us and registries.

use std::fmt;

use reqwest::{ClientBuilder, NoProxy, Proxy, Url};

use crate::{Error, Result};

/// Never asked through a proxy, as by everything written in Go.
const LOCAL: &str = "localhost,127.0.0.0/8,::1";

/// Which proxies to use. What is empty is taken from the environment: `HTTP_PROXY`,
/// `HTTPS_PROXY` and `NO_PROXY`, or their names in lower case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: String,
    /// For HTTPS.
    pub https: String,
    /// Hosts, domains, addresses and CIDRs to ask directly, separated by commas.
    pub none: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses may hold passwords.
        f.debug_struct("Proxies")
            .field("none", &self.none)
            .finish_non_exhaustive()
    }
}

impl Proxies {
    /// With what the environment says where nothing is said here.
    fn resolved(&self) -> Proxies {
        let either = |own: &str, name: &str| {
            let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            match own.is_empty() {
                false => own.to_owned(),
                true => read(name)
                    .or_else(|| read(&name.to_ascii_lowercase()))
                    .unwrap_or_default(),
            }
        };
        Proxies {
            http: either(&self.http, "HTTP_PROXY"),
            https: either(&self.https, "HTTPS_PROXY"),
            none: either(&self.none, "NO_PROXY"),
        }
    }

    /// Whether the addresses are some.
    ///
    /// # Errors
    /// One is not; it is not repeated, as it may hold a password.
    pub(crate) fn check(&self) -> Result<()> {
        for (what, text) in [("HTTP", &self.http), ("HTTPS", &self.https)] {
            if !text.is_empty() {
                url(text).ok_or_else(|| invalid(what))?;
            }
        }
        Ok(())
    }

    pub(crate) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder> {
        // The environment is looked at here, not by the HTTP client, which does so in its own way.
        let mut builder = builder.no_proxy();
        let found = self.resolved();
        let none = format!("{LOCAL},{}", found.none);
        let each = [
            ("HTTP", &found.http, Proxy::http as fn(Url) -> _),
            ("HTTPS", &found.https, Proxy::https),
        ];
        for (what, text, make) in each {
            if text.is_empty() {
                continue;
            }
            let url = url(text).ok_or_else(|| invalid(what))?;
            let proxy = make(url).map_err(|_| invalid(what))?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&none)));
        }
        Ok(builder)
    }
}

/// A proxy's address, HTTP where it does not say.
fn url(text: &str) -> Option<Url> {
    let url = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("http://{text}")),
    };
    url.ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
}

fn invalid(what: &str) -> Error {
    Error::Setup(format!("invalid {what} proxy: it is no HTTP or HTTPS URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_leave_out_the_scheme_and_are_never_told() {
        let proxies = |http: &str| Proxies {
            http: http.to_owned(),
            ..Proxies::default()
        };
        for good in [
            "",
            "http://u:secret@p:3128",
            "p:3128",
            "https://p",
            "[::1]:3128",
        ] {
            proxies(good)
                .check()
                .unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in ["socks5://u:secret@p", "http://", "http://u:secret@"] {
            let error = proxies(bad).check().unwrap_err().to_string();
            assert_eq!(
                error,
                "HTTP client: invalid HTTP proxy: it is no HTTP or HTTPS URL"
            );
        }
        assert!(!format!("{:?}", proxies("http://u:secret@p")).contains("secret"));
    }
}
