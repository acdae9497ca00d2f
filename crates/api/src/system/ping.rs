//! `GET|HEAD /_ping`

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, PRAGMA};
use http::{HeaderValue, Method, StatusCode};

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn ping(ctx: Ctx) -> Result<Response> {
    let body = if ctx.method == Method::HEAD { "" } else { "OK" };
    let mut response = reply::full(StatusCode::OK, "text/plain; charset=utf-8", body);
    let headers = response.headers_mut();
    if ctx.method == Method::HEAD {
        // dockerd's length, not that of what GET would get; the server adds none of 0 itself.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let no_cache = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, no_cache);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Builder-Version", HeaderValue::from_static("2"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    Ok(response)
}
