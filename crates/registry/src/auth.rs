//! Who we are to a registry: challenges, Basic and Bearer.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;

use crate::transport::Rules;
use crate::{Error, Registry, Result};

/// How long fetching a token may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest answer of a token server, in bytes.
const MAX_TOKEN: usize = 1 << 20;

/// What a user logs in with: Docker's `AuthConfig`. Its `Debug` shows none of it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password, or a personal access token.
    pub password: String,
    /// An OAuth2 refresh token, used instead of the password.
    #[serde(rename = "identitytoken")]
    pub identity_token: String,
    /// A bearer token to send as it is.
    #[serde(rename = "registrytoken")]
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    fn basic(&self) -> Option<String> {
        let empty = self.username.is_empty() && self.password.is_empty();
        let pair = format!("{}:{}", self.username, self.password);
        (!empty).then(|| format!("Basic {}", STANDARD.encode(pair)))
    }
}

/// One challenge of a `WWW-Authenticate` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, key: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Reads `Scheme key="value",key=value`. Never fails; nonsense has no parameters.
    pub(crate) fn parse(header: &str) -> Challenge {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        let mut parameters = Vec::new();
        let mut rest = rest.trim_start();
        while let Some((key, value)) = rest.split_once('=') {
            let key = key.trim_matches([',', ' ']).to_ascii_lowercase();
            let (value, after) = take_value(value);
            parameters.push((key, value));
            rest = after;
        }
        Challenge {
            scheme: scheme.to_ascii_lowercase(),
            parameters,
        }
    }
}

/// A quoted string with backslash escapes, or everything up to a comma; and what follows.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The value of the `Authorization` header that answers `challenge`; `None` when we have
/// nothing to answer it with.
pub(crate) async fn answer(
    registry: &Registry,
    rules: &Rules,
    challenge: &Challenge,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<Option<String>> {
    if let Some(token) = credentials
        .map(|c| &c.registry_token)
        .filter(|t| !t.is_empty())
    {
        return Ok(Some(format!("Bearer {token}")));
    }
    match challenge.scheme.as_str() {
        "basic" => Ok(credentials.and_then(Credentials::basic)),
        "bearer" => fetch(registry, rules, challenge, scope, credentials)
            .await
            .map(Some),
        _ => Ok(None),
    }
}

async fn fetch(
    registry: &Registry,
    rules: &Rules,
    challenge: &Challenge,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<String> {
    let realm = realm(challenge, rules)?;
    let service = challenge.get("service").unwrap_or_default();
    let scope = challenge.get("scope").unwrap_or(scope);
    let client = registry.client_for(rules, &realm)?;
    let refresh = credentials
        .map(|c| c.identity_token.as_str())
        .filter(|t| !t.is_empty());
    let (method, request) = match refresh {
        Some(refresh) => {
            let kind = "application/x-www-form-urlencoded";
            let request = client
                .post(realm.clone())
                .header("content-type", kind)
                .body(refresh_form(service, scope, refresh)?);
            ("Post", request)
        }
        None => {
            let mut url = realm.clone();
            url.query_pairs_mut()
                .append_pair("service", service)
                .append_pair("scope", scope);
            let request = client.get(url);
            match credentials.and_then(Credentials::basic) {
                Some(basic) => ("Get", request.header("authorization", basic)),
                None => ("Get", request),
            }
        }
    };
    let response = request
        .timeout(LIMIT)
        .send()
        .await
        .map_err(|e| Error::transport(method, &realm, &e))?;
    let status = response.status();
    if status.as_u16() == 401 || status.as_u16() == 403 {
        let words = "incorrect username or password";
        return Err(Error::Unauthorized(words.to_owned()));
    }
    if !status.is_success() {
        return Err(Error::Status(format!(
            "failed to authorize: unexpected status: {status}"
        )));
    }
    let body = crate::repository::limited(method, &realm, response, MAX_TOKEN).await?;
    token(&body)
}

/// Where tokens come from. Credentials go there, so it must be HTTPS, except on insecure hosts.
fn realm(challenge: &Challenge, rules: &Rules) -> Result<Url> {
    let realm = challenge.get("realm").unwrap_or_default();
    let url = Url::parse(realm)
        .map_err(|_| Error::Protocol(format!("invalid authentication realm {realm:?}")))?;
    if url.scheme() != "https" && !(url.scheme() == "http" && rules.is_insecure(&url)) {
        return Err(Error::Protocol(format!(
            "authentication realm {realm:?} is not HTTPS"
        )));
    }
    Ok(url)
}

/// The form by which an OAuth2 refresh token becomes an access token.
fn refresh_form(service: &str, scope: &str, refresh: &str) -> Result<String> {
    let mut body = Url::parse("form:/").map_err(|e| Error::Setup(e.to_string()))?;
    body.query_pairs_mut().extend_pairs([
        ("grant_type", "refresh_token"),
        ("client_id", "berth"),
        ("service", service),
        ("scope", scope),
        ("refresh_token", refresh),
    ]);
    Ok(body.query().unwrap_or_default().to_owned())
}

/// The header value for the token in a token server's answer.
fn token(body: &[u8]) -> Result<String> {
    let answer: Token = serde_json::from_slice(body)
        .map_err(|_| Error::Protocol("authorization server sent no token".to_owned()))?;
    let token = if answer.token.is_empty() {
        answer.access_token
    } else {
        answer.token
    };
    if token.is_empty() {
        let words = "authorization server did not include a token";
        return Err(Error::Protocol(words.to_owned()));
    }
    Ok(format!("Bearer {token}"))
}
