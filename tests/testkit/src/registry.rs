//! A docker-registry of the test's own, on the daemon's loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::{
    Compression, Daemon, Image, PATIENCE, Place, Request, Tokens, USER, eventually, run_command,
};

/// A certificate authority of the test's own and a certificate for `localhost`, `registry.test` and
/// `127.0.0.1`, good for servers and clients, as PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate that clients must trust.
    pub ca: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    /// Makes them with openssl in `dir`.
    #[track_caller]
    pub fn new(dir: &std::path::Path) -> Tls {
        let at = |name: &str| dir.join(name);
        let (ca, ca_key) = (at("ca.pem"), at("ca.key"));
        let (certificate, key, request) = (at("server.pem"), at("server.key"), at("server.csr"));
        let openssl = |args: &[&str], paths: &[(&str, &PathBuf)]| {
            let mut command = std::process::Command::new("openssl");
            command.args(args);
            for (flag, path) in paths {
                command.arg(flag).arg(path);
            }
            run_command(command).ok();
        };
        let new = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        let ca_args = ["-x509", "-days", "2", "-subj", "/CN=testkit CA"];
        openssl(
            &[&new[..], &ca_args[..]].concat(),
            &[("-keyout", &ca_key), ("-out", &ca)],
        );
        let server = ["-subj", "/CN=localhost"];
        openssl(
            &[&new[..], &server[..]].concat(),
            &[("-keyout", &key), ("-out", &request)],
        );
        let names = at("names.cnf");
        let text = "subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n";
        std::fs::write(&names, text).expect("write");
        openssl(
            &["x509", "-req", "-days", "2", "-CAcreateserial"],
            &[
                ("-in", &request),
                ("-CA", &ca),
                ("-CAkey", &ca_key),
                ("-extfile", &names),
                ("-out", &certificate),
            ],
        );
        Tls {
            ca,
            certificate,
            key,
        }
    }
}

/// [`PASSWORD`](crate::PASSWORD), by bcrypt.
const HASH: &str = "$2b$04$RumARDaEoU.eQbQ5vkPE4eUZsmI5qIQ71maFx4v7wN9YDloOP00bW";

/// Whom a registry lets in.
#[derive(Clone, Copy, Debug)]
pub enum Guard<'a> {
    /// [`USER`] with [`PASSWORD`](crate::PASSWORD).
    Password,
    /// Who brings a token of this server.
    Token(&'a Tokens),
    /// Who has a certificate of this authority; over HTTPS.
    Certificate(&'a Tls),
}

fn storage_of(daemon: &Daemon, port: u16) -> PathBuf {
    daemon.sandbox().state().join(format!("registry-{port}"))
}

/// A running registry. It ends with the sandbox, or when dropped.
#[derive(Debug)]
pub struct Registry<'a> {
    daemon: &'a Daemon,
    child: Child,
    port: u16,
    plain: u16,
}

impl<'a> Registry<'a> {
    /// Starts one at `127.0.0.1:<port>` of the daemon's network, over HTTP.
    #[track_caller]
    pub fn start(daemon: &'a Daemon, port: u16) -> Registry<'a> {
        Registry::start_with(daemon, port, None)
    }

    /// Starts one; with `tls` clients must use HTTPS, and the kit itself pushes to a second
    /// registry on the next port, over HTTP, with the same storage.
    #[track_caller]
    pub fn start_with(daemon: &'a Daemon, port: u16, tls: Option<&Tls>) -> Registry<'a> {
        let secure = tls.map(|tls| {
            let (certificate, key) = (tls.certificate.display(), tls.key.display());
            format!("  tls:\n    certificate: {certificate}\n    key: {key}\n")
        });
        Registry::launch(daemon, port, secure)
    }

    /// Starts one that lets in only whom `guard` does; the kit itself pushes to a second registry
    /// on the next port, with the same storage, that has no guard.
    #[track_caller]
    pub fn guarded(daemon: &'a Daemon, port: u16, guard: Guard<'_>) -> Registry<'a> {
        let section = match guard {
            Guard::Password => {
                let path = daemon.sandbox().state().join("htpasswd");
                std::fs::write(&path, format!("{USER}:{HASH}\n")).expect("write");
                let path = path.display();
                format!("auth:\n  htpasswd:\n    realm: testkit\n    path: {path}\n")
            }
            Guard::Token(tokens) => tokens.section(),
            Guard::Certificate(tls) => {
                let (certificate, key) = (tls.certificate.display(), tls.key.display());
                let ca = tls.ca.display();
                format!(
                    "  tls:\n    certificate: {certificate}\n    key: {key}\n    clientcas:\n      - {ca}\n"
                )
            }
        };
        Registry::launch(daemon, port, Some(section))
    }

    /// Starts another with the same storage, at the same place of another daemon's network.
    #[track_caller]
    pub fn also_for<'b>(&self, daemon: &'b Daemon) -> Registry<'b> {
        let storage = storage_of(daemon, self.port);
        std::os::unix::fs::symlink(storage_of(self.daemon, self.port), storage).expect("symlink");
        Registry::launch(daemon, self.port, None)
    }

    /// Starts one; what `special` adds to its configuration is not for the kit itself.
    #[track_caller]
    fn launch(daemon: &'a Daemon, port: u16, special: Option<String>) -> Registry<'a> {
        let storage = storage_of(daemon, port);
        std::fs::create_dir_all(&storage).expect("mkdir");
        let config = |port: u16, more: String| {
            let path = storage.with_extension(format!("{port}.yml"));
            let text = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
                 http:\n  addr: 127.0.0.1:{port}\n{more}",
                storage.display()
            );
            std::fs::write(&path, text).expect("write");
            path
        };
        let plain = if special.is_some() { port + 1 } else { port };
        let mut script = daemon.sandbox().command("sh");
        script.args([
            "-c",
            "docker-registry serve \"$1\" & [ -z \"$2\" ] || docker-registry serve \"$2\" & wait",
            "sh",
        ]);
        script.arg(config(plain, String::new()));
        script.arg(special.map(|more| config(port, more)).unwrap_or_default());
        script
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = script.spawn().expect("sh runs");
        let registry = Registry {
            daemon,
            child,
            port,
            plain,
        };
        eventually("the registry answers", PATIENCE, || {
            let secure = daemon
                .sandbox()
                .connect(Place::Inside, registry.address(port))
                .ok()?;
            drop(secure);
            let stream = daemon
                .sandbox()
                .connect(Place::Inside, registry.address(plain))
                .ok()?;
            let answer = Request::over(stream, "GET", "/v2/").header("Connection", "close");
            (answer.try_open().ok()?.status == 200).then_some(())
        });
        registry
    }

    fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// `127.0.0.1:<port>`: the registry's name in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes `image` as `repository:tag`; returns the manifest's digest.
    #[track_caller]
    pub fn push(
        &self,
        image: &Image,
        repository: &str,
        tag: &str,
        compression: Compression,
    ) -> String {
        let (manifest, blobs) = image.blobs(compression);
        for (digest, bytes) in blobs {
            let target = format!("/v2/{repository}/blobs/uploads/");
            let upload = self.request("POST", &target).send().is(202);
            let location = upload
                .header("Location")
                .expect("a place to upload to")
                .to_owned();
            let path = location
                .splitn(4, '/')
                .nth(3)
                .map(|path| format!("/{path}"));
            let path = path
                .filter(|_| location.starts_with("http"))
                .unwrap_or(location);
            let joint = if path.contains('?') { '&' } else { '?' };
            let target = format!("{path}{joint}digest={digest}");
            let request = self.request("PUT", &target).body(bytes);
            request
                .header("Content-Type", "application/octet-stream")
                .send()
                .is(201);
        }
        let target = format!("/v2/{repository}/manifests/{tag}");
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let request = self
            .request("PUT", &target)
            .header("Content-Type", media_type);
        let answer = request.body(manifest).send().is(201);
        answer
            .header("Docker-Content-Digest")
            .expect("the manifest's digest")
            .to_owned()
    }

    fn request(&self, method: &str, target: &str) -> Request {
        let to = self.address(self.plain);
        let stream = self
            .daemon
            .sandbox()
            .connect(Place::Inside, to)
            .expect("the registry");
        Request::over(stream, method, target).header("Connection", "close")
    }
}

impl Drop for Registry<'_> {
    fn drop(&mut self) {
        // The nsenter's child, a shell, and its children.
        for shell in crate::sandbox::children(self.child.id() as i32) {
            for pid in crate::sandbox::children(shell).into_iter().chain([shell]) {
                crate::daemon::kill(pid, rustix::process::Signal::KILL);
            }
        }
        eventually("the registry is gone", PATIENCE, || {
            self.child.try_wait().ok().flatten()
        });
    }
}
