//! Whom to ask for a registry's content: containerd's `hosts.toml`.
//!
//! ```toml
//! server = "https://registry.example"
//!
//! [host."https://mirror.example:5000"]
//!   capabilities = ["pull", "resolve"]
//!   ca = "/etc/ssl/mirror.pem"
//!   client = [["/etc/ssl/me.cert", "/etc/ssl/me.key"]]
//!   skip_verify = false
//!   override_path = false
//!   [host."https://mirror.example:5000".header]
//!     x-team = ["one"]
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use toml::{Table, Value};

use crate::trust::{Trust, unreadable};
use crate::{Error, Result};

/// The largest file taken, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a host may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Does {
    /// Blobs, and manifests by digest.
    pub(crate) pull: bool,
    /// What a tag points to.
    pub(crate) resolve: bool,
    /// Uploads.
    pub(crate) push: bool,
}

impl Does {
    pub(crate) const ALL: Does = Does {
        pull: true,
        resolve: true,
        push: true,
    };
    pub(crate) const MIRROR: Does = Does {
        push: false,
        ..Does::ALL
    };
}

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// At this base address, which ends in `/v2/` or what stands for it.
    Url(Url),
    /// It may speak HTTPS or HTTP: it must be tried.
    Either(String),
}

/// One host to ask.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) at: At,
    pub(crate) does: Does,
    /// What is sent along.
    pub(crate) headers: HeaderMap,
    /// On top of what is known of its address.
    pub(crate) trust: Trust,
    /// It is the registry itself, not a mirror: the user's credentials are for it.
    pub(crate) own: bool,
}

impl Host {
    pub(crate) fn new(at: At, does: Does, own: bool) -> Host {
        Host {
            at,
            does,
            headers: HeaderMap::new(),
            trust: Trust::default(),
            own,
        }
    }
}

/// What a `hosts.toml` says.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// To be asked in this order.
    pub(crate) hosts: Vec<Host>,
    /// The registry itself, asked last; `None`: it is where its name says.
    pub(crate) server: Option<Host>,
}

/// Reads the `hosts.toml` in `folder`, for the registry whose address is `own`; `None` when there
/// is none. Blocks.
///
/// # Errors
/// It can't be read or makes no sense.
pub(crate) fn read(folder: &Path, own: &str) -> Result<Option<Hosts>> {
    let path = folder.join("hosts.toml");
    let text = match fs::metadata(&path) {
        Ok(found) if found.len() > MAX_FILE => {
            return Err(Error::Setup(format!("{} is too large", path.display())));
        }
        Ok(_) => fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(unreadable(&path, &e)),
    };
    parse(&text, folder, own)
        .map(Some)
        .map_err(|e| Error::Setup(format!("{}: {e}", path.display())))
}

pub(crate) fn parse(text: &str, folder: &Path, own: &str) -> Result<Hosts, String> {
    let root: Table = text
        .parse()
        .map_err(|e: toml::de::Error| e.message().to_owned())?;
    let mut hosts = Vec::new();
    if let Some(listed) = root.get("host") {
        let listed = listed.as_table().ok_or("host is no table")?;
        for (address, settings) in listed {
            let settings = settings
                .as_table()
                .ok_or_else(|| format!("host {address:?} is no table"))?;
            hosts.push(host(address, settings, folder, own)?);
        }
    }
    let server = match root.get("server") {
        Some(server) => {
            let address = server.as_str().ok_or("server is no text")?;
            let mut server = host(address, &root, folder, own)?;
            // Whatever its address is, it is what the name stands for.
            server.own = true;
            Some(server)
        }
        None => None,
    };
    Ok(Hosts { hosts, server })
}

fn host(address: &str, settings: &Table, folder: &Path, own: &str) -> Result<Host, String> {
    let flag = |key: &str| match settings.get(key) {
        None => Ok(false),
        Some(Value::Boolean(flag)) => Ok(*flag),
        Some(_) => Err(format!("{key} is neither true nor false")),
    };
    let url = base(address, flag("override_path")?)?;
    let is_own = crate::rules::authority(&url) == own;
    let mut host = Host::new(At::Url(url), does(settings)?, is_own);
    host.trust.anyone = flag("skip_verify")?;
    host.headers = headers(settings)?;
    for file in texts(settings, "ca")? {
        let read = host.trust.believe(&absolute(folder, &file));
        read.map_err(|e| e.to_string())?;
    }
    if let Some(client) = settings.get("client") {
        let (certificate, key) = identity(client)?;
        let (certificate, key) = (absolute(folder, &certificate), absolute(folder, &key));
        let read = host.trust.identify(&certificate, &key);
        read.map_err(|e| e.to_string())?;
    }
    Ok(host)
}

/// The base address of a host, which is HTTPS when it says nothing else.
fn base(address: &str, whole: bool) -> Result<Url, String> {
    let text = match address.contains("://") {
        true => address.to_owned(),
        false => format!("https://{address}"),
    };
    let text = text.trim_end_matches('/');
    let invalid = |e: String| format!("invalid host {address:?}: {e}");
    // Joined later, so it must end in a slash.
    let text = match whole || text.ends_with("/v2") {
        true => format!("{text}/"),
        false => format!("{text}/v2/"),
    };
    let url = Url::parse(&text).map_err(|e| invalid(e.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        other => Err(invalid(format!("unsupported scheme {other:?}"))),
    }
}

fn does(settings: &Table) -> Result<Does, String> {
    if !settings.contains_key("capabilities") {
        return Ok(Does::ALL);
    }
    let mut does = Does {
        pull: false,
        resolve: false,
        push: false,
    };
    for capability in texts(settings, "capabilities")? {
        match capability.to_ascii_lowercase().as_str() {
            "pull" => does.pull = true,
            "resolve" => does.resolve = true,
            "push" => does.push = true,
            other => return Err(format!("unknown capability {other:?}")),
        }
    }
    Ok(does)
}

fn headers(settings: &Table) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let Some(listed) = settings.get("header") else {
        return Ok(headers);
    };
    let listed = listed.as_table().ok_or("header is no table")?;
    for name in listed.keys() {
        let header: HeaderName = name
            .parse()
            .map_err(|_| format!("invalid header {name:?}"))?;
        for value in texts(listed, name)? {
            // It may be secret: it is not repeated.
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| format!("invalid header {name:?}"))?;
            value.set_sensitive(true);
            headers.append(header.clone(), value);
        }
    }
    Ok(headers)
}

/// One text, or a list of them.
fn texts(settings: &Table, key: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{key} is no text");
    match settings.get(key) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// A certificate and its key: `"both"`, `["both"]`, or `[["certificate", "key"]]`. The last counts.
fn identity(client: &Value) -> Result<(String, String), String> {
    let wrong = || "client is no pair of files".to_owned();
    let last = match client {
        Value::Array(list) => list.last().ok_or_else(wrong)?,
        one => one,
    };
    match last {
        Value::String(both) => Ok((both.clone(), both.clone())),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(certificate), Value::String(key)] => {
                let key = if key.is_empty() { certificate } else { key };
                Ok((certificate.clone(), key.clone()))
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// A path of the file, beside it when it is relative.
fn absolute(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(host: &Host) -> &str {
        match &host.at {
            At::Url(url) => url.as_str(),
            At::Either(name) => name,
        }
    }

    #[test]
    fn hosts_come_in_the_files_order() {
        let text = r#"
            server = "registry.example"
            [host."https://z.example"]
              capabilities = ["pull"]
              [host."https://z.example".header]
                x-team = ["one", "two"]
            [host."http://a.example:5000/cache"]
              skip_verify = true
            [host."https://registry.example/whole/path"]
              override_path = true
              capabilities = ["pull", "resolve"]
        "#;
        let hosts = parse(text, Path::new("/x"), "registry.example").unwrap();
        let found: Vec<_> = hosts.hosts.iter().map(url).collect();
        assert_eq!(
            found,
            [
                "https://z.example/v2/",
                "http://a.example:5000/cache/v2/",
                "https://registry.example/whole/path/",
            ]
        );
        let [first, second, third] = &hosts.hosts[..] else {
            panic!("three")
        };
        assert!(first.does.pull && !first.does.resolve && !first.does.push && !first.own);
        assert_eq!(first.headers.get_all("x-team").iter().count(), 2);
        assert!(second.does == Does::ALL && second.trust.anyone && !second.own);
        // The registry's own address: credentials are for it.
        assert!(third.own);
        let server = hosts.server.unwrap();
        assert!(server.own && url(&server) == "https://registry.example/v2/");
    }

    #[test]
    fn nonsense_is_told() {
        let wrong = |text: &str| parse(text, Path::new("/x"), "r").unwrap_err();
        assert_eq!(wrong("host = 1"), "host is no table");
        assert_eq!(
            wrong("[host.\"https://a\"]\ncapabilities=[\"fly\"]"),
            "unknown capability \"fly\""
        );
        assert!(wrong("[host.\"ftp://a\"]").contains("unsupported scheme"));
        assert!(wrong("[host.\"https://a\"]\nca=\"none.pem\"").contains("/x/none.pem"));
        assert_eq!(
            wrong("[host.\"https://a\"]\nclient=3"),
            "client is no pair of files"
        );
        assert!(!wrong("[host.\"https://a\"]\nheader={x=\"s\\u0001ecret\"}").contains("ecret\""));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,200}") {
            let _ = parse(&text, Path::new("/x"), "r");
        }
    }
}
