//! Searching: an endpoint of the first registry protocol that few registries offer besides Docker
//! Hub.

use std::sync::Arc;

use berth_reference::DEFAULT_DOMAIN;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::conversation::{Answer, Ask, Conversation, Size};
use crate::hosts::{At, Does, Host};
use crate::{Credentials, Error, Registry, Result};

/// Where Docker Hub is searched.
const INDEX: &str = "index.docker.io";
/// The largest answer taken, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// How many like it.
    pub star_count: i64,
    /// It is one of Docker's own.
    pub is_official: bool,
    /// Its name.
    pub name: String,
    /// It is built automatically; no registry says so any more.
    pub is_automated: bool,
    /// What its makers say of it.
    pub description: String,
}

impl Registry {
    /// The repositories that a registry finds for `term`, at most `limit`: Docker Hub, or the host
    /// that the term begins with.
    ///
    /// # Errors
    /// Also when the registry does not search.
    pub async fn search(
        &self,
        term: &str,
        limit: i64,
        credentials: Option<Credentials>,
    ) -> Result<Vec<Found>> {
        #[derive(Deserialize)]
        struct Results {
            #[serde(default)]
            results: Option<Vec<Found>>,
        }
        if term.contains("://") {
            return Err(Error::Term(format!(
                "invalid repository name ({term}): must not contain '://'"
            )));
        }
        let (domain, term) = split(term);
        let rules = self.rules();
        let host = match domain {
            DEFAULT_DOMAIN => Some(Host::new(
                At::Url(crate::rules::base("https", INDEX)?),
                Does::ALL,
                true,
            )),
            other => rules.hosts(other).await?.pop(),
        };
        let host = host.ok_or_else(|| Error::Setup(format!("no host for {domain}")))?;
        let scopes = Arc::from(["registry:catalog:search".to_owned()]);
        let there = Conversation::new(rules, self.agent(), host, credentials, scopes);
        let mut url = there.url("/v1/search").await?;
        url.query_pairs_mut()
            .append_pair("q", term)
            .append_pair("n", &limit.to_string());
        let ask = Ask::new(Method::GET, Size::Small).header("x-docker-token", "true");
        let Answer { url, response } = there.ask(url, ask).await?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(Error::Status(format!("Unexpected status code {status}")));
        }
        let data = crate::refusal::limited("Get", &url, response, MAX_ANSWER).await?;
        let found: Results = serde_json::from_slice(&data)
            .map_err(|_| Error::Protocol("the registry sent no search results".to_owned()))?;
        Ok(found.results.unwrap_or_default())
    }
}

/// The registry that a term begins with, and the rest of it.
fn split(term: &str) -> (&str, &str) {
    let host = |text: &str| text == "localhost" || text.contains(['.', ':']);
    let (domain, rest) = match term.split_once('/') {
        Some((first, rest)) if host(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, term),
    };
    match domain {
        INDEX | DEFAULT_DOMAIN => (
            DEFAULT_DOMAIN,
            // Official images are shown, and so searched for, without it.
            rest.strip_prefix("library/").unwrap_or(rest),
        ),
        other => (other, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_begin_with_a_host() {
        assert_eq!(split("busybox"), ("docker.io", "busybox"));
        assert_eq!(split("library/busybox"), ("docker.io", "busybox"));
        assert_eq!(split("docker.io/a/b"), ("docker.io", "a/b"));
        assert_eq!(split("me/busybox"), ("docker.io", "me/busybox"));
        assert_eq!(split("reg.example:5000/a"), ("reg.example:5000", "a"));
    }
}
