//! What happened: a bounded memory of the last events, and who follows.
//!
//! There is one memory, and each reader has a place in it. A reader that is so slow that what it
//! has not read is forgotten holds up nobody; it is told that there is a gap, and goes on with what
//! is still known. So is a reader that asks for more of the past than is remembered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use berth_wire::{self as wire, Filters};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::container::record::Record;
use crate::{Error, Result};

/// How many events are remembered.
const REMEMBERED: usize = 4096;
/// How much memory they may take, in bytes: labels can be long.
const MEMORY: usize = 4 << 20;
/// How many events a reader takes at a time.
const BATCH: usize = 64;
/// What an event and each of its attributes cost besides their text, in bytes.
const OVERHEAD: (usize, usize) = (256, 96);

/// Why a reader has a gap: it was too slow.
const SLOW: &str = "slow-reader";
/// Or it asked for what is not remembered any more.
const FORGOTTEN: &str = "forgotten";

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
    memory: Mutex<Memory>,
    /// How many events there have been.
    told: watch::Sender<u64>,
    /// The daemon's ID and the host's name.
    daemon: OnceLock<(String, String)>,
}

/// The last events, in order.
#[derive(Debug, Default)]
struct Memory {
    events: VecDeque<Arc<wire::Event>>,
    cost: usize,
    /// How many were forgotten, which is the number of the first that is not.
    forgotten: u64,
    /// The time of the last one that was forgotten, and of the last one of all, in nanoseconds.
    times: (i64, i64),
}

impl Memory {
    fn push(&mut self, event: Arc<wire::Event>) {
        self.times.1 = event.time_nano;
        self.cost += cost(&event);
        self.events.push_back(event);
        while self.events.len() > REMEMBERED || self.cost > MEMORY {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.cost -= cost(&oldest);
            self.forgotten += 1;
            self.times.0 = oldest.time_nano;
        }
    }

    /// The number of the next event.
    fn next(&self) -> u64 {
        self.forgotten + self.events.len() as u64
    }

    /// The number of the first event that is known and not before `since`.
    fn find(&self, since: Timestamp) -> u64 {
        let earlier = self.events.partition_point(|event| at(event) < since);
        self.forgotten + earlier as u64
    }

    /// Events from number `from` on, a batch of them.
    fn from(&self, from: u64) -> impl Iterator<Item = Arc<wire::Event>> {
        let known = usize::try_from(from.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        self.events.iter().skip(known).take(BATCH).cloned()
    }
}

fn cost(event: &wire::Event) -> usize {
    let attributes = event.actor.attributes.iter();
    let attributes = attributes.map(|(key, value)| key.len() + value.len() + OVERHEAD.1);
    OVERHEAD.0 + event.action.len() + event.actor.id.len() + attributes.sum::<usize>()
}

impl Default for Events {
    fn default() -> Events {
        Events {
            inner: Arc::new(Inner {
                memory: Mutex::default(),
                told: watch::Sender::new(0),
                daemon: OnceLock::new(),
            }),
        }
    }
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a reader is told in place of events that it cannot get. Clients know no such thing, so
    /// it looks like an event of the daemon's.
    fn gap(&self, reason: &str, missed: u64, time_nano: i64) -> Arc<wire::Event> {
        let (id, name) = self.daemon.get().cloned().unwrap_or_default();
        let attributes = [
            ("missed", missed.to_string()),
            ("name", name),
            ("reason", reason.to_owned()),
        ];
        let attributes = attributes
            .map(|(key, value)| (key.to_owned(), value))
            .into();
        event("daemon", "gap".to_owned(), id, attributes, time_nano)
    }
}

fn event(
    kind: &str,
    action: String,
    id: String,
    attributes: BTreeMap<String, String>,
    time_nano: i64,
) -> Arc<wire::Event> {
    Arc::new(wire::Event {
        kind: kind.to_owned(),
        action,
        actor: wire::Actor { id, attributes },
        scope: "local".to_owned(),
        time: time_nano / 1_000_000_000,
        time_nano,
    })
}

impl Events {
    /// Says whose events these are: the daemon's ID, and the host's name.
    pub(crate) fn introduce(&self, id: String, name: String) {
        let _ = self.inner.daemon.set((id, name));
    }

    /// Tells an event. Its time is now, and never earlier than that of the one before. Never waits.
    pub fn tell(
        &self,
        kind: &str,
        action: String,
        id: String,
        attributes: BTreeMap<String, String>,
    ) {
        let mut memory = self.inner.memory();
        let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let time_nano = now.max(memory.times.1);
        memory.push(event(kind, action, id, attributes, time_nano));
        self.inner.told.send_replace(memory.next());
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
        self.inner.told.receiver_count()
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
        let memory = self.inner.memory();
        let mut ready = VecDeque::new();
        let next = match since {
            Some(since) => {
                // All that was forgotten is counted: nobody knows how much of it was wanted.
                let (missed, last) = (memory.forgotten, memory.times.0);
                if missed > 0 && i128::from(last) >= since.as_nanosecond() {
                    ready.push_back(Told::Gap(self.inner.gap(FORGOTTEN, missed, last)));
                }
                memory.find(since)
            }
            None if until.is_some_and(|until| until <= Timestamp::now()) => memory.forgotten,
            None => memory.next(),
        };
        let news = self.inner.told.subscribe();
        drop(memory);
        Ok(EventStream {
            inner: self.inner.clone(),
            next,
            ready,
            news,
            until,
            filters: filters.clone(),
        })
    }
}

fn at(event: &wire::Event) -> Timestamp {
    Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(Timestamp::MAX)
}

/// What a reader gets.
#[derive(Debug)]
enum Told {
    Event(Arc<wire::Event>),
    /// Whatever it filters by.
    Gap(Arc<wire::Event>),
}

/// Events, as they are told.
#[derive(Debug)]
pub struct EventStream {
    inner: Arc<Inner>,
    /// The number of the next event to be taken.
    next: u64,
    ready: VecDeque<Told>,
    news: watch::Receiver<u64>,
    until: Option<Timestamp>,
    filters: Filters,
}

impl EventStream {
    /// The next event, or in its place that some were missed; `None` when `until` has passed.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Arc<wire::Event>> {
        loop {
            let Some(told) = self.ready.pop_front() else {
                if !self.take() && !self.wait().await {
                    return None;
                }
                continue;
            };
            match told {
                Told::Gap(gap) => return Some(gap),
                Told::Event(event) => {
                    if self.until.is_some_and(|until| at(&event) > until) {
                        return None;
                    }
                    if matches(&self.filters, &event) {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// Takes what there is; false when there is nothing.
    fn take(&mut self) -> bool {
        self.news.mark_unchanged();
        let memory = self.inner.memory();
        let missed = memory.forgotten.saturating_sub(self.next);
        if missed > 0 {
            self.next = memory.forgotten;
            let gap = self.inner.gap(SLOW, missed, memory.times.0);
            self.ready.push_back(Told::Gap(gap));
        }
        let events = memory.from(self.next).map(Told::Event);
        let before = self.ready.len();
        self.ready.extend(events);
        self.next += (self.ready.len() - before) as u64;
        !self.ready.is_empty()
    }

    /// Waits for more; false when there will not be any.
    async fn wait(&mut self) -> bool {
        let until = self.until;
        let over = async {
            match until {
                // Stays open a little for events told just before.
                Some(until) => {
                    let left = until.duration_since(Timestamp::now());
                    let left = std::time::Duration::try_from(left).unwrap_or_default();
                    tokio::time::sleep(left).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            more = self.news.changed() => more.is_ok(),
            () = over => false,
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

    async fn all(mut stream: EventStream) -> Vec<Arc<wire::Event>> {
        let mut all = Vec::new();
        while let Some(event) = stream.next().await {
            all.push(event);
        }
        all
    }

    fn gap(event: &wire::Event) -> (&str, &str) {
        assert_eq!(
            (event.kind.as_str(), event.action.as_str()),
            ("daemon", "gap")
        );
        let attributes = &event.actor.attributes;
        assert_eq!(attributes["name"], "host");
        (&attributes["reason"], &attributes["missed"])
    }

    #[tokio::test]
    async fn the_stream_ends_at_until() {
        let events = Events::default();
        tell(&events, "container", "create", "a1");
        let past = |since| {
            let now = Some(Timestamp::now());
            all(events.stream(since, now, &filters(&[])).expect("stream"))
        };
        assert_eq!(past(Some(Timestamp::UNIX_EPOCH)).await.len(), 1);
        assert_eq!(past(None).await.len(), 1);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_told_as_a_gap() {
        let events = Events::default();
        events.introduce("id".to_owned(), "host".to_owned());
        for _ in 0..REMEMBERED + 5 {
            tell(&events, "container", "create", "a1");
        }
        let past = |since| {
            let now = Some(Timestamp::now());
            // Whatever is asked for.
            let filters = filters(&[("event", "create"), ("type", "container")]);
            all(events.stream(Some(since), now, &filters).expect("stream"))
        };
        let seen = past(Timestamp::UNIX_EPOCH).await;
        assert_eq!(gap(&seen[0]), ("forgotten", "5"));
        assert_eq!(seen.len(), 1 + REMEMBERED, "the memory is bounded");
        assert!(seen.is_sorted_by_key(|event| event.time_nano));
        // Who asks for less misses nothing, and is told nothing.
        let since = at(&seen[REMEMBERED / 2]);
        let seen = past(since).await;
        assert!(seen.iter().all(|event| event.action == "create"));
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed_and_holds_up_nobody() {
        let events = Events::default();
        events.introduce("id".to_owned(), "host".to_owned());
        let filters = filters(&[("event", "start")]);
        let mut slow = events.stream(None, None, &filters).expect("stream");
        for _ in 0..REMEMBERED + 7 {
            tell(&events, "container", "create", "a1");
        }
        tell(&events, "container", "start", "a1");
        assert_eq!(gap(&slow.next().await.expect("gap")), ("slow-reader", "8"));
        assert_eq!(slow.next().await.expect("event").action, "start");
        // From here on it keeps up again.
        tell(&events, "container", "start", "a2");
        assert_eq!(slow.next().await.expect("event").actor.id, "a2");
    }

    #[tokio::test]
    async fn long_labels_do_not_take_more_memory() {
        let events = Events::default();
        let label = "x".repeat(64 << 10);
        for _ in 0..200 {
            let attributes = BTreeMap::from([("label".to_owned(), label.clone())]);
            events.tell(
                "container",
                "create".to_owned(),
                "a1".to_owned(),
                attributes,
            );
        }
        let memory = events.inner.memory();
        assert!(memory.cost <= MEMORY && memory.events.len() > 50);
        assert_eq!(memory.events.len() as u64 + memory.forgotten, 200);
    }

    #[test]
    fn filters_choose() {
        let events = Events::default();
        tell(&events, "container", "exec_start: sh", "a1b2");
        let event = events.inner.memory().events[0].clone();
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
