//! What is being worked on, so that nobody else in this process does the same meanwhile; whoever
//! waits sees how far it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedMutexGuard, watch};

/// What is being worked on, by name.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<String, Weak<Flight>>>);

#[derive(Debug, Default)]
struct Flight {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Bytes done, by whoever is at it.
    done: watch::Sender<u64>,
}

/// One's turn: others are kept away until it is dropped. The next one may find all of it done, or
/// go on where this one was when its client left.
#[derive(Debug)]
pub(crate) struct Turn {
    flight: Arc<Flight>,
    _guard: OwnedMutexGuard<()>,
}

impl Turn {
    /// Tells those who wait how many bytes are done.
    pub(crate) fn tell(&self, done: u64) {
        self.flight.done.send_replace(done);
    }
}

impl Flights {
    /// Waits until nobody else works on `key`.
    pub(crate) async fn join(&self, key: &str) -> Turn {
        self.watch(key, |_| ()).await
    }

    /// As [`Flights::join`], at once or not at all.
    pub(crate) fn try_join(&self, key: &str) -> Option<Turn> {
        let flight = self.flight(key);
        let guard = flight.turn.clone().try_lock_owned().ok()?;
        Some(Turn {
            flight,
            _guard: guard,
        })
    }

    /// As [`Flights::join`]; `seen` is told of the bytes that are done meanwhile.
    pub(crate) async fn watch(&self, key: &str, mut seen: impl FnMut(u64)) -> Turn {
        let flight = self.flight(key);
        let mut done = flight.done.subscribe();
        // What was done before counts, too.
        done.mark_changed();
        let turn = flight.turn.clone().lock_owned();
        let mut turn = std::pin::pin!(turn);
        loop {
            tokio::select! {
                biased;
                guard = &mut turn => return Turn { flight: flight.clone(), _guard: guard },
                Ok(()) = done.changed() => seen(*done.borrow_and_update()),
            }
        }
    }

    fn flight(&self, key: &str) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::default();
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_sees_what_is_done_and_takes_over_when_it_ends() {
        let flights = Arc::new(Flights::default());
        let first = flights.try_join("a").unwrap();
        assert!(flights.try_join("a").is_none());
        assert!(flights.try_join("b").is_some());
        first.tell(1);
        let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
        let others = flights.clone();
        let second =
            tokio::spawn(async move { others.watch("a", |n| seen.send(n).unwrap()).await });
        assert_eq!(told.recv().await, Some(1));
        first.tell(2);
        assert_eq!(told.recv().await, Some(2));
        assert!(!second.is_finished());
        drop(first);
        let second = second.await.unwrap();
        assert!(flights.try_join("a").is_none());
        drop(second);
        assert!(flights.try_join("a").is_some());
        assert_eq!(flights.0.lock().unwrap().len(), 1);
    }
}
