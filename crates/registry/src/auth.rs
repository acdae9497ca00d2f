//! Who we are to a registry: challenges, Basic and Bearer.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;

use crate::rules::Rules;
use crate::trust::Trust;
use crate::{Error, Result};

/// What a token is asked for: `repository:<path>:pull,push`.
pub(crate) type Scopes = Arc<[String]>;

/// What we call ourselves to a token server.
const CLIENT: &str = "docker";
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
    /// The registry that they are for, as `docker login` names it.
    #[serde(rename = "serveraddress")]
    pub server: String,
    /// User and password in one, in base64: what old clients send instead.
    pub auth: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// With user and password taken out of [`Credentials::auth`] where they are there alone.
    pub fn unpacked(mut self) -> Credentials {
        let pair = STANDARD.decode(std::mem::take(&mut self.auth)).ok();
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        if let Some((username, password)) = pair.as_deref().and_then(|pair| pair.split_once(':'))
            && self.username.is_empty()
            && self.password.is_empty()
        {
            self.username = username.to_owned();
            self.password = password.trim_end_matches('\0').to_owned();
        }
        self
    }

    /// Whether there is nothing to prove who we are with.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty()
            && self.password.is_empty()
            && self.identity_token.is_empty()
            && self.registry_token.is_empty()
            && self.auth.is_empty()
    }

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

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token {
    token: String,
    access_token: String,
    /// What we may log in with from now on instead of the password.
    refresh_token: String,
}

/// What answers challenges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) agent: &'a str,
    pub(crate) credentials: Option<&'a Credentials>,
}

impl Client<'_> {
    /// The value of the `Authorization` header that answers `challenge`; `None` when we have
    /// nothing to answer it with.
    pub(crate) async fn answer(
        &self,
        challenge: &Challenge,
        scopes: &[String],
    ) -> Result<Option<String>> {
        let ready = self.credentials.map(|c| c.registry_token.as_str());
        if let Some(token) = ready.filter(|token| !token.is_empty()) {
            return Ok(Some(format!("Bearer {token}")));
        }
        match challenge.scheme.as_str() {
            "basic" => Ok(self.credentials.and_then(Credentials::basic)),
            "bearer" => {
                let token = self.token(challenge, scopes, false).await?;
                Ok(Some(token.header()?))
            }
            _ => Ok(None),
        }
    }

    /// As [`Client::answer`], and the identity token that takes the password's place, if the
    /// token server has one for us: for logging in.
    pub(crate) async fn log_in(&self, challenge: &Challenge) -> Result<Option<(String, String)>> {
        if challenge.scheme != "bearer" {
            let header = self.answer(challenge, &[]).await?;
            return Ok(header.map(|header| (header, String::new())));
        }
        let token = self.token(challenge, &[], true).await?;
        Ok(Some((token.header()?, token.refresh_token)))
    }

    /// Asks the token server; `offline`: also for an identity token.
    async fn token(
        &self,
        challenge: &Challenge,
        scopes: &[String],
        offline: bool,
    ) -> Result<Token> {
        let realm = realm(challenge, self.rules)?;
        let service = challenge.get("service").unwrap_or_default();
        let scopes = all_scopes(challenge, scopes);
        let client = self
            .rules
            .client(self.agent, &realm, &Trust::default())
            .await?;
        let refresh = self.credentials.map(|c| c.identity_token.as_str());
        let (method, request) = match refresh.filter(|token| !token.is_empty()) {
            Some(refresh) => {
                let kind = "application/x-www-form-urlencoded";
                let request = client.post(realm.clone()).header("content-type", kind);
                (
                    "Post",
                    request.body(refresh_form(service, &scopes, refresh)?),
                )
            }
            None => {
                let mut url = realm.clone();
                self.ask_for(&mut url, service, &scopes, offline);
                let request = client.get(url);
                match self.credentials.and_then(Credentials::basic) {
                    Some(basic) => ("Get", request.header("authorization", basic)),
                    None => ("Get", request),
                }
            }
        };
        let response = request.timeout(self.rules.limits.answer).send().await;
        let response = response.map_err(|e| Error::transport(method, &realm, &e))?;
        let status = response.status();
        let body = crate::refusal::limited(method, &realm, response, MAX_TOKEN).await?;
        if status.as_u16() == 401 || status.as_u16() == 403 {
            return Err(Error::Unauthorized(crate::refusal::message(
                &body,
                "incorrect username or password",
            )));
        }
        if !status.is_success() {
            let text = format!("failed to authorize: unexpected status: {status}");
            return Err(match status.is_server_error() {
                true => Error::Server { text, after: None },
                false => Error::Status(text),
            });
        }
        serde_json::from_slice(&body)
            .map_err(|_| Error::Protocol("authorization server sent no token".to_owned()))
    }

    /// The parameters by which a token is asked for.
    fn ask_for(&self, url: &mut Url, service: &str, scopes: &[String], offline: bool) {
        let mut query = url.query_pairs_mut();
        let user = self.credentials.map(|c| c.username.as_str());
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            query.append_pair("account", user);
        }
        query.append_pair("service", service);
        for scope in scopes {
            query.append_pair("scope", scope);
        }
        if offline {
            query.append_pair("offline_token", "true");
            query.append_pair("client_id", CLIENT);
        }
    }
}

impl Token {
    /// The header's value.
    fn header(&self) -> Result<String> {
        let token = match self.token.is_empty() {
            true => &self.access_token,
            false => &self.token,
        };
        if token.is_empty() {
            let words = "authorization server did not include a token";
            return Err(Error::Protocol(words.to_owned()));
        }
        Ok(format!("Bearer {token}"))
    }
}

/// What we need and what the registry says that we need.
fn all_scopes(challenge: &Challenge, scopes: &[String]) -> Vec<String> {
    let mut all = scopes.to_vec();
    let asked = challenge.get("scope").unwrap_or_default();
    for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
        let wider = |have: &String| have == scope || have.starts_with(&format!("{scope},"));
        if !all.iter().any(wider) {
            all.push(scope.to_owned());
        }
    }
    all
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
fn refresh_form(service: &str, scopes: &[String], refresh: &str) -> Result<String> {
    let mut body = Url::parse("form:/").map_err(|e| Error::Setup(e.to_string()))?;
    body.query_pairs_mut().extend_pairs([
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("service", service),
        ("scope", &scopes.join(" ")),
        ("refresh_token", refresh),
    ]);
    Ok(body.query().unwrap_or_default().to_owned())
}
