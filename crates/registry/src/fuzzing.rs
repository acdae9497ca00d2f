//! The fuzz targets' way to what reads other people's texts.

use std::path::Path;
use std::time::Duration;

use crate::auth::Challenge;
use crate::hosts::{self, At};
use crate::{refusal, repository};

/// The addresses that a `hosts.toml` names, the server's last; or what is wrong with it.
///
/// # Errors
/// It makes no sense.
pub fn hosts_toml(text: &str) -> Result<Vec<String>, String> {
    let found = hosts::parse(text, Path::new("/nonexistent"), "registry.example")?;
    let each = found.hosts.into_iter().chain(found.server);
    let address = |at| match at {
        At::Url(url) => url.to_string(),
        At::Either(host) => host,
    };
    Ok(each.map(|host| address(host.at)).collect())
}

/// The scheme and the parameters of a challenge.
pub fn challenge(header: &str) -> (String, Vec<(String, String)>) {
    let Challenge { scheme, parameters } = Challenge::parse(header);
    (scheme, parameters)
}

/// How long `Retry-After` asks us to wait.
pub fn retry_after(header: &str) -> Option<Duration> {
    refusal::pause(header)
}

/// Where the range of a `Content-Range` begins.
pub fn content_range(header: &str) -> Option<u64> {
    repository::first(header)
}

/// The query of the page that `Link` says is next.
pub fn next_page(header: &str) -> Option<String> {
    repository::next_query(header)
}

/// What the body of a refusal says.
pub fn refused(body: &[u8]) -> String {
    refusal::message(body, "default")
}
