//! A token server of the test's own, whose tokens a docker-registry believes.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{Asked, Cli, Daemon, Stub, Wire, run_command};

/// Who may log in everywhere in tests, by which password.
pub const USER: &str = "test";
/// See [`USER`].
pub const PASSWORD: &str = "s3cret";
/// What the token server gives for the password.
pub const IDENTITY: &str = "R3FRESH";

/// The running server. Who is nobody may pull; [`USER`] may do everything.
#[derive(Debug)]
pub struct Tokens {
    stub: Stub,
    certificate: PathBuf,
}

impl Tokens {
    /// Starts one at `127.0.0.1:<port>`; tokens are good for `seconds`.
    #[track_caller]
    pub fn start(daemon: &Daemon, port: u16, seconds: u64) -> Tokens {
        let dir = daemon.sandbox().state();
        let (key, certificate) = (
            dir.join(format!("tokens-{port}.key")),
            dir.join(format!("tokens-{port}.pem")),
        );
        let mut openssl = std::process::Command::new("openssl");
        openssl
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args(["-subj", "/CN=tokens"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        run_command(openssl).ok();
        let signer = Signer::new(key, &certificate);
        let stub = Stub::start(daemon, port, move |asked, wire| {
            token(&signer, seconds, asked, wire);
        });
        Tokens { stub, certificate }
    }

    /// What was asked of it.
    pub fn asked(&self) -> Vec<Asked> {
        self.stub.asked()
    }

    /// The registry's `auth` section.
    pub(crate) fn section(&self) -> String {
        format!(
            "auth:\n  token:\n    realm: http://{}/token\n    service: testkit\n    issuer: testkit\n    rootcertbundle: {}\n",
            self.stub.host(),
            self.certificate.display()
        )
    }
}

#[derive(Debug)]
struct Signer {
    key: PathBuf,
    /// In DER.
    certificate: String,
}

impl Signer {
    fn new(key: PathBuf, certificate: &Path) -> Signer {
        let pem = std::fs::read_to_string(certificate).expect("read");
        let certificate = pem.lines().filter(|line| !line.starts_with('-')).collect();
        Signer { key, certificate }
    }

    fn sign(&self, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]});
        let text = format!("{}.{}", encode(&header), encode(claims));
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-hex", "-r", "-sign"]);
        openssl.arg(&self.key);
        let output = Cli::new(openssl).stdin(text.as_bytes()).run().ok();
        let hex_digits = output.out().split_ascii_whitespace().next();
        let signature = hex::decode(hex_digits.unwrap_or_default()).expect("a signature");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn token(signer: &Signer, seconds: u64, asked: &Asked, wire: &mut Wire) {
    let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let body = String::from_utf8_lossy(&asked.body).into_owned();
    let form = Asked {
        target: format!("?{body}"),
        ..Asked::default()
    };
    let refreshed = form.parameters("refresh_token") == [IDENTITY];
    let known = match asked.header("authorization") {
        Some(sent) => sent == format!("Basic {pair}"),
        None => refreshed,
    };
    if !known && (asked.header("authorization").is_some() || asked.method == "POST") {
        let body = json!({"details": "incorrect username or password"});
        return wire.answer("401 Unauthorized", &[], body.to_string());
    }
    let scopes = match asked.method.as_str() {
        "POST" => form.parameters("scope"),
        _ => asked.parameters("scope"),
    };
    let access: Vec<Value> = scopes
        .iter()
        .flat_map(|scopes| scopes.split(' '))
        .filter_map(|scope| {
            let mut parts = scope.splitn(3, ':');
            let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
            let may = |action: &&str| known || *action == "pull";
            let actions: Vec<&str> = actions.split(',').filter(may).collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let token = signer.sign(&json!({
        "iss": "testkit", "sub": USER, "aud": "testkit", "jti": format!("{now}"),
        "iat": now, "nbf": now - 10, "exp": now + seconds, "access": access,
    }));
    let mut answer = json!({"token": token, "expires_in": seconds});
    if asked.parameters("offline_token") == ["true"] && known {
        answer["refresh_token"] = IDENTITY.into();
    }
    wire.answer("200 OK", &[], answer.to_string());
}
