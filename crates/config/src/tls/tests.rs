use std::process::Command;

use super::*;
use crate::{Facts, Live};

/// Makes `<name>.pem` and `<name>-key.pem` in `dir`: a certificate of its own CA.
fn make(dir: &Path, name: &str) {
    let path = |end: &str| dir.join(format!("{name}{end}.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(path("-key"))
        .arg("-out")
        .arg(path(""))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn config(dir: &Path, cert: &str, key: &str) -> Config {
    Config {
        tls: Some(true),
        tlscacert: dir.join("a.pem"),
        tlscert: dir.join(cert),
        tlskey: dir.join(key),
        hosts: vec!["tcp://127.0.0.1".into()],
        ..Config::default()
    }
}

#[test]
fn certificates_are_read_and_clients_verified_unless_said() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), "a");
    let user = config(dir.path(), "a.pem", "a-key.pem");
    let live = Live::derive(user.clone(), Facts::default()).unwrap();
    assert!(
        live.tls.as_ref().unwrap().verify,
        "as dockerd: tls alone verifies"
    );
    assert_eq!(live.hosts[0].to_string(), "tcp://127.0.0.1:2376");
    let load = |tls, tlsverify| {
        let user = Config {
            tls,
            tlsverify,
            ..user.clone()
        };
        Tls::load(&user).unwrap()
    };
    // To say anything of `tlsverify` turns TLS on.
    assert!(!load(None, Some(false)).unwrap().verify);
    assert!(load(Some(false), Some(true)).unwrap().verify);
    assert_eq!(load(None, None), None);
    assert_eq!(load(Some(false), None), None);
}

#[test]
fn new_content_is_another_value() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), "a");
    let user = config(dir.path(), "a.pem", "a-key.pem");
    let before = Tls::load(&user).unwrap().unwrap();
    assert_eq!(Tls::load(&user).unwrap().unwrap(), before);
    make(dir.path(), "a");
    let after = Tls::load(&user).unwrap().unwrap();
    assert_ne!(after, before);
    assert!(!after.same_content(&before, "tlscert"));
    assert!(after.same_content(&before, "debug"));
}

#[test]
fn bad_certificates_are_told_without_the_key() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        make(dir.path(), name);
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(dir.path().join("bad.pem"), broken).unwrap();
    std::fs::write(dir.path().join("none.pem"), "secret").unwrap();
    let message = |user: &Config| {
        let message = Tls::load(user).unwrap_err().to_string();
        assert!(
            message.starts_with("invalid TLS configuration: "),
            "{message}"
        );
        assert!(
            !message.contains("secret") && !message.contains('\n'),
            "{message}"
        );
        message
    };
    for (cert, key, why) in [
        ("gone.pem", "a-key.pem", "could not read certificate"),
        ("a.pem", "gone.pem", "could not read key"),
        ("a.pem", "none.pem", "could not load X509 key pair"),
        ("none.pem", "a-key.pem", "no certificate in PEM form"),
        ("bad.pem", "a-key.pem", "could not load X509 key pair"),
        // Each is fine; they do not belong together.
        ("a.pem", "b-key.pem", "could not load X509 key pair"),
    ] {
        let message = message(&config(dir.path(), cert, key));
        assert!(message.contains(why), "{message}");
    }
    let mut user = config(dir.path(), "a.pem", "a-key.pem");
    user.tlscacert = dir.path().join("bad.pem");
    assert!(message(&user).contains("failed to append certificates from PEM file"));
    user.tlscacert = Default::default();
    assert!(message(&user).ends_with("no CA certificate is configured"));
    let shown = format!("{:?}", Tls::load(&config(dir.path(), "a.pem", "a-key.pem")));
    assert!(shown.len() < 60, "{shown}");
}
