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

/// Every message.
pub(crate) fn all(_: &JsonMessage) -> bool {
    true
}

/// Only what came of it, not how far it is.
pub(crate) fn results(message: &JsonMessage) -> bool {
    message.progress_detail.is_none()
}

/// Does `work` as the stream is read, and gives those of its messages that `keep` keeps; its
/// failure is the last one. Dropping the stream drops the work.
pub(crate) fn stream<F, W, T>(
    keep: fn(&JsonMessage) -> bool,
    work: F,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin
where
    F: FnOnce(Progress) -> W,
    W: Future<Output = Result<T>> + Send + 'static,
{
    let (sender, mut messages) = mpsc::channel::<JsonMessage>(WAITING);
    let mut work: Option<Pin<Box<W>>> = Some(Box::pin(work(Progress::new(sender))));
    let mut failure: Option<Error> = None;
    stream::poll_fn(move |cx| {
        loop {
            if let Some(running) = &mut work
                && let Poll::Ready(result) = running.as_mut().poll(cx)
            {
                failure = result.err();
                // Takes the sender along: what is in the channel is all there is.
                work = None;
            }
            match messages.poll_recv(cx) {
                Poll::Ready(Some(message)) if keep(&message) => {
                    return Poll::Ready(Some(line(&message)));
                }
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => {
                    return Poll::Ready(failure.take().map(|error| {
                        let message = &error.to_string();
                        line(&Failure {
                            detail: Detail { message },
                            error: message,
                        })
                    }));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
}

fn line<T: Serialize>(message: &T) -> io::Result<Bytes> {
    reply::encode(message).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_failure_comes_last() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let body = stream(all, |progress| async move {
            let _keep = progress;
            let _ = receiver.await;
            Err::<(), _>(Error::invalid("broken \"pipe\""))
        });
        sender.send(()).unwrap();
        let all: Vec<_> = body
            .map(|b| String::from_utf8(b.unwrap().to_vec()).unwrap())
            .collect()
            .await;
        assert_eq!(
            all,
            [
                "{\"errorDetail\":{\"message\":\"broken \\\"pipe\\\"\"},\"error\":\"broken \\\"pipe\\\"\"}\n"
            ]
        );
    }

    #[tokio::test]
    async fn success_just_ends() {
        let body = stream(all, |progress| async move {
            drop(progress);
            Ok(())
        });
        assert_eq!(body.count().await, 0);
    }

    #[tokio::test]
    async fn dropping_the_stream_drops_the_work() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let body = stream(all, |progress| async move {
            let _keep = (sender, progress);
            std::future::pending::<()>().await;
            Ok(())
        });
        drop(body);
        assert!(receiver.await.is_err());
    }

    #[test]
    fn quiet_leaves_out_how_far_it_is() {
        let counted = JsonMessage {
            progress_detail: Some(Default::default()),
            ..JsonMessage::default()
        };
        assert!(!results(&counted) && results(&JsonMessage::default()) && all(&counted));
    }
}
