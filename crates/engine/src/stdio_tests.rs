//! Runs and their clients: who sees which run, and who is never left waiting.

use std::time::Duration;

use berth_ctrd::{Client, Endpoint, FifoSet};
use futures::FutureExt;
use tokio::net::unix::pipe;

use super::*;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// For clients that keep up.
fn spool() -> Arc<Spool> {
    Spool::new("/nonexistent".into())
}

/// A process of a containerd that nobody runs.
fn process() -> Process {
    let endpoint = Endpoint {
        socket: "/nonexistent/containerd.sock".into(),
        namespace: "t".into(),
    };
    let client = Client::new(endpoint).expect("client");
    (*client.container("c").task(1)).clone()
}

fn begin(hub: &Arc<Hub>, directory: &std::path::Path, stdin: bool) -> (Session, pipe::Sender) {
    let streams = FifoSet::new(directory, "init", stdin, true)
        .create()
        .expect("FIFOs");
    let shim = pipe::OpenOptions::new()
        .open_sender(directory.join("init-stdout"))
        .expect("shim");
    let mut session = hub.begin(streams, process(), None);
    session.listen();
    (session, shim)
}

#[tokio::test]
async fn who_attaches_after_the_end_of_a_run_sees_the_next() {
    let directory = tempfile::tempdir().expect("directory");
    let hub = Hub::new();
    let (mut early, _keys) = hub.attach(&spool(), true, true);
    let (session, mut shim) = begin(&hub, directory.path(), false);
    // The end is known, but the last words are still to come.
    hub.seal();
    let (mut late, _keys) = hub.attach(&spool(), true, true);
    shim.write_all(b"last words").await.expect("written");
    drop(shim);
    assert_eq!(soon(session.finish()).await, Vec::<String>::new());
    assert_eq!(soon(early.recv()).await.expect("chunk").bytes, "last words");
    assert!(soon(early.recv()).await.is_none());
    assert!(late.recv().now_or_never().is_none());

    let (session, mut shim) = begin(&hub, directory.path(), false);
    shim.write_all(b"again").await.expect("written");
    drop(shim);
    soon(session.finish()).await;
    assert_eq!(soon(late.recv()).await.expect("chunk").bytes, "again");
    assert!(soon(late.recv()).await.is_none());
}

#[tokio::test]
async fn what_is_typed_for_the_next_run_is_not_swallowed_by_the_last() {
    let directory = tempfile::tempdir().expect("directory");
    let hub = Hub::new();
    let (_output, old) = hub.attach(&spool(), false, false);
    let (session, shim) = begin(&hub, directory.path(), true);
    hub.seal();
    let (_output, new) = hub.attach(&spool(), false, false);
    assert!(soon(new.write(Bytes::from("typed early"))).await);
    drop(shim);
    soon(session.finish()).await;
    // The feed of the last run is gone, and who types into it learns that.
    soon(async {
        while old.write(Bytes::from("x")).await {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let (session, shim) = begin(&hub, directory.path(), true);
    let stdin = pipe::OpenOptions::new().open_receiver(directory.path().join("init-stdin"));
    let stdin = stdin.expect("stdin");
    let mut got = BytesMut::new();
    soon(async {
        while got.is_empty() {
            stdin.readable().await.expect("readable");
            let _ = stdin.try_read_buf(&mut got);
        }
    })
    .await;
    assert_eq!(got, "typed early");
    drop(shim);
    soon(session.finish()).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_and_misses_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let spool = Spool::new(directory.path().join("made-when-needed"));
    let hub = Hub::new();
    let (mut stuck, _keys) = hub.attach(&spool, true, true);
    let (mut other, _keys) = hub.attach(&spool, true, true);
    let text = "x".repeat(READ);
    let mut lines = 0;
    for number in 0..200 {
        let bytes = Bytes::from(format!("{number:03}{text}"));
        let stream = Stream::Stdout;
        soon(hub.deliver(0, Chunk { stream, bytes })).await;
        // Who keeps up has it at once.
        let got = soon(other.recv()).await.expect("chunk").bytes;
        assert!(got.starts_with(format!("{number:03}").as_bytes()));
    }
    hub.end();
    let mut all = Vec::new();
    while let Some(chunk) = soon(stuck.recv()).await {
        all.extend_from_slice(&chunk.bytes);
    }
    for piece in all.chunks(READ + 3) {
        assert!(piece.starts_with(format!("{lines:03}x").as_bytes()));
        lines += 1;
    }
    assert_eq!((lines, all.len()), (200, 200 * (READ + 3)));
}

#[tokio::test]
async fn nobody_waits_at_a_container_that_is_gone() {
    let hub = Hub::new();
    let (mut before, _keys) = hub.attach(&spool(), true, true);
    hub.close();
    let (mut after, _keys) = hub.attach(&spool(), true, true);
    assert!(soon(before.recv()).await.is_none());
    assert!(soon(after.recv()).await.is_none());
}
