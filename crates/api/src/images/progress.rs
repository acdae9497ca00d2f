//! Progress streams: JSON messages while something is done, an error message if it fails.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use berth_images::{JsonMessage, Progress};
use bytes::Bytes;
use futures::{Stream, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::reply;
use crate::{Error, Result};

/// How many messages may wait for a slow client.
const WAITING: usize = 64;

/// What is told when it fails after the head went out.
#[derive(Serialize)]
struct Failure<'m> {
    #[serde(rename = "errorDetail")]
    detail: Detail<'m>,
    error: &'m str,
}

#[derive(Serialize)]
struct Detail<'m> {
    message: &'m str,
}

/// Does `work` as the stream is read, and gives its messages; its failure is the last one.
/// Dropping the stream drops the work.
pub(crate) fn stream<F, W, T>(work: F) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin
where
    F: FnOnce(Progress) -> W,
    W: Future<Output = Result<T>> + Send + 'static,
{
    let (sender, mut messages) = mpsc::channel::<JsonMessage>(WAITING);
    let mut work: Option<Pin<Box<W>>> = Some(Box::pin(work(Progress::new(sender))));
    let mut failure: Option<Error> = None;
    stream::poll_fn(move |cx| {
        if let Some(running) = &mut work
            && let Poll::Ready(result) = running.as_mut().poll(cx)
        {
            failure = result.err();
            // Takes the sender along: what is in the channel is all there is.
            work = None;
        }
        messages.poll_recv(cx).map(|message| match message {
            Some(message) => Some(line(&message)),
            None => failure.take().map(|error| {
                let message = &error.to_string();
                line(&Failure { detail: Detail { message }, error: message })
            }),
        })
    })
}

fn line<T: Serialize>(message: &T) -> io::Result<Bytes> {
    reply::encode(message).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[test]
    fn a_failure_comes_last() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let body = stream(|progress| async move {
            let _keep = progress;
            let _ = receiver.await;
            Err::<(), _>(Error::invalid("broken \"pipe\""))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all: Vec<_> = runtime.block_on(async {
            sender.send(()).unwrap();
            body.map(|b| String::from_utf8(b.unwrap().to_vec()).unwrap()).collect().await
        });
        assert_eq!(
            all,
            ["{\"errorDetail\":{\"message\":\"broken \\\"pipe\\\"\"},\"error\":\"broken \\\"pipe\\\"\"}\n"]
        );
    }

    #[test]
    fn success_just_ends() {
        let body = stream(|progress| async move {
            drop(progress);
            Ok(())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(body.count()), 0);
    }
}
