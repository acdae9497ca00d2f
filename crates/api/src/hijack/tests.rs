use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth_wire::ApiVersion;
use berth_wire::stdcopy::Stream::{Stderr, Stdout};
use http::HeaderValue;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::stream::Stream;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it took too long")
}

/// Output that a test sends.
struct FromTest(mpsc::Receiver<Chunk>);

impl Source for FromTest {
    async fn next(&mut self) -> Option<Chunk> {
        self.0.recv().await
    }
}

/// What reached the process.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Bytes(Vec<u8>),
    Eof,
}

/// Input that a test receives; some words mean something.
struct ToTest(mpsc::Sender<Got>);

impl Sink for ToTest {
    async fn write(&mut self, bytes: Bytes) -> Flow {
        let flow = match &bytes[..] {
            b"detach" => Flow::Detached,
            b"enough" => Flow::Closed,
            _ => Flow::Continue,
        };
        if self.0.send(Got::Bytes(bytes.to_vec())).await.is_err() {
            return Flow::Closed;
        }
        flow
    }

    async fn close(self) {
        let _ = self.0.send(Got::Eof).await;
    }
}

struct Running {
    client: UnixStream,
    output: mpsc::Sender<Chunk>,
    input: mpsc::Receiver<Got>,
    cancel: CancellationToken,
    session: JoinHandle<()>,
}

fn run(framing: Framing, ahead: &'static [u8], ends_with_output: bool) -> Running {
    let (client, server) = UnixStream::pair().unwrap();
    let (output, from_test) = mpsc::channel(1);
    let (to_test, input) = mpsc::channel(16);
    let cancel = CancellationToken::new();
    let session = tokio::spawn(session(
        Raw::new(Bytes::from_static(ahead), Stream::Unix(server)),
        framing,
        FromTest(from_test),
        Some(ToTest(to_test)),
        ends_with_output,
        cancel.clone(),
    ));
    Running {
        client,
        output,
        input,
        cancel,
        session,
    }
}

fn chunk(stream: berth_wire::stdcopy::Stream, text: &'static str) -> Chunk {
    Chunk {
        stream,
        bytes: Bytes::from_static(text.as_bytes()),
    }
}

/// Reads what the client still gets; the end of it must come.
async fn rest(client: &mut UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    soon(client.read_to_end(&mut all)).await.unwrap();
    all
}

#[test]
fn the_head_tells_what_follows() {
    let head = |upgrade: bool, tty: bool, minor: u16| {
        let mut headers = HeaderMap::new();
        if upgrade {
            headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
        }
        String::from_utf8(head(&headers, tty, ApiVersion::new(1, minor)).to_vec()).unwrap()
    };
    let framed = head(true, false, 42);
    assert!(
        framed.starts_with(
            "HTTP/1.1 101 UPGRADED\r\n\
             Content-Type: application/vnd.docker.multiplexed-stream\r\n\
             Connection: Upgrade\r\nUpgrade: tcp\r\n"
        ),
        "{framed}"
    );
    assert!(framed.ends_with("\r\n\r\n"), "{framed}");
    let raw = "Content-Type: application/vnd.docker.raw-stream\r\n";
    for (upgrade, tty, minor) in [(true, true, 55), (true, false, 41), (false, false, 55)] {
        assert!(
            head(upgrade, tty, minor).contains(raw),
            "{upgrade} {tty} {minor}"
        );
    }
    let legacy = head(false, false, 55);
    assert!(legacy.starts_with("HTTP/1.1 200 OK\r\n"), "{legacy}");
    assert!(!legacy.contains("Upgrade"), "{legacy}");
}

#[tokio::test]
async fn output_is_framed_and_its_end_ends_the_session() {
    let mut s = run(Framing::Multiplexed, b"", true);
    s.output.send(chunk(Stdout, "out")).await.unwrap();
    s.output.send(chunk(Stderr, "err!")).await.unwrap();
    drop(s.output);
    assert_eq!(
        rest(&mut s.client).await,
        b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x04err!"
    );
    drop(s.client);
    soon(s.session).await.unwrap();
}

#[tokio::test]
async fn a_terminals_output_is_not_framed() {
    let mut s = run(Framing::Raw, b"", true);
    s.output.send(chunk(Stdout, "out")).await.unwrap();
    drop(s.output);
    assert_eq!(rest(&mut s.client).await, b"out");
}

#[tokio::test]
async fn the_clients_half_close_ends_the_input_only() {
    let mut s = run(Framing::Raw, b"read ahead, ", true);
    s.client.write_all(b"and after").await.unwrap();
    s.client.shutdown().await.unwrap();
    let mut all = Vec::new();
    while let Got::Bytes(bytes) = soon(s.input.recv()).await.unwrap() {
        all.extend(bytes);
    }
    assert_eq!(all, b"read ahead, and after");
    s.output.send(chunk(Stdout, "still here")).await.unwrap();
    drop(s.output);
    assert_eq!(rest(&mut s.client).await, b"still here");
}

#[tokio::test]
async fn detach_keys_close_the_connection_while_the_process_goes_on() {
    let mut s = run(Framing::Raw, b"", true);
    s.client.write_all(b"detach").await.unwrap();
    assert_eq!(rest(&mut s.client).await, b"");
    drop(s.client);
    soon(s.session).await.unwrap();
    // The session let go of the output.
    soon(s.output.closed()).await;
}

#[tokio::test]
async fn a_client_that_is_gone_ends_both_directions() {
    let mut s = run(Framing::Raw, b"", true);
    s.client.write_all(b"last words").await.unwrap();
    drop(s.client);
    soon(s.session).await.unwrap();
    // What it had sent before was passed on.
    assert_eq!(
        soon(s.input.recv()).await,
        Some(Got::Bytes(b"last words".to_vec()))
    );
    soon(s.output.closed()).await;
}

#[tokio::test]
async fn input_that_nobody_takes_does_not_hold_the_client_up() {
    let mut s = run(Framing::Raw, b"", true);
    s.client.write_all(b"enough").await.unwrap();
    assert_eq!(
        soon(s.input.recv()).await,
        Some(Got::Bytes(b"enough".to_vec()))
    );
    assert_eq!(soon(s.input.recv()).await, None);
    // Far more than the socket holds.
    soon(s.client.write_all(&vec![b'x'; 4 << 20]))
        .await
        .unwrap();
    s.output.send(chunk(Stdout, "ok")).await.unwrap();
    drop(s.output);
    assert_eq!(rest(&mut s.client).await, b"ok");
}

#[tokio::test]
async fn without_output_the_session_lasts_as_long_as_the_input() {
    let mut s = run(Framing::Raw, b"", false);
    drop(s.output);
    s.client.write_all(b"more").await.unwrap();
    assert_eq!(
        soon(s.input.recv()).await,
        Some(Got::Bytes(b"more".to_vec()))
    );
    s.client.shutdown().await.unwrap();
    assert_eq!(soon(s.input.recv()).await, Some(Got::Eof));
    assert_eq!(rest(&mut s.client).await, b"");

    // A process that reads no more ends it, too.
    let mut s = run(Framing::Raw, b"", false);
    drop(s.output);
    s.client.write_all(b"enough").await.unwrap();
    assert_eq!(rest(&mut s.client).await, b"");
}

#[tokio::test]
async fn the_servers_end_ends_the_session() {
    let mut s = run(Framing::Raw, b"", true);
    s.cancel.cancel();
    assert_eq!(rest(&mut s.client).await, b"");
    drop(s.client);
    soon(s.session).await.unwrap();
}

/// Output without an end that counts what was taken of it.
struct Endless(Arc<AtomicUsize>);

impl Source for Endless {
    async fn next(&mut self) -> Option<Chunk> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Chunk {
            stream: Stdout,
            bytes: Bytes::from_static(&[b'x'; 16 << 10]),
        })
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_the_output() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let session = tokio::spawn(session(
        Raw::new(Bytes::new(), Stream::Unix(server)),
        Framing::Raw,
        Endless(taken.clone()),
        None::<ToTest>,
        true,
        CancellationToken::new(),
    ));
    // On this one thread the session runs until it waits; then nothing moves any more.
    let mut last = usize::MAX;
    while last != taken.load(Ordering::Relaxed) {
        last = taken.load(Ordering::Relaxed);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    let stalled = taken.load(Ordering::Relaxed);
    assert!((1..=256).contains(&stalled), "{stalled} pieces of 16 KiB");
    // And it goes on when the client reads.
    let mut piece = vec![0; 1 << 20];
    soon(client.read_exact(&mut piece)).await.unwrap();
    soon(async {
        while taken.load(Ordering::Relaxed) == stalled {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(client);
    soon(session).await.unwrap();
}
