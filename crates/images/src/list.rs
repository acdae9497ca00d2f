//! List: every image, or those that filters let through, from the table alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_reference::Reference;
use berth_wire as wire;

use crate::image::Image;
use crate::sizes::Users;
use crate::{Error, Images, Result, changes};

/// Docker's filters: a name and the values it may have. Values of one name are alternatives,
/// except for `label`, where all must fit.
pub type Filters = BTreeMap<String, Vec<String>>;

/// The filters there are.
const KNOWN: &[&str] = &[
    "before",
    "dangling",
    "label",
    "label!",
    "reference",
    "since",
    "until",
];

impl Images {
    /// What `docker images` shows, newest first. No RPC.
    ///
    /// # Errors
    /// [`Error::Invalid`] for filters that are none, [`Error::NotFound`] for images that
    /// `before` and `since` name.
    pub fn list(&self, filters: &Filters, shared_size: bool) -> Result<Vec<wire::ImageSummary>> {
        let patterns = filters.get("reference").map_or(&[][..], Vec::as_slice);
        let all = shared_size.then(|| self.all());
        let users = all.as_deref().map(Users::of);
        let summaries = self.select(filters)?.into_iter().map(|image| {
            let matched = |shown: &String| {
                patterns.is_empty() || patterns.iter().any(|p| familiar_match(p, shown))
            };
            wire::ImageSummary {
                id: image.id().to_string(),
                repo_tags: image
                    .tags()
                    .iter()
                    .filter(|t| matched(t))
                    .cloned()
                    .collect(),
                repo_digests: image
                    .digests()
                    .iter()
                    .filter(|d| matched(d))
                    .cloned()
                    .collect(),
                created: image.created().map_or(0, jiff::Timestamp::as_second),
                size: image.size(),
                shared_size: users.as_ref().map_or(-1, |users| users.shared(&image)),
                labels: image.config().labels.clone(),
                containers: -1,
                descriptor: Some(image.target().to_wire()),
                ..Default::default()
            }
        });
        Ok(summaries.collect())
    }

    /// The images that `filters` let through, newest first.
    pub(crate) fn select(&self, filters: &Filters) -> Result<Vec<Arc<Image>>> {
        let filter = Filter::new(self, filters)?;
        let mut images: Vec<Arc<Image>> = self
            .all()
            .into_iter()
            .filter(|image| filter.fits(image))
            .collect();
        images.sort_by(|a, b| {
            b.created()
                .cmp(&a.created())
                .then_with(|| a.id().cmp(b.id()))
        });
        Ok(images)
    }
}

/// Filters, read and checked.
struct Filter<'a> {
    before: Option<jiff::Timestamp>,
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
    dangling: Option<bool>,
    labels: Vec<(&'a str, bool)>,
    references: &'a [String],
}

impl<'a> Filter<'a> {
    fn new(images: &Images, filters: &'a Filters) -> Result<Filter<'a>> {
        if let Some(unknown) = filters.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(Error::Invalid(format!("invalid filter '{unknown}'")));
        }
        let values = |key: &str| filters.get(key).map_or(&[][..], Vec::as_slice);
        let made = |key: &str| -> Result<Vec<jiff::Timestamp>> {
            let images = values(key).iter().map(|name| images.resolve(name));
            images
                .map(|i| Ok(i?.created().unwrap_or(jiff::Timestamp::UNIX_EPOCH)))
                .collect()
        };
        let until: Vec<_> = values("until")
            .iter()
            .map(|text| moment(text))
            .collect::<Result<_>>()?;
        let mut flags = wire::Filters::new();
        for value in values("dangling") {
            flags.add("dangling", value);
        }
        let dangling = flags.flag("dangling");
        let dangling = dangling.map_err(|error| Error::Invalid(error.to_string()))?;
        let labels = values("label").iter().map(|l| (l.as_str(), true));
        let labels = labels.chain(values("label!").iter().map(|l| (l.as_str(), false)));
        Ok(Filter {
            before: made("before")?.into_iter().min(),
            since: made("since")?.into_iter().max(),
            until: until.into_iter().min(),
            dangling,
            labels: labels.collect(),
            references: values("reference"),
        })
    }

    fn fits(&self, image: &Image) -> bool {
        let created = image.created().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let shown = || image.tags().iter().chain(image.digests());
        self.before.is_none_or(|t| created < t)
            && self.since.is_none_or(|t| created > t)
            && self.until.is_none_or(|t| created < t)
            && self.dangling.is_none_or(|d| d == image.is_dangling())
            && self
                .labels
                .iter()
                .all(|(label, wanted)| has_label(image, label) == *wanted)
            && (self.references.is_empty()
                || self
                    .references
                    .iter()
                    .any(|p| shown().any(|name| familiar_match(p, name))))
    }
}

fn has_label(image: &Image, label: &str) -> bool {
    let labels = &image.config().labels;
    match label.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
        None => labels.contains_key(label),
    }
}

/// RFC 3339, seconds since 1970, or a Go duration before now.
fn moment(text: &str) -> Result<jiff::Timestamp> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return jiff::Timestamp::from_second(seconds).map_err(|e| Error::Invalid(e.to_string()));
    }
    if let Ok(date) = text.parse::<jiff::civil::DateTime>() {
        let zoned = date.to_zoned(jiff::tz::TimeZone::system());
        return zoned
            .map(|z| z.timestamp())
            .map_err(|e| Error::Invalid(e.to_string()));
    }
    let ago =
        std::time::Duration::from_nanos(changes::nanoseconds("until", text).map_err(|_| {
            Error::Invalid(format!(
                "failed to parse value as time or duration: {text:?}"
            ))
        })?);
    jiff::Timestamp::now()
        .checked_sub(ago)
        .map_err(|e| Error::Invalid(e.to_string()))
}

/// True when the pattern fits the name as shown, or its repository alone.
fn familiar_match(pattern: &str, shown: &str) -> bool {
    glob(pattern.as_bytes(), shown.as_bytes())
        || Reference::parse(shown)
            .is_ok_and(|r| glob(pattern.as_bytes(), r.familiar_name().as_bytes()))
}

/// Go's `path.Match`: `*` and `?` do not match `/`. A pattern that is broken matches nothing.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when the rest does not fit: the last `*` takes one character more.
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            None if t == text.len() => return true,
            None => None,
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => one(&pattern[p..], text.get(t).copied()),
        };
        if let Some(used) = step {
            p += used;
            t += 1;
            continue;
        }
        match retry {
            Some((star, at)) if at < text.len() && text[at] != b'/' => {
                retry = Some((star, at + 1));
                (p, t) = (star + 1, at + 1);
            }
            _ => return false,
        }
    }
}

/// How many bytes of the pattern match this one character.
fn one(pattern: &[u8], c: Option<u8>) -> Option<usize> {
    let c = c?;
    match *pattern.first()? {
        b'?' => (c != b'/').then_some(1),
        b'\\' => (*pattern.get(1)? == c).then_some(2),
        b'[' => class(pattern, c),
        literal => (literal == c).then_some(1),
    }
}

fn class(pattern: &[u8], c: u8) -> Option<usize> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    let mut first = true;
    while first || *pattern.get(at)? != b']' {
        first = false;
        let (low, next) = class_character(pattern, at)?;
        let (high, next) = match pattern.get(next) {
            Some(b'-') => class_character(pattern, next + 1)?,
            _ => (low, next),
        };
        found |= (low..=high).contains(&c);
        at = next;
    }
    (found != negated && c != b'/').then_some(at + 1)
}

fn class_character(pattern: &[u8], at: usize) -> Option<(u8, usize)> {
    match *pattern.get(at)? {
        b'\\' => Some((*pattern.get(at + 1)?, at + 2)),
        b']' | b'-' => None,
        c => Some((c, at + 1)),
    }
}
