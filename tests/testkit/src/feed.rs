//! Bytes that arrive while a test waits for some of them.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

/// A stream read by a thread of its own into memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed(Arc<(Mutex<State>, Condvar)>);

impl Feed {
    /// Reads `source` to its end. A terminal's end is an EIO, so errors end it as well.
    pub(crate) fn read(mut source: impl Read + Send + 'static) -> Feed {
        let feed = Feed::default();
        let writer = feed.clone();
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                let count = match source.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                writer.lock().bytes.extend_from_slice(&chunk[..count]);
                writer.0.1.notify_all();
            }
            writer.lock().ended = true;
            writer.0.1.notify_all();
        });
        feed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that has arrived so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Waits until `check` answers `Some` for what has arrived (the flag tells whether the stream
    /// has ended); `None` when the time is over.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        mut check: impl FnMut(&[u8], bool) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(found) = check(&state.bytes, state.ended) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = match self.0.1.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits for the end of the stream; false when the time is over.
    pub(crate) fn ended(&self, patience: Duration) -> bool {
        self.wait(patience, |_, ended| ended.then_some(()))
            .is_some()
    }

    /// The position after the first `text` at or after `from`; `Err` with what there is when the
    /// stream ends, or the time, without it.
    pub(crate) fn find(
        &self,
        text: &str,
        from: usize,
        patience: Duration,
    ) -> Result<usize, String> {
        let wanted = text.as_bytes();
        self.wait(patience, |bytes, ended| {
            let found = bytes.get(from..).and_then(|rest| {
                rest.windows(wanted.len())
                    .position(|window| window == wanted)
            });
            match found {
                Some(at) => Some(Some(from + at + wanted.len())),
                None if ended => Some(None),
                None => None,
            }
        })
        .flatten()
        .ok_or_else(|| String::from_utf8_lossy(&self.bytes()).into_owned())
    }
}
