//! The grammar of image names, and how Docker shortens and completes them.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error, Result};

/// The registry that a name without one means.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag that a name without one means.
pub const DEFAULT_TAG: &str = "latest";
/// The old name of the default registry.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// The namespace of names without one on the default registry.
const OFFICIAL: &str = "library/";
/// The longest repository path, in bytes.
const MAX_PATH: usize = 255;
/// The longest tag, in bytes.
const MAX_TAG: usize = 128;

/// A complete image name: registry, repository and, where given, tag and digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses a name as users write it: `busybox` means `docker.io/library/busybox`. No tag is
    /// added; see [`Reference::tagged`].
    ///
    /// # Errors
    /// Docker's own: [`Error::Format`], [`Error::Uppercase`] and so on.
    pub fn parse(text: &str) -> Result<Reference> {
        if is_identifier(text) {
            return Err(Error::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let remote = remainder.split(':').next().unwrap_or_default();
        if remote.chars().any(char::is_uppercase) {
            return Err(Error::Uppercase(remote.to_owned()));
        }
        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(domain) || !is_path(path) || !tag.is_none_or(is_tag) {
            return Err(Error::Format);
        }
        let digest = digest.map(parse_digest).transpose()?;
        if path.len() > MAX_PATH {
            return Err(Error::TooLong);
        }
        Ok(Reference {
            domain: domain.to_owned(),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry, e.g. `docker.io` or `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository without the registry, e.g. `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The repository with the registry, e.g. `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag, where there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The repository as Docker shows it: without the default registry and its `library/`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole name as Docker shows it, e.g. `busybox:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    /// When `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        if !is_tag(tag) {
            return Err(Error::Tag);
        }
        Ok(Reference {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository with this digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The repository alone.
    pub fn repository(&self) -> Reference {
        Reference {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// This name, with the tag `latest` where it has neither tag nor digest.
    pub fn tagged(self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            return Reference {
                tag: Some(DEFAULT_TAG.to_owned()),
                ..self
            };
        }
        self
    }

    /// True when the name has neither tag nor digest.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    fn suffix(&self) -> String {
        let tag = self
            .tag
            .as_ref()
            .map(|t| format!(":{t}"))
            .unwrap_or_default();
        let digest = self
            .digest
            .as_ref()
            .map(|d| format!("@{d}"))
            .unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    /// The complete name, as containerd's image records have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = Error;
    fn from_str(text: &str) -> Result<Reference> {
        Reference::parse(text)
    }
}

/// True when `text` looks like a full image ID without its algorithm.
pub fn is_identifier(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// True when `text` is a tag: up to 128 of letters, digits, `_`, `.`, `-`, not starting with
/// the last two.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Splits the registry off, completing what is left out.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        return (domain, format!("{OFFICIAL}{remainder}"));
    }
    (domain, remainder.to_owned())
}

/// `host`, `host:port`, `[ipv6]`, `[ipv6]:port`.
fn is_domain(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        match text.split_once(']') {
            Some((inner, rest)) => {
                let address = &inner[1..];
                let valid = |b: u8| b.is_ascii_hexdigit() || b == b':';
                if address.is_empty() || !address.bytes().all(valid) {
                    return false;
                }
                match rest.strip_prefix(':') {
                    Some(port) => (None, Some(port)),
                    None if rest.is_empty() => (None, None),
                    None => return false,
                }
            }
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        }
    };
    let label = |l: &str| {
        l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Components of lower-case letters and digits with single `.`, `_`, double `__` or any number
/// of `-` between them.
fn is_path(text: &str) -> bool {
    text.split('/').all(|component| {
        let mut separators =
            component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        component.bytes().next().is_some_and(word)
            && component.bytes().last().is_some_and(word)
            && separators.all(inner)
    })
}

/// A digest inside a reference: what does not look like one at all is a bad reference.
fn parse_digest(text: &str) -> Result<Digest> {
    let (algorithm, encoded) = text.split_once(':').ok_or(Error::Format)?;
    let part = |p: &str| {
        p.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && p.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let plausible = algorithm.split(['-', '_', '+', '.']).all(part)
        && encoded.len() >= 32
        && encoded.bytes().all(|b| b.is_ascii_hexdigit());
    if !plausible {
        return Err(Error::Format);
    }
    Digest::parse(text)
}
