//! `POST /containers/{id}/kill`

use berth_errdefs::Classify;
use http::StatusCode;

use crate::context::Ctx;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn kill(ctx: Ctx) -> Result<Response> {
    let killed = ctx.engine.kill(ctx.id(), ctx.query.given("signal")).await;
    killed.map_err(|e| Error::new(e.kind(), told(ctx.id(), &e.to_string())))?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// The message with dockerd's prefix, which it may have already.
fn told(id: &str, message: &str) -> String {
    const PREFIX: &str = "cannot kill container: ";
    if message.starts_with(PREFIX) {
        return message.to_owned();
    }
    format!("{PREFIX}{id}: {message}")
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn the_prefix_is_there_once() {
        let message = "cannot kill container: x: No such container: x";
        assert_eq!(told("x", "No such container: x"), message);
        assert_eq!(told("x", message), message);
    }
}
