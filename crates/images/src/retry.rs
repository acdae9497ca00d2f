//! Trying again: how often, and after how long.

use std::time::Duration;

use crate::progress::Progress;
use crate::{Error, Result};

/// The pause before the second try, in seconds; it doubles from then on.
const PAUSE: u64 = 1;
/// The longest pause of our own, and the longest that a registry may ask for.
const LONGEST: Duration = Duration::from_secs(30);
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The tries at one thing.
#[derive(Debug)]
pub(crate) struct Retry {
    left: usize,
    pause: Duration,
}

impl Retry {
    /// `attempts`: in all, the first one included.
    pub(crate) fn new(attempts: usize) -> Retry {
        Retry {
            left: attempts,
            pause: Duration::from_secs(PAUSE),
        }
    }

    /// Waits for the next try after `error`: as long as the registry asked for, else longer each
    /// time. `shown` is told about it.
    ///
    /// # Errors
    /// `error` itself, where it would be the same again or there were tries enough.
    pub(crate) async fn pause(
        &mut self,
        error: berth_registry::Error,
        shown: Option<(&Progress, &str)>,
    ) -> Result<()> {
        let Some(pause) = self.next(&error) else {
            return Err(Error::Registry(error));
        };
        if let Some((progress, id)) = shown {
            // Rounded up: nothing is retried in no time.
            let seconds = pause.as_millis().div_ceil(1000);
            let plural = if seconds == 1 { "" } else { "s" };
            let text = format!("Retrying in {seconds} second{plural}");
            progress.update(id, &text).await;
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// As [`Retry::pause`], for what is small and whose failure should show soon: only where the
    /// registry asks for patience.
    pub(crate) async fn patience(&mut self, error: berth_registry::Error) -> Result<()> {
        match error {
            berth_registry::Error::TooMany { .. } => self.pause(error, None).await,
            _ if error.retry_after().is_some() => self.pause(error, None).await,
            _ => Err(Error::Registry(error)),
        }
    }

    fn next(&mut self, error: &berth_registry::Error) -> Option<Duration> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || !error.is_transient() {
            return None;
        }
        let pause = error.retry_after().unwrap_or(self.pause);
        if pause > LONGEST_ASKED {
            return None;
        }
        self.pause = (self.pause * 2).min(LONGEST);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(after: Option<u64>) -> berth_registry::Error {
        berth_registry::Error::TooMany {
            text: "slow down".to_owned(),
            after: after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut retry = Retry::new(4);
        let pauses: Vec<_> = (0..5)
            .map(|_| retry.next(&refused(None)).map(|p| p.as_secs()))
            .collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), None, None]);
        assert_eq!(Retry::new(1).next(&refused(None)), None);
        let mut long = Retry::new(usize::MAX);
        let last = (0..64).filter_map(|_| long.next(&refused(None))).max();
        assert_eq!(last, Some(LONGEST));
    }

    #[test]
    fn what_the_registry_asks_for_counts_within_reason() {
        let mut retry = Retry::new(9);
        let asked = retry.next(&refused(Some(17)));
        assert_eq!(asked, Some(Duration::from_secs(17)));
        assert_eq!(retry.next(&refused(Some(86400))), None);
        let final_word = berth_registry::Error::BlobUnknown("x".to_owned());
        assert_eq!(retry.next(&final_word), None);
    }
}
