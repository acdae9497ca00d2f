mod slow;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use arc_swap::ArcSwap;
use berth_reference::{Digest, Reference};
use futures::StreamExt;
use proptest::prelude::*;

use super::*;
use crate::auth::Challenge;
use crate::insecure::is_loopback;

/// A server that answers each request with what `answer` makes of its head.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    converse(move |head, stream| {
        let _ = stream.write_all(&answer(head));
    })
}

/// A server that has `answer` write to each client, whose request's head it gets.
fn converse(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                if let Some(head) = head(&mut stream) {
                    answer(&head, &mut stream);
                }
            });
        }
    });
    address
}

/// The head of a request; `None` for a TLS hello, which is none.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) if head.is_empty() && byte[0] == 0x16 => return None,
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn registry(rules: Rules) -> Registry {
    let rules = Arc::new(rules);
    Registry::new("test", move || rules.clone())
}

fn repository(address: SocketAddr, auth: Option<Credentials>) -> Repository {
    let reference = Reference::parse(&format!("{address}/app:1")).unwrap();
    registry(Rules::default()).repository(&reference, auth)
}

#[test]
fn loopback_hosts() {
    for host in [
        "localhost",
        "localhost:5000",
        "127.0.0.1",
        "127.9.9.9:1",
        "[::1]:5",
        "::1",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "docker.io",
        "localhost.example",
        "128.0.0.1:5000",
        "127.0.0.1.nip.io",
        "[::2]",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
}

#[test]
fn challenges() {
    let c = Challenge::parse(
        r#"Bearer realm="https://auth.example/token",service="a \"b\"",scope="repository:x:pull,push""#,
    );
    assert_eq!(c.scheme, "bearer");
    assert_eq!(c.parameters[0].1, "https://auth.example/token");
    assert_eq!(
        c.parameters[1],
        ("service".to_owned(), "a \"b\"".to_owned())
    );
    assert_eq!(c.parameters[2].1, "repository:x:pull,push");
    assert_eq!(Challenge::parse("Basic realm=x").parameters[0].1, "x");
}

proptest! {
    #[test]
    fn challenge_parsing_never_fails(header in "\\PC{0,100}") {
        Challenge::parse(&header);
    }
}

#[tokio::test]
async fn refused_connections_read_as_dockerds_do() {
    let reference = Reference::parse("127.0.0.1:9/none:1").unwrap();
    let error = registry(Rules::default())
        .repository(&reference, None)
        .manifest("1")
        .await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "Get \"http://127.0.0.1:9/v2/\": dial tcp 127.0.0.1:9: connect: connection refused"
    );
}

#[tokio::test]
async fn missing_and_denied() {
    let at = serve(|_| {
        response(
            "404 Not Found",
            "",
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
        )
    });
    let error = repository(at, None).manifest("1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("manifest for {at}/app:1 not found: manifest unknown: manifest unknown")
    );
    let at = serve(|_| {
        let body = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#;
        response("404 Not Found", "", body)
    });
    let error = repository(at, None).manifest("1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "repository {at}/app not found: name unknown: repository name not known to registry"
        )
    );
    let at = serve(|_| {
        response(
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"x\"\r\n",
            "",
        )
    });
    let error = repository(at, None).manifest("1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "pull access denied for {at}/app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
        )
    );
}

#[tokio::test]
async fn a_bearer_token_is_fetched_once_with_the_credentials() {
    let tokens = serve(|head| {
        assert!(head.contains("scope=repository%3Aapp%3Apull"), "{head}");
        assert!(
            head.to_lowercase().contains("authorization: basic dtpw"),
            "{head}"
        );
        response("200 OK", "", r#"{"token":"T0K"}"#)
    });
    let at = serve(move |head| {
        if head.to_lowercase().contains("authorization: bearer t0k") {
            return response("200 OK", "content-type: application/x; a=b\r\n", "{}");
        }
        let challenge =
            format!("www-authenticate: Bearer realm=\"http://{tokens}/t\",service=\"s\"\r\n");
        response("401 Unauthorized", &challenge, "")
    });
    let auth = Credentials {
        username: "u".into(),
        password: "p".into(),
        ..Credentials::default()
    };
    assert_eq!(format!("{auth:?}"), "Credentials(…)");
    let repository = repository(at, Some(auth));
    let manifest = repository.manifest("1").await.unwrap();
    assert_eq!(manifest.media_type, "application/x");
    assert_eq!(manifest.digest, Digest::of(b"{}"));
    assert!(!format!("{repository:?}").contains("T0K"));
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let elsewhere = serve(|head| {
        let leaked = head.to_lowercase().contains("authorization");
        response("200 OK", "", if leaked { "leaked" } else { "clean" })
    });
    let at = serve(move |head| {
        if head.to_lowercase().contains("authorization: basic") {
            return response(
                "307 Moved",
                &format!("location: http://{elsewhere}/x\r\n"),
                "",
            );
        }
        response(
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"x\"\r\n",
            "",
        )
    });
    let auth = Credentials {
        username: "u".into(),
        password: "p".into(),
        ..Credentials::default()
    };
    let blob = repository(at, Some(auth))
        .blob(&Digest::of(b"x"), 0)
        .await
        .unwrap();
    let parts: Vec<_> = blob.stream.map(|part| part.unwrap()).collect().await;
    assert_eq!(parts.concat(), b"clean");
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_refused() {
    let at = serve(|_| response("200 OK", "", "{}"));
    let error = repository(at, None)
        .manifest(Digest::of(b"other").as_str())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[tokio::test]
async fn ranges_are_asked_for_and_may_be_ignored() {
    let answers = |range: &'static str| {
        serve(move |head| {
            if head.to_lowercase().contains("range: bytes=2-") && head.contains("/app/blobs/") {
                return response("206 Partial Content", range, "cd");
            }
            response("200 OK", "", "abcd")
        })
    };
    let digest = Digest::of(b"abcd");
    for (range, begins) in [
        ("content-range: bytes 2-3/4\r\n", 2),
        ("content-range: bytes 1-3/*\r\n", 1),
        ("", 2),
    ] {
        let repository = repository(answers(range), None);
        assert_eq!(repository.blob(&digest, 2).await.unwrap().offset, begins);
        assert_eq!(repository.blob(&digest, 0).await.unwrap().offset, 0);
    }
    for range in [
        "content-range: bytes 3-3/4\r\n",
        "content-range: bytes 99999999999999999999-3/4\r\n",
        "content-range: bytes */4\r\n",
        "content-range: lines 2-3/4\r\n",
    ] {
        let repository = repository(answers(range), None);
        let error = repository.blob(&digest, 2).await.unwrap_err().to_string();
        let words = "unhandled content range in response: ";
        assert!(error.starts_with(words), "{error}");
    }
}

#[tokio::test]
async fn refused_credentials_are_told_apart_from_missing_ones() {
    let at = serve(|_| {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        let challenge = "www-authenticate: Basic realm=\"x\"\r\n";
        response("401 Unauthorized", challenge, body)
    });
    let auth = Credentials {
        username: "u".into(),
        password: "wrong".into(),
        ..Credentials::default()
    };
    let error = repository(at, Some(auth)).manifest("1").await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert!(matches!(error, Error::Unauthorized(_)));
}

#[tokio::test]
async fn a_loopback_registry_cannot_send_us_to_plain_or_unproven_hosts() {
    // `.invalid` never resolves: that the lookup is tried shows which client took over.
    let at = serve(|_| response("307 Moved", "location: https://blobs.invalid/x\r\n", ""));
    let error = repository(at, None)
        .blob(&Digest::of(b"x"), 0)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("https://blobs.invalid/x"),
        "{error}"
    );
}

#[tokio::test]
async fn an_identity_token_is_traded_for_an_access_token() {
    let tokens = serve(|head| {
        assert!(head.starts_with("POST /t "), "{head}");
        response("200 OK", "", r#"{"access_token":"T0K"}"#)
    });
    let at = serve(move |head| {
        if head.to_lowercase().contains("authorization: bearer t0k") {
            return response("200 OK", "", "{}");
        }
        let challenge = format!("www-authenticate: Bearer realm=\"http://{tokens}/t\"\r\n");
        response("401 Unauthorized", &challenge, "")
    });
    let auth = Credentials {
        identity_token: "refresh".into(),
        ..Credentials::default()
    };
    repository(at, Some(auth)).manifest("1").await.unwrap();
}

#[tokio::test]
async fn credentials_are_not_sent_to_a_token_server_in_the_clear() {
    let at = serve(|_| {
        let challenge = "www-authenticate: Bearer realm=\"http://tokens.invalid/t\"\r\n";
        response("401 Unauthorized", challenge, "")
    });
    let error = repository(at, None).manifest("1").await.unwrap_err();
    assert!(error.to_string().ends_with("is not HTTPS"), "{error}");
}

fn rules(mirrors: &[String]) -> Rules {
    let mirrors = mirrors.to_vec();
    Rules::new(Settings {
        mirrors,
        ..Settings::default()
    })
    .unwrap()
}

/// A conversation about `busybox:1` on Docker Hub, by these mirrors.
fn by_mirrors(mirrors: &[SocketAddr]) -> Repository {
    let mirrors: Vec<_> = mirrors
        .iter()
        .map(|at| format!("http://{at}/cache/"))
        .collect();
    let registry = registry(rules(&mirrors));
    let reference = Reference::parse("busybox:1").unwrap();
    let auth = Credentials {
        username: "u".into(),
        password: "secret".into(),
        ..Credentials::default()
    };
    registry.repository(&reference, Some(auth))
}

#[tokio::test]
async fn docker_hub_is_asked_by_its_mirrors_first_and_without_credentials() {
    let has = serve(|head| {
        assert!(
            head.starts_with("GET /cache/v2/library/busybox/manifests/1 "),
            "{head}"
        );
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
        response("200 OK", "", "{}")
    });
    let lacks = serve(|_| response("404 Not Found", "", ""));
    let gone = SocketAddr::from(([127, 0, 0, 1], 9));
    let repository = by_mirrors(&[gone, lacks, has]);
    assert_eq!(&repository.manifest("1").await.unwrap().data[..], b"{}");
    // Other registries have none.
    let registry = registry(rules(&[format!("http://{has}")]));
    let reference = Reference::parse(&format!("{lacks}/app:1")).unwrap();
    let error = registry
        .repository(&reference, None)
        .manifest("1")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ManifestUnknown { .. }), "{error}");
}

#[tokio::test]
async fn a_conversation_keeps_the_rules_that_it_began_with() {
    let has = serve(|_| response("200 OK", "", "{}"));
    let live = Arc::new(ArcSwap::from_pointee(rules(&[format!("http://{has}")])));
    let source = Arc::clone(&live);
    let registry = Registry::new("test", move || source.load_full());
    let reference = Reference::parse("busybox:1").unwrap();
    let before = registry.repository(&reference, None);
    let gone = ["http://127.0.0.1:9".to_owned()];
    live.store(Arc::new(rules(&gone)));
    before.manifest("1").await.unwrap();
    let after = registry.repository(&reference, None);
    after.manifest("1").await.unwrap_err();
    let settings = Settings {
        mirrors: vec!["nonsense".to_owned()],
        ..Settings::default()
    };
    Rules::new(settings).unwrap_err();
}
