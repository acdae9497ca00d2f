//! Whom we believe to be a host, and who we are to it: certificates in files.
//!
//! `<certs.d>/<host[:port]>/` may hold `*.crt` (authorities to trust besides the system's) and
//! pairs of `*.cert` and `*.key` (who we are).

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::{Error, Result};

/// The largest certificate file taken, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a TLS connection is made with. Two that are equal may share connections.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// Any certificate will do.
    pub(crate) anyone: bool,
    /// Authorities besides the system's, each file in PEM.
    pub(crate) authorities: Vec<Vec<u8>>,
    /// Our certificate and its key, in PEM. As with dockerd, the last one named counts.
    pub(crate) identity: Option<Vec<u8>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("anyone", &self.anyone)
            .field("authorities", &self.authorities.len())
            .finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads a host's folder; nothing when there is none. Blocks.
    ///
    /// # Errors
    /// A file that can't be read, or half a pair, in dockerd's words.
    pub(crate) fn read(folder: &Path) -> Result<Trust> {
        let mut trust = Trust::default();
        for name in names(folder)? {
            let path = folder.join(&name);
            if name.ends_with(".crt") {
                trust.authorities.push(content(&path)?);
            } else if let Some(stem) = name.strip_suffix(".cert") {
                let key = format!("{stem}.key");
                if !folder.join(&key).is_file() {
                    return Err(Error::Setup(format!(
                        "missing key {key} for client certificate {name}. CA certificates must \
                         use the extension .crt"
                    )));
                }
                trust.identify(&path, &folder.join(key))?;
            } else if let Some(stem) = name.strip_suffix(".key") {
                let certificate = format!("{stem}.cert");
                if !folder.join(&certificate).is_file() {
                    return Err(Error::Setup(format!(
                        "missing client certificate {certificate} for key {name}"
                    )));
                }
            }
        }
        Ok(trust)
    }

    /// Trusts the authorities of a file as well. Blocks.
    pub(crate) fn believe(&mut self, file: &Path) -> Result<()> {
        self.authorities.push(content(file)?);
        Ok(())
    }

    /// Says that we are who a certificate says, to which the key belongs. Blocks.
    pub(crate) fn identify(&mut self, certificate: &Path, key: &Path) -> Result<()> {
        let mut pem = content(certificate)?;
        // Both may be in one file.
        if key != certificate {
            pem.push(b'\n');
            pem.extend(content(key)?);
        }
        self.identity = Some(pem);
        Ok(())
    }

    /// A client that works so.
    pub(crate) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder> {
        let mut builder = builder.tls_danger_accept_invalid_certs(self.anyone);
        let invalid = |what: &str, e: reqwest::Error| {
            use std::error::Error as _;
            let why = e
                .source()
                .map_or_else(|| e.to_string(), ToString::to_string);
            Error::Setup(format!("{what}: {why}"))
        };
        for pem in &self.authorities {
            let found = Certificate::from_pem_bundle(pem);
            for one in found.map_err(|e| invalid("invalid CA certificate", e))? {
                builder = builder.tls_certs_merge([one]);
            }
        }
        if let Some(pem) = &self.identity {
            let identity = Identity::from_pem(pem);
            builder =
                builder.identity(identity.map_err(|e| invalid("invalid client certificate", e))?);
        }
        Ok(builder)
    }
}

/// The names of the files in `folder`, in order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(e) => return Err(unreadable(folder, &e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| unreadable(folder, &e))?.file_name();
        names.extend(name.into_string());
    }
    names.sort();
    Ok(names)
}

fn content(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut content));
    read.map_err(|e| unreadable(path, &e))?;
    Ok(content)
}

/// The words for a file of the administrator's that can't be read.
pub(crate) fn unreadable(path: &Path, e: &io::Error) -> Error {
    Error::Setup(format!("open {}: {e}", path.display()))
}

/// Where the settings of a host may be, best first. Docker's name has a colon, containerd knows
/// underscores as well, for file systems without.
pub(crate) fn folders(root: &Path, host: &str) -> Vec<PathBuf> {
    // What leads elsewhere is no host.
    if root.as_os_str().is_empty() || host.contains('/') || host.starts_with('.') {
        return Vec::new();
    }
    let mut folders = vec![root.join(host)];
    if let Some((name, port)) = host.rsplit_once(':') {
        folders.push(root.join(format!("{name}_{port}_")));
    }
    folders
}
