//! What happened: a bounded memory of the last events, and who follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use berth_wire::{self as wire, Filters};
use jiff::Timestamp;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::container::record::Record;
use crate::{Error, Result};

/// How many events are remembered for `since`, as in dockerd.
const REMEMBERED: usize = 256;
/// How far a reader may fall behind before it misses some.
const BEHIND: usize = 4096;

/// What `docker events` can be filtered by.
const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// The place where events are told. Clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    past: Mutex<VecDeque<Arc<wire::Event>>>,
    present: broadcast::Sender<Arc<wire::Event>>,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            inner: Arc::new(Inner {
                past: Mutex::new(VecDeque::with_capacity(REMEMBERED)),
                present: broadcast::Sender::new(BEHIND),
            }),
        }
    }
}

impl Events {
    /// Tells an event. Its time is now, and never earlier than that of the one before. Never waits.
    pub fn tell(
        &self,
        kind: &str,
        action: String,
        id: String,
        attributes: BTreeMap<String, String>,
    ) {
        let mut past = self
            .inner
            .past
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let nanos = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        let last = past.back().map_or(0, |event| event.time_nano);
        let time_nano = nanos(Timestamp::now()).max(last);
        let event = Arc::new(wire::Event {
            kind: kind.to_owned(),
            action,
            actor: wire::Actor { id, attributes },
            scope: "local".to_owned(),
            time: time_nano / 1_000_000_000,
            time_nano,
        });
        if past.len() == REMEMBERED {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Nobody following is no error.
        let _ = self.inner.present.send(event);
    }

    /// Takes what happens to images.
    pub fn image_sink(&self) -> berth_images::EventSink {
        let events = self.clone();
        Arc::new(move |event: berth_images::ImageEvent| {
            events.tell("image", event.action.to_owned(), event.id, event.attributes);
        })
    }

    /// Tells something of a container, with Docker's attributes.
    pub(crate) fn container(&self, record: &Record, action: &str, more: &[(&str, String)]) {
        let mut attributes = record.config.labels.clone();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.extend(
            more.iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone())),
        );
        self.tell(
            "container",
            action.to_owned(),
            record.id.clone(),
            attributes,
        );
    }

    /// Tells that a container joined or left a network.
    pub(crate) fn network(
        &self,
        action: &str,
        network: &str,
        kind: &str,
        name: &str,
        container: &str,
    ) {
        let attributes = [("container", container), ("name", name), ("type", kind)];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.tell(
            "network",
            action.to_owned(),
            network.to_owned(),
            attributes.into(),
        );
    }

    /// How many follow.
    pub(crate) fn listeners(&self) -> usize {
        self.inner.present.receiver_count()
    }

    /// What happened since, and what happens until; without `since` only what happens from now.
    ///
    /// # Errors
    /// A filter that there is not, or times that exclude each other.
    pub(crate) fn stream(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        filters: &Filters,
    ) -> Result<EventStream> {
        filters
            .validate(&FILTERS)
            .map_err(|error| Error::invalid(error.to_string()))?;
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            return Err(Error::invalid(format!(
                "`since` time ({}) cannot be after `until` time ({})",
                since.as_second(),
                until.as_second()
            )));
        }
        let past = self
            .inner
            .past
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that nothing is missed or told twice.
        let present = self.inner.present.subscribe();
        let remembered = match since {
            Some(since) => past.iter().filter(|e| at(e) >= since).cloned().collect(),
            None if until.is_some_and(|until| until <= Timestamp::now()) => past.clone(),
            None => VecDeque::new(),
        };
        Ok(EventStream {
            past: remembered,
            present,
            until,
            filters: filters.clone(),
        })
    }
}

fn at(event: &wire::Event) -> Timestamp {
    Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(Timestamp::MAX)
}

/// Events, as they are told.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<Arc<wire::Event>>,
    present: broadcast::Receiver<Arc<wire::Event>>,
    until: Option<Timestamp>,
    filters: Filters,
}

impl EventStream {
    /// The next event; `None` when `until` has passed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Arc<wire::Event>> {
        loop {
            let event = match self.past.pop_front() {
                Some(event) => event,
                None => self.wait().await?,
            };
            if self.until.is_some_and(|until| at(&event) > until) {
                return None;
            }
            if matches(&self.filters, &event) {
                return Some(event);
            }
        }
    }

    async fn wait(&mut self) -> Option<Arc<wire::Event>> {
        let over = async {
            match self.until {
                // Stays open a little for events told just before.
                Some(until) => {
                    let left = until.duration_since(Timestamp::now());
                    let left = std::time::Duration::try_from(left).unwrap_or_default();
                    tokio::time::sleep(left).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                event = self.present.recv() => match event {
                    Ok(event) => return Some(event),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "a reader of events is too slow and missed some");
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = &mut over => return None,
            }
        }
    }
}

fn matches(filters: &Filters, event: &wire::Event) -> bool {
    let attributes = &event.actor.attributes;
    let name = attributes.get("name").map_or("", String::as_str);
    let of_kind = |kind: &str| {
        let mine = event.kind == kind;
        !filters.contains(kind)
            || (mine && (filters.prefix(kind, &event.actor.id) || filters.exact(kind, name)))
    };
    // `exec_start: sh` is found as `exec_start`, and `health_status: healthy` by both.
    let action = event.action.split(':').next().unwrap_or_default();
    let event_wanted = filters.exact("event", &event.action) || filters.exact("event", action);
    let image = || match event.kind.as_str() {
        "image" => [event.actor.id.as_str(), name],
        _ => [attributes.get("image").map_or("", String::as_str), ""],
    };
    let image_wanted = !filters.contains("image")
        || image().into_iter().any(|image| {
            let bare = image.split_once(':').map_or(image, |(bare, _)| bare);
            !image.is_empty() && (filters.exact("image", image) || filters.exact("image", bare))
        });
    event_wanted
        && image_wanted
        && filters.exact("type", &event.kind)
        && filters.exact("scope", &event.scope)
        && of_kind("container")
        && of_kind("network")
        && of_kind("volume")
        && of_kind("daemon")
        && filters.labels("label", attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::new();
        for (name, value) in pairs {
            filters.add(name, value);
        }
        filters
    }

    fn tell(events: &Events, kind: &str, action: &str, id: &str) {
        let attributes = [
            ("name", "web"),
            ("image", "busybox:latest"),
            ("tier", "front"),
        ];
        let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned()));
        events.tell(kind, action.to_owned(), id.to_owned(), attributes.into());
    }

    #[tokio::test]
    async fn a_follower_gets_the_past_and_the_present_in_order() {
        let events = Events::default();
        tell(&events, "container", "create", "a1");
        let all = filters(&[]);
        let mut stream = events
            .stream(Some(Timestamp::UNIX_EPOCH), None, &all)
            .expect("stream");
        tell(&events, "container", "start", "a1");
        let actions = [stream.next().await, stream.next().await];
        let actions = actions.map(|event| event.map(|event| event.action.clone()));
        assert_eq!(
            actions,
            [Some("create".to_owned()), Some("start".to_owned())]
        );
    }

    #[tokio::test]
    async fn the_stream_ends_at_until() {
        let events = Events::default();
        for _ in 0..REMEMBERED + 5 {
            tell(&events, "container", "create", "a1");
        }
        let now = Timestamp::now();
        let mut stream = events
            .stream(Some(Timestamp::UNIX_EPOCH), Some(now), &filters(&[]))
            .expect("stream");
        let mut seen = 0;
        while stream.next().await.is_some() {
            seen += 1;
        }
        assert_eq!(seen, REMEMBERED, "the memory is bounded");
    }

    #[test]
    fn filters_choose() {
        let events = Events::default();
        tell(&events, "container", "exec_start: sh", "a1b2");
        let event = events.inner.past.lock().expect("lock")[0].clone();
        let wanted: [&[(&str, &str)]; 8] = [
            &[("type", "container")],
            &[("event", "exec_start")],
            &[("container", "a1")],
            &[("container", "web")],
            &[("image", "busybox")],
            &[("label", "tier=front")],
            &[("event", "die"), ("event", "exec_start")],
            &[("scope", "local")],
        ];
        for pairs in wanted {
            assert!(matches(&filters(pairs), &event), "{pairs:?}");
        }
        let unwanted: [&[(&str, &str)]; 5] = [
            &[("type", "image")],
            &[("event", "die")],
            &[("container", "b")],
            &[("image", "alpine")],
            &[("label", "tier=back")],
        ];
        for pairs in unwanted {
            assert!(!matches(&filters(pairs), &event), "{pairs:?}");
        }
        assert!(
            events
                .stream(None, None, &filters(&[("colour", "red")]))
                .is_err()
        );
    }
}
