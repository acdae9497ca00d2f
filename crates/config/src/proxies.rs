//! The proxies between the daemon and registries.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Config, Error, Result};

/// The proxies, as the user gave them. What is empty is the environment's.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Proxies {
    /// For plain HTTP.
    pub http_proxy: String,
    /// For HTTPS.
    pub https_proxy: String,
    /// Hosts, domains, addresses and CIDRs to ask directly, separated by commas.
    pub no_proxy: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses may hold passwords.
        f.debug_struct("Proxies")
            .field("no_proxy", &self.no_proxy)
            .finish_non_exhaustive()
    }
}

impl Proxies {
    /// Those of flags, or of the keys that are named like them, and of `proxies`.
    ///
    /// # Errors
    /// One that is no address; it is not repeated, as it may hold a password.
    pub(crate) fn derive(user: &Config) -> Result<Proxies> {
        let either = |one: &String, other: &String| match one.is_empty() {
            true => other.clone(),
            false => one.clone(),
        };
        let found = Proxies {
            http_proxy: either(&user.http_proxy, &user.proxies.http_proxy),
            https_proxy: either(&user.https_proxy, &user.proxies.https_proxy),
            no_proxy: either(&user.no_proxy, &user.proxies.no_proxy),
        };
        for (key, text) in [
            ("http-proxy", &found.http_proxy),
            ("https-proxy", &found.https_proxy),
        ] {
            if !text.is_empty() && !is_address(text) {
                return Err(Error::invalid(format!(
                    "invalid {key}: it is no HTTP or HTTPS URL"
                )));
            }
        }
        Ok(found)
    }
}

/// `[http[s]://][user:password@]host[:port][/…]`.
fn is_address(text: &str) -> bool {
    let rest = match text.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some(_) => return false,
        None => text,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    };
    !name.unwrap_or_default().is_empty() && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none_and_not_repeated() {
        let proxy = |text: &str| {
            Proxies::derive(&Config {
                http_proxy: text.to_owned(),
                ..Config::default()
            })
        };
        for good in [
            "",
            "http://u:secret@p:3128",
            "p:3128",
            "10.0.0.1:3128",
            "10.0.0.1",
            "https://p/",
            "[::1]:3128",
        ] {
            proxy(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in ["socks5://u:secret@p", "http://", "http://u:secret@", ":80"] {
            let message = proxy(bad).unwrap_err().to_string();
            assert_eq!(message, "invalid http-proxy: it is no HTTP or HTTPS URL");
        }
        let shown = format!("{:?}", proxy("http://u:secret@p").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn the_structure_and_the_flags_say_the_same() {
        let user = serde_json::json!({"no-proxy": "a", "proxies": {
            "http-proxy": "http://p:1", "https-proxy": "http://p:2"}});
        let user: Config = serde_json::from_value(user).unwrap();
        let found = Proxies::derive(&user).unwrap();
        let all = [&found.http_proxy, &found.https_proxy, &found.no_proxy];
        assert_eq!(all, ["http://p:1", "http://p:2", "a"]);
    }
}
