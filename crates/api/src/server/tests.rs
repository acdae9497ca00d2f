use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::Error;
use crate::listener::Arrival;
use crate::stream::Stream;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it took too long")
}

struct Server {
    _folder: tempfile::TempDir,
    path: PathBuf,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `answer` on a Unix socket of its own.
    fn start<F, Fut>(answer: F) -> Server
    where
        F: Fn(Request<Incoming>, Session) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(accept(listener, answer, cancel.clone()));
        Server {
            _folder: folder,
            path,
            cancel,
            task,
        }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// A connection that `request` was sent on.
    async fn send(&self, request: &str) -> UnixStream {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }
}

/// Reads until `end` was read.
async fn until(client: &mut UnixStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let byte = soon(client.read_u8())
            .await
            .unwrap_or_else(|e| panic!("{e} after {text:?}"));
        text.push(char::from(byte));
    }
    text
}

async fn rest(client: &mut UnixStream) -> String {
    let mut all = Vec::new();
    soon(client.read_to_end(&mut all)).await.unwrap();
    String::from_utf8(all).unwrap()
}

async fn hello(_: Request<Incoming>, _: Session) -> Response {
    reply::full(StatusCode::OK, "text/plain", "hello")
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// What tells when it is dropped.
struct Guard(Option<oneshot::Sender<()>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.take().map(|s| s.send(()));
    }
}

fn guard() -> (Arc<Mutex<Option<Guard>>>, oneshot::Receiver<()>) {
    let (sender, dropped) = oneshot::channel();
    (Arc::new(Mutex::new(Some(Guard(Some(sender))))), dropped)
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = Server::start(hello);
    let mut client = server.send(GET).await;
    let first = until(&mut client, "hello").await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(
        first.contains("\r\nContent-Type: text/plain\r\n"),
        "{first}"
    );
    client.write_all(GET.as_bytes()).await.unwrap();
    until(&mut client, "hello").await;
}

#[tokio::test]
async fn tcp_is_served_like_a_unix_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(accept(Listener::Tcp(listener), hello, cancel.clone()));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut all = String::new();
    soon(client.read_to_string(&mut all)).await.unwrap();
    assert!(all.ends_with("\r\n\r\nhello"), "{all}");
    cancel.cancel();
    soon(task).await.unwrap();
}

#[tokio::test]
async fn the_head_of_a_stream_goes_out_before_anything_happens() {
    let server = Server::start(|_, _| async {
        reply::stream("a/b", futures::stream::pending::<io::Result<Bytes>>())
    });
    let mut client = server.send(GET).await;
    let head = until(&mut client, "\r\n\r\n").await;
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
}

#[tokio::test]
async fn each_piece_of_a_stream_goes_out_at_once() {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let server = Server::start(move |_, _| {
        let mut receiver = receiver.lock().unwrap().take().unwrap();
        let pieces = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        async move { reply::stream("a/b", pieces) }
    });
    let mut client = server.send(GET).await;
    until(&mut client, "\r\n\r\n").await;
    for piece in ["one", "two"] {
        sender
            .send(Ok(Bytes::from_static(piece.as_bytes())))
            .await
            .unwrap();
        assert_eq!(until(&mut client, "\r\n").await, "3\r\n");
        assert_eq!(until(&mut client, "\r\n").await, format!("{piece}\r\n"));
    }
    drop(sender);
    assert_eq!(until(&mut client, "\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_handler() {
    let (held, dropped) = guard();
    let (entered, mut inside) = mpsc::channel(1);
    let server = Server::start(move |_, _| {
        let (held, entered) = (held.lock().unwrap().take(), entered.clone());
        async move {
            let _held = held;
            entered.send(()).await.unwrap();
            std::future::pending::<Response>().await
        }
    });
    let client = server.send(GET).await;
    soon(inside.recv()).await.unwrap();
    drop(client);
    soon(dropped).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_stream() {
    let (held, dropped) = guard();
    let server = Server::start(move |_, _| {
        let held = held.lock().unwrap().take();
        let stream = futures::stream::poll_fn(move |_| {
            let _ = &held;
            std::task::Poll::<Option<io::Result<Bytes>>>::Pending
        });
        async move { reply::stream("a/b", stream) }
    });
    let mut client = server.send(GET).await;
    until(&mut client, "\r\n\r\n").await;
    drop(client);
    soon(dropped).await.unwrap();
}

/// Takes the connection over and sends back, in capitals, what comes in, then `bye`.
async fn capitals(_: Request<Incoming>, session: Session) -> Response {
    session.expect_takeover();
    let never = session
        .take_over(
            Bytes::from_static(b"HTTP/1.1 101 UPGRADED\r\n\r\n"),
            |mut raw| async move {
                let mut text = Vec::new();
                raw.read_to_end(&mut text).await.unwrap();
                text.make_ascii_uppercase();
                raw.write_all(&text).await.unwrap();
                raw.write_all(b"bye").await.unwrap();
                connection::close(raw).await;
            },
        )
        .await;
    match never {}
}

const ATTACH: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn what_was_read_past_the_request_reaches_the_new_owner() {
    let server = Server::start(capitals);
    // All at one go, with the half-close at the end.
    let mut client = server.send(&format!("{ATTACH}early")).await;
    client.shutdown().await.unwrap();
    assert_eq!(
        rest(&mut client).await,
        "HTTP/1.1 101 UPGRADED\r\n\r\nEARLYbye"
    );
    // And some of it later.
    let mut client = server.send(&format!("{ATTACH}early")).await;
    until(&mut client, "\r\n\r\n").await;
    client.write_all(b" late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "EARLY LATEbye");
}

#[tokio::test]
async fn a_half_close_before_the_takeover_does_not_cancel_it() {
    let (go, wait) = oneshot::channel::<()>();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let (entered, mut inside) = mpsc::channel(1);
    let server = Server::start(move |request, session: Session| {
        let (wait, entered) = (wait.lock().unwrap().take().unwrap(), entered.clone());
        async move {
            session.expect_takeover();
            entered.send(()).await.unwrap();
            wait.await.unwrap();
            capitals(request, session).await
        }
    });
    let mut client = server.send(&format!("{ATTACH}all")).await;
    client.shutdown().await.unwrap();
    soon(inside.recv()).await.unwrap();
    go.send(()).unwrap();
    assert_eq!(
        rest(&mut client).await,
        "HTTP/1.1 101 UPGRADED\r\n\r\nALLbye"
    );
}

#[tokio::test]
async fn an_overlong_head_is_refused() {
    let server = Server::start(hello);
    let mut client = server.connect().await;
    let filler = "x".repeat(2 * connection::MAX_HEAD);
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-A: {filler}\r\n\r\n");
    // The server may stop reading before the end of it.
    let _ = client.write_all(request.as_bytes()).await;
    let answer = until(&mut client, "\r\n").await;
    assert_eq!(answer, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
}

#[tokio::test]
async fn the_end_waits_for_requests_under_way_only() {
    let (go, wait) = oneshot::channel::<()>();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let (entered, mut inside) = mpsc::channel(1);
    let server = Server::start(move |request, session| {
        let (wait, entered) = (wait.lock().unwrap().take(), entered.clone());
        async move {
            if let Some(wait) = wait {
                entered.send(()).await.unwrap();
                wait.await.unwrap();
            }
            hello(request, session).await
        }
    });
    let mut busy = server.send(GET).await;
    soon(inside.recv()).await.unwrap();
    let mut idle = server.send(GET).await;
    until(&mut idle, "hello").await;
    server.cancel.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert!(!server.task.is_finished());
    go.send(()).unwrap();
    assert!(rest(&mut busy).await.ends_with("hello"));
    drop((busy, idle));
    soon(server.task).await.unwrap();
    assert!(UnixStream::connect(&server.path).await.is_err());
}

#[tokio::test]
async fn a_handlers_panic_is_answered() {
    let server = Server::start(|_, _| async {
        let work = async { panic!("out of ideas") };
        settle(work, &Method::GET, "/x", false).await
    });
    for _ in 0..2 {
        let mut client = server.send(GET).await;
        let answer = until(&mut client, "}\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("{\"message\":\"internal error: "),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_that_connection_only() {
    let server = Server::start(|request: Request<Incoming>, session| async move {
        if request.uri().path() != "/bad" {
            return hello(request, session).await;
        }
        let stream = futures::stream::poll_fn(|_| -> std::task::Poll<Option<io::Result<Bytes>>> {
            panic!("out of ideas")
        });
        reply::stream("a/b", stream)
    });
    let mut client = server.send("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!rest(&mut client).await.contains("0\r\n\r\n"));
    let mut client = server.send(GET).await;
    until(&mut client, "hello").await;
}

/// Fails first, as without file descriptors left, then has one connection.
struct Failing(Mutex<Vec<io::Result<Stream>>>);

impl Accept for Failing {
    async fn accept(&self) -> io::Result<Arrival> {
        let next = self.0.lock().unwrap().pop();
        match next {
            Some(outcome) => outcome.map(Arrival::Ready),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn errors_of_accept_are_not_the_end() {
    let (mut client, stream) = UnixStream::pair().unwrap();
    let mut outcomes = vec![Ok(Stream::Unix(stream))];
    let errors = [rustix::io::Errno::MFILE, rustix::io::Errno::CONNABORTED];
    outcomes.extend(errors.map(|e| Err(io::Error::from(e))));
    let listener = Failing(Mutex::new(outcomes));
    let cancel = CancellationToken::new();
    let task = tokio::spawn(accept(listener, hello, cancel.clone()));
    client.write_all(GET.as_bytes()).await.unwrap();
    until(&mut client, "hello").await;
    cancel.cancel();
    soon(task).await.unwrap();
}

async fn body(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn failures_have_their_status_and_dockers_body() {
    let fail = |kind, plain| async move {
        let work = async move { Err(Error::new(kind, "no <such> \"thing\"")) };
        settle(work, &Method::GET, "/x", plain).await
    };
    use berth_errdefs::Kind;
    let response = fail(Kind::NotFound, false).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(
        body(response).await,
        "{\"message\":\"no <such> \\\"thing\\\"\"}\n"
    );
    let response = fail(Kind::InvalidArgument, true).await;
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(body(response).await, "no <such> \"thing\"\n");
    let response = fail(Kind::NotModified, false).await;
    assert_eq!(
        (response.status().as_u16(), body(response).await.as_str()),
        (304, "")
    );
}

#[tokio::test]
async fn paths_are_found_or_answered() {
    let table = Table::new();
    let found = find(&table, &Method::GET, "/v1.30/images/a/b:c/json", None);
    let Ok(found) = found else {
        panic!("not found")
    };
    assert_eq!(found.version.as_deref(), Some("1.30"));
    assert_eq!(found.params, [("name", "a/b:c".to_owned())]);
    assert!(find(&table, &Method::HEAD, "/_ping", None).is_ok());
    for (method, path) in [
        (Method::GET, "/v1.30/nonsense"),
        (Method::DELETE, "/_ping"),
        (Method::GET, "/v1.30"),
    ] {
        let Err(response) = find(&table, &method, path, None) else {
            panic!("{path}")
        };
        assert_eq!(response.status(), 404);
        assert_eq!(body(*response).await, "{\"message\":\"page not found\"}\n");
    }
    let Err(response) = find(&table, &Method::GET, "//v1.30/../info", Some("a=b")) else {
        panic!("not moved")
    };
    assert_eq!(response.status(), 301);
    assert_eq!(response.headers()["location"], "/info?a=b");
}

#[test]
fn odd_paths_are_cleaned() {
    for (path, clean) in [
        ("/info", None),
        ("/networks/", None),
        ("/", None),
        ("//info", Some("/info")),
        ("/a/./b//c/", Some("/a/b/c/")),
        ("/a/../../b", Some("/b")),
        ("info", Some("/info")),
        ("", Some("/")),
        ("/..", Some("/")),
    ] {
        assert_eq!(cleaned(path).as_deref(), clean, "{path:?}");
    }
}
