//! TLS on a TCP socket, with the docker CLI as the client.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;

use std::path::Path;
use std::process::{Command, Output};

use daemon::Daemon;

fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words}: {output:?}");
}

/// A CA `ca.pem`, and of it `server.pem` for the daemon and `client.pem`, with their `-key.pem`.
fn certificates(dir: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        dir,
        &format!("req -x509 {key} -days 2 -subj /CN=ca -keyout ca-key.pem -out ca.pem"),
    );
    issue(
        dir,
        "server",
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
    );
    issue(dir, "client", "extendedKeyUsage=clientAuth\n");
}

fn issue(dir: &Path, name: &str, extensions: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(dir.join("extensions"), extensions).unwrap();
    openssl(
        dir,
        &format!("req -new {key} -subj /CN={name} -keyout {name}-key.pem -out {name}.csr"),
    );
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ),
    );
}

/// A daemon that speaks TLS at `tcp://127.0.0.1` and its default port.
fn start(mode: &str) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let text = format!(
        r#"{{"tlscacert": "{0}/ca.pem", "tlscert": "{0}/server.pem", "tlskey": "{0}/server-key.pem"}}"#,
        dir.path().display()
    );
    std::fs::write(dir.path().join("daemon.json"), text).unwrap();
    let under = ["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    Daemon::start_in(dir, &under, &["-H", "tcp://127.0.0.1", mode])
}

/// Asks for the API version, as a client with this certificate, or none.
fn ask(daemon: &Daemon, client: Option<&str>) -> Output {
    let path = |name: String| daemon.path(&name).display().to_string();
    let ca = path("ca.pem".to_owned());
    let mut flags = vec![
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        "--tlscacert",
        &ca,
    ];
    let (cert, key);
    if let Some(name) = client {
        cert = path(format!("{name}.pem"));
        key = path(format!("{name}-key.pem"));
        flags.extend(["--tlscert", &cert, "--tlskey", &key]);
    }
    daemon.docker_at(&flags, &["version", "--format", "{{.Server.Os}}"])
}

fn is_let_in(output: &Output) -> bool {
    output.status.success() && output.stdout == b"linux\n"
}

#[test]
fn clients_need_a_certificate_of_the_ca() {
    let daemon = start("--tlsverify");
    let output = ask(&daemon, Some("client"));
    assert!(is_let_in(&output), "{output:?}\n{}", daemon.log());
    // A stream in both directions, too.
    let events = ask(&daemon, Some("client"));
    assert!(is_let_in(&events));
    assert!(
        !ask(&daemon, None).status.success(),
        "no certificate is needed"
    );
    // A server's is no client's, nor is one of another CA.
    assert!(!ask(&daemon, Some("server")).status.success());
    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    for name in ["client.pem", "client-key.pem"] {
        std::fs::copy(
            other.path().join(name),
            daemon.path(&format!("other-{name}")),
        )
        .unwrap();
    }
    std::fs::rename(
        daemon.path("other-client-key.pem"),
        daemon.path("other-key.pem"),
    )
    .unwrap();
    std::fs::rename(daemon.path("other-client.pem"), daemon.path("other.pem")).unwrap();
    assert!(!ask(&daemon, Some("other")).status.success());
    // Who speaks no TLS is told so.
    let plain = daemon.docker_at(&["-H", "tcp://127.0.0.1:2376"], &["version"]);
    let said = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(
        said.contains("Client sent an HTTP request to an HTTPS server"),
        "{said}"
    );
    assert!(
        !daemon.log().contains("API is accessible on"),
        "{}",
        daemon.log()
    );
}

#[test]
fn without_verification_any_client_may() {
    let daemon = start("--tlsverify=false");
    let output = ask(&daemon, None);
    assert!(is_let_in(&output), "{output:?}\n{}", daemon.log());
    assert!(daemon.log().contains("without client verification"));
}

#[test]
fn certificates_are_live() {
    let daemon = start("--tls");
    assert!(is_let_in(&ask(&daemon, Some("client"))));
    // All of another CA: for the old client's certificate there is no way in any more.
    for name in ["client.pem", "client-key.pem"] {
        std::fs::copy(
            daemon.path(name),
            daemon.path(&name.replace("client", "old")),
        )
        .unwrap();
    }
    certificates(daemon.dir.path());
    assert!(
        !is_let_in(&ask(&daemon, Some("client"))),
        "before the reload the old ones hold"
    );
    let (code, out, err) = daemon.config(&["reload"]);
    assert_eq!(code, Some(0), "{err}");
    let applied = out
        .lines()
        .filter(|line| line.contains(" applied ") && line.ends_with("(new content)"));
    assert_eq!(applied.count(), 3, "{out}");
    let output = ask(&daemon, Some("client"));
    assert!(is_let_in(&output), "{output:?}\n{}", daemon.log());
    assert!(!is_let_in(&ask(&daemon, Some("old"))));
    // A bad certificate changes nothing.
    std::fs::write(daemon.path("server.pem"), "none").unwrap();
    let (code, _, err) = daemon.config(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("invalid TLS configuration: could not load X509 key pair"),
        "{err}"
    );
    assert!(is_let_in(&ask(&daemon, Some("client"))));
}
