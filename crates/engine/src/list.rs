//! `docker ps`: containers, filtered and in short.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use berth_spec::modes::Mode;
use berth_wire::{self as wire, Filters, InvalidFilter};
use jiff::Timestamp;

use crate::container::handle::{Handle, View};
use crate::container::health::Verdict;
use crate::container::record::Status;
use crate::network::port_proto;
use crate::options::ListOptions;
use crate::shared::Shared;
use crate::{Error, Result, inspect, mounts};

const FILTERS: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "annotation",
];
const STATUSES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

pub(crate) fn list(shared: &Shared, options: &ListOptions) -> Result<Vec<wire::ContainerSummary>> {
    let choice = Choice::new(shared, &options.filters)?;
    let limit = options
        .limit
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0);
    let all = options.all || limit.is_some() || choice.wants_all;
    let index = shared.table.load();
    let mut views: Vec<Arc<View>> = index.all().map(|handle| handle.view()).collect();
    views.sort_by(|a, b| (b.record.created, &b.record.id).cmp(&(a.record.created, &a.record.id)));
    let now = Timestamp::now();
    let chosen = views
        .iter()
        .filter(|view| !view.gone && (all || view.run.status.is_up()) && choice.takes(shared, view))
        .take(limit.unwrap_or(usize::MAX));
    let mut images = ImageNames::default();
    if !options.size {
        return Ok(chosen
            .map(|view| summary(shared, view, now, &mut images))
            .collect());
    }
    // Adding up files blocks; other tasks go on meanwhile.
    Ok(tokio::task::block_in_place(|| {
        chosen
            .map(|view| {
                let sizes = inspect::sizes(shared, &view.record);
                let summary = summary(shared, view, now, &mut images);
                wire::ContainerSummary {
                    size_rw: sizes.rw,
                    size_root_fs: sizes.root_fs,
                    ..summary
                }
            })
            .collect()
    }))
}

/// Filters, checked and looked up.
struct Choice<'a> {
    filters: &'a Filters,
    /// Filtering by status or exit code looks at containers that do not run.
    wants_all: bool,
    exited: BTreeSet<i64>,
    /// Ids of images that containers shall be of, or names.
    ancestors: Option<BTreeSet<String>>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl<'a> Choice<'a> {
    fn new(shared: &Shared, filters: &'a Filters) -> Result<Choice<'a>> {
        let invalid = |error: InvalidFilter| Error::invalid(error.to_string());
        filters.validate(&FILTERS).map_err(invalid)?;
        for (name, what, known) in [
            ("status", "state", &STATUSES[..]),
            ("health", "health", &HEALTHS),
        ] {
            let values = filters.get(name);
            if let Some(value) = values.into_iter().find(|value| !known.contains(value)) {
                return Err(Error::invalid(format!(
                    "invalid filter '{name}={value}': invalid value for {what} ({value}): must be one of {}",
                    known.join(", ")
                )));
            }
        }
        filters.flag("is-task").map_err(invalid)?;
        let mut exited = BTreeSet::new();
        for value in filters.get("exited") {
            exited.insert(value.parse().map_err(|_| {
                Error::invalid(format!(
                    "invalid filter 'exited={value}': strconv.Atoi: parsing {value:?}: invalid syntax"
                ))
            })?);
        }
        for name in ["publish", "expose"] {
            for value in filters.get(name) {
                ports_of(value).map_err(|_| invalid(InvalidFilter::values(name, &[value])))?;
            }
        }
        let made = |name: &str| -> Result<Option<Timestamp>> {
            let found = filters
                .get(name)
                .first()
                .map(|id| shared.table.find(id))
                .transpose()?;
            Ok(found.map(|handle: Arc<Handle>| handle.view().record.created))
        };
        Ok(Choice {
            wants_all: filters.contains("status") || filters.contains("exited"),
            exited,
            ancestors: ancestors(shared, filters),
            before: made("before")?,
            since: made("since")?,
            filters,
        })
    }

    fn takes(&self, shared: &Shared, view: &View) -> bool {
        let filters = self.filters;
        let (record, run) = (&view.record, &view.run);
        let status = run.status.as_str();
        // A paused container runs, too.
        let status_fits = filters.exact("status", status)
            || (run.status == Status::Paused
                && filters.exact("status", "running")
                && filters.contains("status"));
        let name_fits = filters.pattern("name", &record.name)
            || filters.pattern("name", &format!("/{}", record.name));
        let exited_fits = self.exited.is_empty()
            || (self.exited.contains(&run.exit_code)
                && !run.status.is_up()
                && run.status != Status::Created);
        let image_fits = self.ancestors.as_ref().is_none_or(|wanted| {
            wanted.contains(&record.image) || wanted.contains(&record.config.image)
        });
        status_fits
            && name_fits
            && exited_fits
            && image_fits
            && self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
            && filters.prefix("id", &record.id)
            && filters.labels("label", &record.config.labels)
            && filters.exact("health", health(view))
            && !matches!(filters.flag("is-task"), Ok(Some(true)))
            && self.in_network(shared, view)
            && self.has_mount(view)
            && self.has_port("publish", || published(view))
            && self.has_port("expose", || exposed(view))
    }

    fn in_network(&self, shared: &Shared, view: &View) -> bool {
        if !self.filters.contains("network") {
            return true;
        }
        let wanted = self.filters.get("network");
        let mode = Mode::of(&view.record.host.network_mode);
        let networks = inspect::networks(shared, view);
        networks.iter().any(|(name, settings)| {
            let id = &settings.network_id;
            wanted
                .iter()
                .any(|w| w == name || (!id.is_empty() && id.starts_with(w)))
        }) || (mode == Mode::Host && wanted.contains(&"host"))
    }

    fn has_mount(&self, view: &View) -> bool {
        !self.filters.contains("volume")
            || mounts::shown(&view.record).iter().any(|mount| {
                let what = match mount.name.is_empty() {
                    true => &mount.source,
                    false => &mount.name,
                };
                self.filters.exact("volume", what)
                    || self.filters.exact("volume", &mount.destination)
            })
    }

    fn has_port(&self, name: &str, has: impl FnOnce() -> Vec<(u16, String)>) -> bool {
        let wanted = self.filters.get(name);
        if wanted.is_empty() {
            return true;
        }
        let has = has();
        wanted.iter().any(|value| {
            ports_of(value).is_ok_and(|(range, proto)| {
                has.iter()
                    .any(|(port, of)| range.contains(port) && *of == proto)
            })
        })
    }
}

/// `80`, `80/udp` or `8000-8010/tcp`.
fn ports_of(text: &str) -> Result<(std::ops::RangeInclusive<u16>, String)> {
    let (ports, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| port_proto(&format!("{text}/{proto}"));
    let ((first, proto), (last, _)) = (port(first)?, port(last)?);
    Ok((first..=last, proto.to_string()))
}

fn ancestors(shared: &Shared, filters: &Filters) -> Option<BTreeSet<String>> {
    if !filters.contains("ancestor") {
        return None;
    }
    let mut wanted = BTreeSet::new();
    for name in filters.get("ancestor") {
        match shared.images.resolve(name) {
            Ok(image) => wanted.insert(image.id().to_string()),
            Err(_) => wanted.insert(name.to_owned()),
        };
    }
    Some(wanted)
}

fn published(view: &View) -> Vec<(u16, String)> {
    view.ports()
        .map(|port| (port.host_port, port.proto.to_string()))
        .collect()
}

fn exposed(view: &View) -> Vec<(u16, String)> {
    let ports = view.record.config.exposed_ports.iter();
    let ports = ports.chain(view.record.host.port_bindings.keys());
    ports
        .filter_map(|port| port_proto(port).ok())
        .map(|(port, proto)| (port, proto.to_string()))
        .collect()
}

fn summary<'v>(
    shared: &Shared,
    view: &'v View,
    now: Timestamp,
    images: &mut ImageNames<'v>,
) -> wire::ContainerSummary {
    let record = &view.record;
    wire::ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: images.of(shared, view),
        image_id: record.image.clone(),
        command: command(view),
        created: record.created.as_second(),
        ports: ports(view),
        labels: record.config.labels.clone(),
        state: view.run.status.as_str().to_owned(),
        status: status(view, now),
        health: Some(health_summary(view)),
        host_config: wire::HostConfigSummary {
            network_mode: record.host.network_mode.clone(),
            annotations: record.host.annotations.clone(),
        },
        network_settings: wire::NetworkSettingsSummary {
            networks: inspect::networks(shared, view),
        },
        mounts: mounts::shown(record),
        ..Default::default()
    }
}

/// What images are called, by what the user called them and their IDs. Many containers are of one
/// image, and looking its name up is a good part of the work for a container in a list.
#[derive(Default)]
struct ImageNames<'v>(HashMap<(&'v str, &'v str), String>);

impl<'v> ImageNames<'v> {
    fn of(&mut self, shared: &Shared, view: &'v View) -> String {
        let key = (
            view.record.config.image.as_str(),
            view.record.image.as_str(),
        );
        self.0
            .entry(key)
            .or_insert_with(|| image_name(shared, view))
            .clone()
    }
}

/// The image as the user called it, as long as that name still means it.
fn image_name(shared: &Shared, view: &View) -> String {
    let name = &view.record.config.image;
    match shared.images.resolve(name) {
        Ok(image) if image.id().to_string() != view.record.image => view.record.image.clone(),
        Err(_) if !view.record.image.starts_with(name) && !name.starts_with("sha256:") => {
            view.record.image.clone()
        }
        _ => name.clone(),
    }
}

fn command(view: &View) -> String {
    let words = view.record.command();
    let quoted =
        words
            .iter()
            .enumerate()
            .map(|(index, word)| match index > 0 && word.contains(' ') {
                true => format!("'{word}'"),
                false => (*word).to_owned(),
            });
    quoted.collect::<Vec<_>>().join(" ")
}

fn ports(view: &View) -> Vec<wire::PortSummary> {
    if view.endpoints().is_empty() {
        return Vec::new();
    }
    let mut list: Vec<_> = view
        .ports()
        .map(|port| wire::PortSummary {
            ip: port.host_ip.to_string(),
            private_port: port.container_port,
            public_port: port.host_port,
            kind: port.proto.to_string(),
        })
        .collect();
    for (private_port, kind) in exposed(view) {
        if !list
            .iter()
            .any(|port| port.private_port == private_port && port.kind == kind)
        {
            list.push(wire::PortSummary {
                private_port,
                kind,
                ..Default::default()
            });
        }
    }
    list
}

/// Docker's word for its health.
fn health(view: &View) -> &'static str {
    let health = view.run.health.as_ref();
    health.map_or("none", |health| health.status.as_str())
}

/// What does not run has no health.
fn health_summary(view: &View) -> wire::HealthSummary {
    let health = view.run.health.as_ref();
    match health.filter(|_| view.run.status.is_running()) {
        Some(health) => wire::HealthSummary {
            status: health.status.as_str().to_owned(),
            failing_streak: health.failing_streak(),
        },
        None => wire::HealthSummary {
            status: "none".to_owned(),
            failing_streak: 0,
        },
    }
}

/// What stands in the column STATUS.
fn status(view: &View, now: Timestamp) -> String {
    let run = &view.run;
    let since = |time: Option<Timestamp>| human(now.as_second() - time.unwrap_or(now).as_second());
    match run.status {
        Status::Running => match run.health.as_ref().map(|health| health.status) {
            None => format!("Up {}", since(run.started_at)),
            Some(Verdict::Starting) => format!("Up {} (health: starting)", since(run.started_at)),
            Some(health) => format!("Up {} ({})", since(run.started_at), health.as_str()),
        },
        Status::Paused => format!("Up {} (Paused)", since(run.started_at)),
        Status::Restarting => {
            let ended = since(run.finished_at);
            format!("Restarting ({}) {ended} ago", run.exit_code)
        }
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        Status::Exited => match run.finished_at {
            Some(_) => format!("Exited ({}) {} ago", run.exit_code, since(run.finished_at)),
            None => "Created".to_owned(),
        },
    }
}

/// A duration in words, as Docker rounds it (`units.HumanDuration`).
fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    // To the nearest hour, as Go's Round does.
    let hours = (seconds + HOUR / 2) / HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / DAY / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::health::Health;
    use crate::container::record::{Record, RunState};

    #[test]
    fn durations_in_dockers_words() {
        let day = 24 * 3600;
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (2 * day - 3600, "47 hours"),
            (2 * day, "2 days"),
            (14 * day, "2 weeks"),
            (60 * day, "2 months"),
            (800 * day, "2 years"),
        ];
        for (seconds, words) in cases {
            assert_eq!(human(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn statuses_in_dockers_words() {
        let now = Timestamp::from_second(10_000).expect("a time");
        let ago = |seconds: i64| Timestamp::from_second(10_000 - seconds).ok();
        let told = |run: RunState| {
            let record = Arc::new(Record::default());
            status(&View::new(record, run, None), now)
        };
        let of = |status| RunState {
            status,
            exit_code: 137,
            started_at: ago(180),
            finished_at: ago(5),
            ..RunState::default()
        };
        assert_eq!(told(of(Status::Running)), "Up 3 minutes");
        assert_eq!(told(of(Status::Paused)), "Up 3 minutes (Paused)");
        assert_eq!(
            told(of(Status::Restarting)),
            "Restarting (137) 5 seconds ago"
        );
        assert_eq!(told(of(Status::Exited)), "Exited (137) 5 seconds ago");
        assert_eq!(told(of(Status::Removing)), "Removal In Progress");
        assert_eq!(told(of(Status::Dead)), "Dead");
        assert_eq!(told(RunState::default()), "Created");
        for (verdict, words) in [
            (Verdict::Starting, "Up 3 minutes (health: starting)"),
            (Verdict::Healthy, "Up 3 minutes (healthy)"),
            (Verdict::Unhealthy, "Up 3 minutes (unhealthy)"),
        ] {
            let health = Some(Health {
                status: verdict,
                ..Health::default()
            });
            let run = of(Status::Running);
            assert_eq!(told(RunState { health, ..run }), words);
        }
    }

    #[test]
    fn port_filters() {
        assert_eq!(
            ports_of("8000-8010/udp").expect("range"),
            (8000..=8010, "udp".to_owned())
        );
        assert_eq!(ports_of("80").expect("port"), (80..=80, "tcp".to_owned()));
        assert!(ports_of("web").is_err());
    }
}
