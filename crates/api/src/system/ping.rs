//! `GET|HEAD /_ping`

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderValue, StatusCode};

use crate::Result;
use crate::context::Ctx;
use crate::reply::{self, Response};

pub(crate) async fn ping(_: Ctx) -> Result<Response> {
    // The server itself leaves the body of a HEAD away.
    let mut response = reply::full(StatusCode::OK, "text/plain; charset=utf-8", "OK");
    let headers = response.headers_mut();
    let no_cache = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, no_cache);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Builder-Version", HeaderValue::from_static("2"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    Ok(response)
}
