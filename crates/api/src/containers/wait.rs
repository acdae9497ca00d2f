//! `POST /containers/{id}/wait`

use std::io;

use berth_engine::WaitCondition;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::StatusCode;

use crate::context::Ctx;
use crate::query::quote;
use crate::reply::{self, Response};
use crate::{Error, Result};

pub(crate) async fn wait(ctx: Ctx) -> Result<Response> {
    // Before 1.30 there were no conditions, and the head came with the body.
    if !ctx.since(30) {
        let waiter = ctx.engine.wait(ctx.id(), WaitCondition::NotRunning)?;
        return reply::json(StatusCode::OK, &waiter.done().await?);
    }
    let condition = condition(ctx.query.get("condition"))?;
    let waiter = ctx.engine.wait(ctx.id(), condition)?;
    // Between 1.30 and 1.34 the only sign of a failed removal was an answer with nothing in it.
    let silent = condition == WaitCondition::Removed && !ctx.since(34);
    let body = stream::once(async move {
        let response = waiter
            .done()
            .await
            .unwrap_or_else(|error| failed(&error.to_string()));
        if silent && response.error.is_some() {
            return Ok(Bytes::new());
        }
        reply::encode(&response).map_err(io::Error::other)
    });
    Ok(reply::stream(
        reply::JSON,
        body.take_until(ctx.cancel.cancelled_owned()),
    ))
}

fn condition(text: &str) -> Result<WaitCondition> {
    match text {
        "" | "not-running" => Ok(WaitCondition::NotRunning),
        "next-exit" => Ok(WaitCondition::NextExit),
        "removed" => Ok(WaitCondition::Removed),
        other => Err(Error::invalid(format!(
            "invalid condition: {}",
            quote(other)
        ))),
    }
}

/// What is told of a failure after the head went out.
fn failed(message: &str) -> berth_wire::WaitResponse {
    berth_wire::WaitResponse {
        status_code: -1,
        error: Some(berth_wire::WaitError {
            message: message.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        assert_eq!(condition("").unwrap(), WaitCondition::NotRunning);
        assert_eq!(condition("next-exit").unwrap(), WaitCondition::NextExit);
        assert_eq!(condition("removed").unwrap(), WaitCondition::Removed);
        assert_eq!(
            condition("x").unwrap_err().to_string(),
            r#"invalid condition: "x""#
        );
    }
}
