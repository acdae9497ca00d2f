//! The server: sockets, connections, and what every request goes through.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::Engine;
use berth_errdefs::Classify;
use futures::FutureExt;
use http::{HeaderValue, Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Session};
use crate::context::Ctx;
use crate::listener::{Accept, Listener};
use crate::query::Query;
use crate::reply::{self, Response};
use crate::routes::{Handler, Table};
use crate::status::status;
use crate::{Result, version};

/// How long requests under way may take after the server was told to end.
const GRACE: Duration = Duration::from_secs(10);

/// The first and the longest pause after a failed `accept`.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// What every answer of a known endpoint carries.
pub(crate) const FIXED_HEADERS: [(&str, &str); 4] = [
    ("Api-Version", version::NEWEST),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    (
        "Server",
        concat!("Berth/", env!("CARGO_PKG_VERSION"), " (linux)"),
    ),
];

/// Serves the API on `listener` until `cancel`; then lets requests under way finish for at most
/// ten seconds. Open-ended streams (`events`, `logs` with follow, attach, `wait`) end at once.
///
/// Errors of `accept` (no more file descriptors) are logged and waited out: never the end.
pub async fn serve(engine: Arc<Engine>, listener: Listener, cancel: CancellationToken) {
    let app = Arc::new(App {
        engine,
        table: Table::new(),
        cancel: cancel.clone(),
    });
    let answer = move |request, session| answer(app.clone(), request, session);
    accept(listener, answer, cancel).await;
}

/// Accepts connections and has `answer` answer each request on them.
async fn accept<L, F, Fut>(listener: L, answer: F, cancel: CancellationToken)
where
    L: Accept,
    F: Fn(Request<Incoming>, Session) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(arrival) => {
                pause = ACCEPT_PAUSE.0;
                let (answer, cancel) = (answer.clone(), cancel.clone());
                // A client that is slow with its handshake keeps nobody else waiting.
                connections.spawn(async move {
                    if let Some(stream) = arrival.stream().await {
                        connection::drive(stream, answer, cancel).await;
                    }
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "accept failed; trying again");
                tokio::select! {
                    () = cancel.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
    drop(listener);
    let mut finished = pin!(async { while connections.join_next().await.is_some() {} });
    if tokio::time::timeout(GRACE, &mut finished).await.is_err() {
        tracing::warn!("requests did not finish in time; their connections are closed");
    }
}

/// What all requests share.
struct App {
    engine: Arc<Engine>,
    table: Table,
    cancel: CancellationToken,
}

/// Answers one request; whatever happens, there is an answer.
async fn answer(app: Arc<App>, request: Request<Incoming>, session: Session) -> Response {
    let path = percent_decode_str(request.uri().path())
        .decode_utf8_lossy()
        .into_owned();
    let method = request.method().clone();
    // Without the query: it may hold what is nobody's business.
    tracing::debug!(%method, path, "request");
    let found = match find(&app.table, &method, &path, request.uri().query()) {
        Ok(found) => found,
        Err(elsewhere) => return *elsewhere,
    };
    let plain = version::wants_plain_errors(found.version.as_deref());
    let work = async {
        let version = version::admit(found.version.as_deref())?;
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let (parts, body) = request.into_parts();
        let ctx = Ctx {
            engine: app.engine.clone(),
            version,
            query,
            method: parts.method,
            headers: parts.headers,
            body,
            session: session.clone(),
            cancel: app.cancel.clone(),
            params: found.params,
        };
        (found.handler)(ctx).await
    };
    let mut response = settle(work, &method, &path, plain).await;
    session.stay();
    for (name, value) in FIXED_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A path that somebody answers.
struct Found {
    version: Option<String>,
    handler: Handler,
    params: Vec<(&'static str, String)>,
}

/// Looks a path up. Without a handler there is an answer: where to look instead, or that there
/// is no such page.
fn find(
    table: &Table,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> std::result::Result<Found, Box<Response>> {
    if let Some(location) = cleaned(path) {
        return Err(Box::new(moved(&location, query)));
    }
    let (version, rest) = version::split(path);
    let Some((handler, params)) = table.find(method, rest) else {
        let answer = reply::failure(StatusCode::NOT_FOUND, "page not found", false);
        return Err(Box::new(answer));
    };
    Ok(Found {
        version: version.map(str::to_owned),
        handler,
        params: params
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect(),
    })
}

/// Turns failure and panic into an answer.
async fn settle(
    work: impl Future<Output = Result<Response>>,
    method: &Method,
    path: &str,
    plain: bool,
) -> Response {
    let error = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(response)) => return response,
        Ok(Err(error)) => error,
        Err(_) => {
            tracing::error!(%method, path, "the request's handler panicked");
            let message = "internal error: the request's handler panicked; see the daemon's log";
            return reply::failure(StatusCode::INTERNAL_SERVER_ERROR, message, plain);
        }
    };
    let status = status(error.kind());
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(%method, path, %error, "request failed");
    } else {
        tracing::debug!(%method, path, %error, "request failed");
    }
    reply::failure(status, &error.to_string(), plain)
}

/// Where a path with empty or dotted segments is to be found instead, as dockerd redirects it.
fn cleaned(path: &str) -> Option<String> {
    let odd = |s: &str| matches!(s, "" | "." | "..");
    let segments = path.strip_prefix('/').unwrap_or(path);
    // One slash at the end is kept.
    let inner = segments.strip_suffix('/').unwrap_or(segments);
    if path.starts_with('/') && (inner.is_empty() || !inner.split('/').any(odd)) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in inner.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    Some(format!("/{}{end}", kept.join("/")))
}

/// `301` to `path`.
fn moved(path: &str, query: Option<&str>) -> Response {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b':')
        .remove(b'@');
    let mut location = percent_encoding::utf8_percent_encode(path, KEEP).to_string();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut response = reply::empty(StatusCode::MOVED_PERMANENTLY);
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(http::header::LOCATION, value);
    }
    response
}

#[cfg(test)]
mod tests;
