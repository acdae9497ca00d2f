//! TLS on TCP sockets: certificates read, checked and made ready to be used.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use crate::{Config, Error, Result, file};

/// More than a chain of certificates is.
const MOST: u64 = 1 << 20;

/// TLS as a server speaks it, with certificates that have been read and belong together.
#[derive(Clone)]
pub struct Tls {
    /// What a handshake needs.
    pub server: Arc<ServerConfig>,
    /// Clients must show a certificate.
    pub verify: bool,
    /// What the files contained, by key: `tlscacert`, `tlscert`, `tlskey`.
    contents: [[u8; 32]; 3],
}

/// The keys of the options that name files, in the order of `Tls::contents`.
pub(crate) const FILES: [&str; 3] = ["tlscacert", "tlscert", "tlskey"];

impl PartialEq for Tls {
    fn eq(&self, other: &Tls) -> bool {
        (self.verify, self.contents) == (other.verify, other.contents)
    }
}

impl fmt::Debug for Tls {
    // Without anything of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}

/// Whether TCP sockets speak TLS. As for dockerd: to say anything of `tlsverify` turns it on.
pub(crate) fn is_on(user: &Config) -> bool {
    user.tlsverify.is_some() || user.tls == Some(true)
}

impl Tls {
    /// Reads the certificates, where TLS is on.
    pub(crate) fn load(user: &Config) -> Result<Option<Tls>> {
        if !is_on(user) {
            return Ok(None);
        }
        let loaded = Files::read(user).and_then(|files| files.tls(user));
        let blame = |error: Error| Error::invalid(format!("invalid TLS configuration: {error}"));
        loaded.map(Some).map_err(blame)
    }

    /// Whether the file that this key names contained the same in both.
    pub(crate) fn same_content(&self, other: &Tls, key: &str) -> bool {
        let contents = self.contents.iter().zip(&other.contents);
        FILES
            .iter()
            .zip(contents)
            .all(|(name, (a, b))| *name != key || a == b)
    }
}

/// The files' texts.
struct Files {
    ca: Option<String>,
    cert: String,
    key: String,
}

impl Files {
    fn read(user: &Config) -> Result<Files> {
        let verify = user.tlsverify != Some(false);
        let ca = match verify {
            true => Some(text(&user.tlscacert, "CA certificate")?),
            false => None,
        };
        Ok(Files {
            ca,
            cert: text(&user.tlscert, "certificate")?,
            key: text(&user.tlskey, "key")?,
        })
    }

    fn tls(&self, user: &Config) -> Result<Tls> {
        let provider = Arc::new(ring::default_provider());
        let pair = |why: &dyn fmt::Display| {
            Error::invalid(format!(
                "could not load X509 key pair (cert: \"{}\", key: \"{}\"): {why}. Make sure the key is not encrypted",
                user.tlscert.display(),
                user.tlskey.display()
            ))
        };
        let chain = certificates(&self.cert).map_err(|why| pair(&why))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|_| pair(&"no private key in PEM form"))?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::invalid(error.to_string()))?;
        let builder = match &self.ca {
            Some(ca) => builder.with_client_cert_verifier(verifier(ca, provider, user)?),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder
            .with_single_cert(chain, key)
            .map_err(|error| pair(&error))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let digest = |text: &str| Sha256::digest(text.as_bytes()).into();
        Ok(Tls {
            server: Arc::new(server),
            verify: self.ca.is_some(),
            contents: [
                digest(self.ca.as_deref().unwrap_or_default()),
                digest(&self.cert),
                digest(&self.key),
            ],
        })
    }
}

fn text(path: &Path, what: &str) -> Result<String> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid(format!("no {what} is configured")));
    }
    file::read(path, MOST).map_err(|error| {
        Error::invalid(format!(
            "could not read {what} \"{}\": {error}",
            path.display()
        ))
    })
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err("no certificate in PEM form".to_owned()),
        Err(_) => Err("malformed PEM".to_owned()),
    }
}

fn verifier(
    ca: &str,
    provider: Arc<CryptoProvider>,
    user: &Config,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let wrong = |why: &dyn fmt::Display| {
        let path = user.tlscacert.display();
        Error::invalid(format!(
            "failed to append certificates from PEM file \"{path}\": {why}"
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca).map_err(|why| wrong(&why))? {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests;
