//! Logging in: whether a registry takes the credentials, and what to keep instead of the password.

use reqwest::Method;

use crate::auth;
use crate::conversation::{Ask, Conversation, Size, challenges};
use crate::hosts::{Does, Host};
use crate::rules::address;
use crate::{Credentials, Error, Registry, Result};

/// What `docker login` sends for Docker Hub.
const HUB_INDEX: &str = "index.docker.io";

impl Registry {
    /// Tries `credentials` on the registry that they name; Docker Hub where they name none.
    /// Returns an identity token to keep instead of the password; empty where the registry has
    /// none.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when they are refused.
    pub async fn log_in(&self, credentials: &Credentials) -> Result<String> {
        let domain = domain(&credentials.server)?;
        let rules = self.rules();
        let host = rules.hosts(&domain).await?.pop();
        let host = host.ok_or_else(|| Error::Setup(format!("no host for {domain}")))?;
        // The registry itself, whatever a `hosts.toml` says that it does.
        let host = Host {
            does: Does::ALL,
            ..host
        };
        let there = Conversation::new(
            rules.clone(),
            self.agent(),
            host,
            None,
            std::sync::Arc::default(),
        );
        let url = there.url("").await?;
        let answer = there
            .ping(url.clone(), &Ask::new(Method::GET, Size::Small))
            .await?;
        if answer.response.status().is_success() {
            return Ok(String::new());
        }
        let agent = self.agent();
        let client = auth::Client {
            rules: &rules,
            agent: &agent,
            credentials: Some(credentials),
        };
        for challenge in &challenges(&answer.response) {
            let found = client.log_in(challenge).await.map_err(|e| match e {
                Error::Unauthorized(why) => refused(&url, &why),
                other => other,
            })?;
            let Some((header, identity)) = found else {
                continue;
            };
            let ask = Ask::new(Method::GET, Size::Small).header("authorization", &header);
            let answer = there.ping(url.clone(), &ask).await?;
            return match answer.response.status() {
                status if status.is_success() => Ok(identity),
                status if status.as_u16() == 401 => Err(Error::LoginRefused(failed(&url, status))),
                status => Err(Error::Status(failed(&url, status))),
            };
        }
        Err(Error::Status(failed(&url, answer.response.status())))
    }
}

/// The registry that a server address means: `https://index.docker.io/v1/`, `host:5000` …
fn domain(server: &str) -> Result<String> {
    let host = server
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    let odd = |c: char| !(c.is_ascii_alphanumeric() || ".-:[]_".contains(c));
    if host.contains(odd) {
        return Err(Error::Protocol(format!(
            "invalid registry address {host:?}"
        )));
    }
    Ok(match host {
        "" | HUB_INDEX | berth_reference::DEFAULT_DOMAIN => {
            berth_reference::DEFAULT_DOMAIN.to_owned()
        }
        hub if hub == address(berth_reference::DEFAULT_DOMAIN) => {
            berth_reference::DEFAULT_DOMAIN.to_owned()
        }
        other => other.to_owned(),
    })
}

fn refused(url: &reqwest::Url, why: &str) -> Error {
    let url = crate::error::printable(url);
    Error::LoginRefused(format!("Get \"{url}\": unauthorized: {why}"))
}

fn failed(url: &reqwest::Url, status: reqwest::StatusCode) -> String {
    let url = crate::error::printable(url);
    format!("login attempt to {url} failed with status: {status}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses_are_hosts() {
        for (server, expected) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("reg.example:5000", "reg.example:5000"),
            ("http://reg.example/x", "reg.example"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(domain(server).unwrap(), expected, "{server}");
        }
        domain("user:password@host").unwrap_err();
    }
}
