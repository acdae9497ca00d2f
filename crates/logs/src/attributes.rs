//! The extra attributes of each record: `labels`, `labels-regex`, `env`, `env-regex` and `tag`.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex_lite::Regex;

use crate::{Error, Options, Result};

/// The extra attributes of a container's records, by name.
pub type Attributes = Arc<BTreeMap<String, String>>;

/// The container whose output is logged: what attributes and tags are made of.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// The container's full id.
    pub id: &'a str,
    /// Its name, with or without the leading slash.
    pub name: &'a str,
    /// The full id of its image.
    pub image_id: &'a str,
    /// The image's name as the user gave it.
    pub image_name: &'a str,
    /// What it runs: entrypoint and arguments.
    pub command: Vec<&'a str>,
    /// `NAME=value` each.
    pub env: &'a [String],
    /// Its labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl Options {
    /// The attributes that each of the container's records gets, by these options.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a regular expression or a tag template that is none.
    pub fn attributes(&self, subject: &Subject<'_>) -> Result<Attributes> {
        let labels = || {
            subject
                .labels
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.as_str(), v.as_str()))
        };
        let env = || {
            subject
                .env
                .iter()
                .filter_map(|variable| variable.split_once('='))
        };
        let mut found = BTreeMap::new();
        select(&self.labels, &self.labels_regex, labels, &mut found)?;
        select(&self.env, &self.env_regex, env, &mut found)?;
        let tag = self
            .tag
            .as_deref()
            .map(|tag| render_tag(tag, subject))
            .transpose()?;
        if let Some(tag) = tag.filter(|tag| !tag.is_empty()) {
            found.insert("tag".to_owned(), tag);
        }
        Ok(Arc::new(found))
    }
}

fn select<'a, I: Iterator<Item = (&'a str, &'a str)>>(
    names: &[String],
    pattern: &str,
    from: impl Fn() -> I,
    into: &mut BTreeMap<String, String>,
) -> Result<()> {
    let wanted = from().filter(|(key, _)| names.iter().any(|name| name == key));
    into.extend(wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
    if !pattern.is_empty() {
        let regex = Regex::new(pattern).map_err(|error| {
            Error::InvalidOption(format!("error parsing regexp: {error}: `{pattern}`"))
        })?;
        let wanted = from().filter(|(key, _)| regex.is_match(key));
        into.extend(wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
    Ok(())
}

/// Fills in a tag's `{{.Field}}` places. Of Go's template language that is what tags are
/// documented with; anything else is refused.
fn render_tag(template: &str, subject: &Subject<'_>) -> Result<String> {
    let mut tag = String::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once("{{") {
        tag.push_str(text);
        let (field, after) = after.split_once("}}").ok_or_else(|| {
            Error::InvalidOption("template: log-tag:1: unclosed action".to_owned())
        })?;
        tag.push_str(&tag_field(field.trim_matches(['-', ' ']), subject)?);
        rest = after;
    }
    tag.push_str(rest);
    Ok(tag)
}

fn tag_field(field: &str, subject: &Subject<'_>) -> Result<String> {
    let short = |id: &str| id.chars().take(12).collect::<String>();
    Ok(match field {
        ".ID" => short(subject.id),
        ".FullID" | ".ContainerID" => subject.id.to_owned(),
        ".Name" => subject
            .name
            .strip_prefix('/')
            .unwrap_or(subject.name)
            .to_owned(),
        ".ContainerName" => format!(
            "/{}",
            subject.name.strip_prefix('/').unwrap_or(subject.name)
        ),
        ".ImageID" => short(subject.image_id),
        ".ImageFullID" | ".ContainerImageID" => subject.image_id.to_owned(),
        ".ImageName" | ".ContainerImageName" => subject.image_name.to_owned(),
        ".Command" => subject.command.join(" "),
        ".DaemonName" => "docker".to_owned(),
        _ => {
            let name = field.strip_prefix('.').unwrap_or(field);
            return Err(Error::InvalidOption(format!(
                "template: log-tag:1: executing \"log-tag\" at <{field}>: can't evaluate field \
                 {name} in type *loggerutils.Context"
            )));
        }
    })
}
