//! Registries that drip, against limits that a test can wait for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};

use super::*;
use crate::limits::Limits;

/// How long a byte may be the only one.
const DROP: Duration = Duration::from_millis(5);

/// Of what is to be over it.
const SHORT: Duration = Duration::from_millis(300);
/// Of what is not, on a machine that has much else to do.
const AMPLE: Duration = Duration::from_secs(3);

fn limits(limit: Duration) -> Limits {
    Limits {
        answer: limit,
        settle: limit,
        list: limit,
        silence: limit,
        pace: limit,
        piece: 64 << 10,
    }
}

fn limited(limits: Limits) -> Registry {
    let mut rules = rules(&[]);
    rules.limits = limits;
    registry(rules)
}

fn hurried() -> Registry {
    limited(limits(SHORT))
}

/// The first words of each answer have time to come.
fn attentive() -> Registry {
    let answer = AMPLE;
    limited(Limits {
        answer,
        ..limits(SHORT)
    })
}

fn named(at: SocketAddr) -> Reference {
    Reference::parse(&format!("{at}/app:1")).unwrap()
}

/// Writes `first`, then a byte again and again for as long as the client stays.
fn drip(stream: &mut TcpStream, first: &str) {
    let mut left = stream.write_all(first.as_bytes()).is_ok();
    while left {
        std::thread::sleep(DROP);
        left = stream.write_all(b"1").is_ok();
    }
}

/// An answer that is never whole.
fn endless(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 1000000\r\n\r\n")
}

/// An answer must have come by then.
async fn soon<T>(what: &str, question: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(Duration::from_secs(10), question).await;
    answer.unwrap_or_else(|_| panic!("{what} takes for ever"))
}

/// It fails in time, because of the time.
async fn too_long<T: std::fmt::Debug>(what: &str, question: impl Future<Output = Result<T>>) {
    match soon(what, question).await {
        Err(Error::Transport { timeout: true, .. }) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn answers_that_drip_are_given_up() {
    for head in ["HTTP/1.1 200 OK\r\nx-long: ".to_owned(), endless("200 OK")] {
        let at = converse(move |_, stream| drip(stream, &head));
        let (registry, digest) = (hurried(), Digest::of(b"x"));
        let repository = registry.repository(&named(at), None);
        too_long("manifest", repository.manifest("1")).await;
        too_long("small blob", repository.small_blob(&digest, 1 << 20)).await;
        let blob = async { all(repository.blob(&digest, 0).await?.stream).await };
        too_long("blob", blob).await;
        let address = format!("http://{at}/x");
        let import = async { all(registry.download(&address).await?.stream).await };
        too_long("import", import).await;
        let term = format!("{at}/x");
        too_long("search", registry.search(&term, 1, None)).await;
    }
}

async fn all(parts: impl Stream<Item = Result<Bytes>>) -> Result<Vec<Bytes>> {
    parts.try_collect().await
}

#[tokio::test]
async fn a_token_server_that_drips_is_given_up() {
    let tokens = converse(|_, stream| drip(stream, &endless("200 OK")));
    let at = serve(move |_| {
        let challenge = format!("www-authenticate: Bearer realm=\"http://{tokens}/t\"\r\n");
        response("401 Unauthorized", &challenge, "")
    });
    let repository = hurried().repository(&named(at), None);
    too_long("token", repository.manifest("1")).await;
}

#[tokio::test]
async fn a_refusal_that_drips_is_a_refusal() {
    let at = converse(|_, stream| drip(stream, &endless("503 Service Unavailable")));
    let repository = attentive().repository(&named(at), None);
    let found = soon("a refusal", repository.blob(&Digest::of(b"x"), 0)).await;
    let error = found.unwrap_err();
    assert!(matches!(error, Error::Server { .. }), "{error}");
}

#[tokio::test]
async fn a_list_of_tags_without_an_end_is_given_up() {
    let at = serve(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let next = "link: </v2/app/tags/list?last=x>; rel=\"next\"\r\n";
        response("200 OK", next, r#"{"tags":["x"]}"#)
    });
    let repository = attentive().repository(&named(at), None);
    let error = soon("a list of tags", repository.tags()).await.unwrap_err();
    assert!(error.to_string().contains("takes too long"), "{error}");
}

/// A registry that takes an upload of `size` bytes, this many each time that a while has passed.
fn taking(size: usize, step: usize, answers: bool) -> SocketAddr {
    converse(move |head, stream| {
        if head.starts_with("POST") {
            let begun = response("202 Accepted", "location: /v2/app/blobs/uploads/1\r\n", "");
            let _ = stream.write_all(&begun);
            return;
        }
        let (mut got, mut buffer) = (0, vec![0; step]);
        while got < size {
            std::thread::sleep(Duration::from_millis(50));
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => got += n,
                _ => return,
            }
        }
        match answers {
            true => drop(stream.write_all(&response("201 Created", "", ""))),
            false => drip(stream, "HTTP/1.1 201 Created\r\nx-long: "),
        }
    })
}

async fn upload(limit: Duration, at: SocketAddr, size: usize) -> Result<()> {
    let target = limited(limits(limit)).target(&named(at), None, &[]);
    let begun = target.begin().await?;
    let parts = size.div_ceil(1 << 20);
    let content = stream::iter((0..parts).map(move |n| {
        let part = (size - (n << 20)).min(1 << 20);
        Ok(Bytes::from(vec![0; part]))
    }));
    target
        .send(begun, &Digest::of(b"x"), size as u64, content)
        .await
}

#[tokio::test]
async fn an_upload_takes_as_long_as_it_takes() {
    let (size, limit) = (48 << 20, AMPLE / 3);
    let begun = Instant::now();
    let whole = upload(limit, taking(size, 1 << 20, true), size);
    whole.await.unwrap();
    assert!(begun.elapsed() > 2 * limit, "{:?}", begun.elapsed());
    too_long("all of it", upload(SHORT, taking(size, 1, true), size)).await;
    too_long("answer", upload(SHORT, taking(100, 100, false), 100)).await;
}
