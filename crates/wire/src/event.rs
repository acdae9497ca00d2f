//! What happens, as `GET /events` tells it.

use std::collections::BTreeMap;

use crate::object::object;

object! {
    /// Something that happened.
    pub struct Event {
        /// `container`, `image`, `network`, `volume`, `daemon` …
        kind: String = "Type";
        /// What happened: `create`, `start`, `die`, `exec_create: sh` …
        action: String = "Action";
        /// What it happened to.
        actor: Actor = "Actor";
        /// `local`.
        scope: String = "scope" omit;
        /// When, in seconds since 1970.
        time: i64 = "time" omit;
        /// When, in nanoseconds since 1970.
        time_nano: i64 = "timeNano" omit;
    }

    /// What something happened to.
    pub struct Actor {
        /// Its ID; an image's name for some.
        id: String = "ID";
        /// What else is known of it: name, labels, exit code …
        attributes: BTreeMap<String, String> = "Attributes";
    }
}
