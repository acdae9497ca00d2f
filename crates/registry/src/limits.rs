//! How long a registry may take: one that drips holds nobody for ever, a slow network does not matter.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::{Error, Result};

/// What a registry is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For all of a small answer; for a large one until it begins.
    pub(crate) answer: Duration,
    /// For what becomes of something that was sent whole, and for what is small but may be far away.
    pub(crate) settle: Duration,
    /// For all pages of a list.
    pub(crate) list: Duration,
    /// Between two pieces of something large.
    pub(crate) silence: Duration,
    /// For each [`Limits::piece`] of something large.
    pub(crate) pace: Duration,
    /// In bytes.
    pub(crate) piece: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            answer: Duration::from_secs(60),
            settle: Duration::from_secs(300),
            list: Duration::from_secs(600),
            silence: Duration::from_secs(60),
            // 218 bytes a second: a fifth of what GPRS has.
            pace: Duration::from_secs(300),
            piece: 64 << 10,
        }
    }
}

/// How something large comes on. Only the time counts in which the other end is waited for: what
/// our own disk or a container takes is not the registry's fault.
#[derive(Clone, Copy, Debug)]
struct Pace {
    limits: Limits,
    /// Since the last whole piece: the time and the bytes.
    waited: Duration,
    moved: u64,
}

impl Pace {
    fn new(limits: Limits) -> Pace {
        Pace {
            limits,
            waited: Duration::ZERO,
            moved: 0,
        }
    }

    /// How long to wait for more.
    fn patience(&self) -> Duration {
        let left = self.limits.pace.saturating_sub(self.waited);
        left.min(self.limits.silence)
    }

    /// After a wait of this time so many bytes moved.
    fn moved(&mut self, waited: Duration, bytes: u64) {
        self.waited += waited;
        self.moved += bytes;
        if self.moved >= self.limits.piece {
            *self = Pace::new(self.limits);
        }
    }

    /// What to say when patience has come to its end.
    fn error(&self, method: &'static str, url: &Url) -> Error {
        let Limits { silence, pace, .. } = self.limits;
        let reason = match self.patience() < silence {
            true => format!(
                "too slow: {} bytes within {} seconds",
                self.moved,
                pace.as_secs()
            ),
            false => format!("nothing moved for {} seconds", silence.as_secs()),
        };
        Error::slow(method, url, reason)
    }
}

/// The body of a large answer, as long as it comes on. It ends with an error.
pub(crate) fn paced<S>(
    body: S,
    url: Url,
    limits: Limits,
) -> impl Stream<Item = Result<Bytes>> + Send
where
    S: Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
{
    let start = (Box::pin(body), Pace::new(limits), url);
    stream::unfold(Some(start), |state| async {
        let (mut body, mut pace, url) = state?;
        let begun = Instant::now();
        let error = match timeout(pace.patience(), body.next()).await {
            Ok(Some(Ok(part))) => {
                pace.moved(begun.elapsed(), part.len() as u64);
                return Some((Ok(part), Some((body, pace, url))));
            }
            Ok(Some(Err(e))) => Error::transport("Get", &url, &e),
            Ok(None) => return None,
            Err(_) => pace.error("Get", &url),
        };
        Some((Err(error), None))
    })
}

/// How much of an upload is handed over at a time: so that a large piece on a slow network is seen to
/// move. In bytes.
const HANDED: usize = 32 << 10;

/// How far an upload is.
#[derive(Clone, Copy, Debug, Default)]
struct Handed {
    /// The registry is to take what was found; else it is we who have to find more.
    theirs: bool,
    /// What it has taken, in bytes.
    bytes: u64,
}

/// Watches an upload.
#[derive(Debug)]
pub(crate) struct Upload {
    limits: Limits,
    handed: watch::Receiver<Handed>,
}

/// An upload's body, and what watches that it is taken.
pub(crate) fn watched<S>(
    body: S,
    limits: Limits,
) -> (
    Upload,
    impl Stream<Item = io::Result<Bytes>> + Send + 'static,
)
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let (tell, handed) = watch::channel(Handed::default());
    let start = (Box::pin(body), Bytes::new(), 0, tell);
    let body = stream::unfold(start, |(mut body, mut rest, last, tell)| async move {
        tell.send_modify(|handed| {
            handed.theirs = false;
            handed.bytes += last;
        });
        while rest.is_empty() {
            match body.next().await? {
                Ok(found) => rest = found,
                Err(e) => return Some((Err(e), (body, rest, 0, tell))),
            }
        }
        let piece = rest.split_to(rest.len().min(HANDED));
        tell.send_modify(|handed| handed.theirs = true);
        let last = piece.len() as u64;
        Some((Ok(piece), (body, rest, last, tell)))
    });
    (Upload { limits, handed }, body)
}

impl Upload {
    /// Ends, with the reason, when the registry takes too little, or does not say in time what became
    /// of it when it has all.
    pub(crate) async fn too_slow(mut self, method: &'static str, url: &Url) -> Error {
        // What lies in buffers on the way moves in leaps.
        let mut pace = Pace::new(Limits {
            silence: self.limits.settle,
            ..self.limits
        });
        let mut last = *self.handed.borrow_and_update();
        loop {
            let begun = Instant::now();
            let changed = match last.theirs {
                true => timeout(pace.patience(), self.handed.changed()).await,
                // Who finds more for us has limits of their own.
                false => Ok(self.handed.changed().await),
            };
            match changed {
                Ok(Ok(())) => {}
                // Nobody asks for more.
                Ok(Err(_)) => {
                    tokio::time::sleep(self.limits.settle).await;
                    return Error::slow(method, url, Error::NO_ANSWER.to_owned());
                }
                Err(_) => return pace.error(method, url),
            }
            let now = *self.handed.borrow_and_update();
            if last.theirs {
                pace.moved(begun.elapsed(), now.bytes - last.bytes);
            }
            last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::pin_mut;

    use super::*;

    fn url() -> Url {
        Url::parse("http://registry.example/v2/").unwrap()
    }

    /// Pieces of this size, one each time that this has passed, for ever.
    fn pieces<E>(size: usize, every: Duration) -> impl Stream<Item = Result<Bytes, E>> + Send {
        stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some((Ok(Bytes::from(vec![0; size])), ()))
        })
    }

    /// How long a body lasted, what came of it, and how it ended.
    async fn read(body: impl Stream<Item = Result<Bytes>>) -> (u64, usize, Option<String>) {
        let body = body.take_until(tokio::time::sleep(Duration::from_secs(100_000)));
        pin_mut!(body);
        let (begun, mut bytes) = (Instant::now(), 0);
        while let Some(part) = body.next().await {
            match part {
                Ok(part) => bytes += part.len(),
                Err(e) => {
                    assert!(
                        e.is_transient() && matches!(e, Error::Transport { timeout: true, .. })
                    );
                    return (begun.elapsed().as_secs(), bytes, Some(e.to_string()));
                }
            }
        }
        (begun.elapsed().as_secs(), bytes, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_drips_is_ended() {
        let limits = Limits::default();
        let drip = pieces(1, Duration::from_secs(7));
        let (seconds, bytes, error) = read(paced(drip, url(), limits)).await;
        assert_eq!((seconds, bytes), (300, 42));
        let words = "Get \"http://registry.example/v2/\": too slow: 42 bytes within 300 seconds";
        assert_eq!(error.as_deref(), Some(words));
        let silent = pieces(1, Duration::from_secs(61));
        let (seconds, bytes, error) = read(paced(silent, url(), limits)).await;
        assert_eq!((seconds, bytes), (60, 0));
        assert!(error.unwrap().ends_with("nothing moved for 60 seconds"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_network_gets_there() {
        // 300 bytes a second, with pauses; a megabyte takes an hour.
        let slow = pieces(15_000, Duration::from_secs(50)).take(70);
        let (seconds, bytes, error) = read(paced(slow, url(), Limits::default())).await;
        assert_eq!((seconds, bytes, error), (3500, 1_050_000, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_slow_is_not_the_registrys_fault() {
        let body = paced(pieces(1, Duration::from_secs(1)), url(), Limits::default());
        pin_mut!(body);
        for _ in 0..100 {
            body.next().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
    }

    /// When and how an upload ends whose registry takes a piece each time that this has passed, and
    /// never answers.
    async fn taken(
        found: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        every: Duration,
    ) -> (u64, String) {
        let (upload, body) = watched(found, Limits::default());
        let begun = Instant::now();
        let registry = async {
            let mut body = Box::pin(body);
            while body.next().await.is_some() {
                tokio::time::sleep(every).await;
            }
            drop(body);
            std::future::pending().await
        };
        let url = url();
        let error = tokio::select! {
            error = upload.too_slow("Put", &url) => error,
            () = registry => unreachable!("it never answers"),
            () = tokio::time::sleep(Duration::from_secs(100_000)) => panic!("it takes for ever"),
        };
        (begun.elapsed().as_secs(), error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_lasts_as_long_as_it_is_taken() {
        let blob = |size| stream::iter([Ok(Bytes::from(vec![0; size]))]);
        // A megabyte, 32 KiB at a time, and 300 s for the answer.
        let (seconds, error) = taken(blob(1 << 20), Duration::from_secs(140)).await;
        assert_eq!(seconds, 32 * 140 + 300);
        assert!(error.ends_with("while awaiting headers)"), "{error}");
        let (seconds, error) = taken(blob(1 << 20), Duration::from_secs(160)).await;
        assert_eq!(seconds, 300);
        assert!(
            error.ends_with("too slow: 32768 bytes within 300 seconds"),
            "{error}"
        );
        // The time that we take to find more does not count.
        let found = pieces(1, Duration::from_secs(1000)).take(5);
        let (seconds, error) = taken(found, Duration::from_secs(1)).await;
        assert_eq!(seconds, 5 * 1001 + 300);
        assert!(error.ends_with("while awaiting headers)"), "{error}");
    }
}
