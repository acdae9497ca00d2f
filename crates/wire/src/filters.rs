//! The `filters` parameter of lists, prunes and events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Filters: a name and the values it may have. What is read is both forms that clients send:
/// `{"label": {"a": true}}` and, from old ones, `{"label": ["a"]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Filters {
    fields: BTreeMap<String, BTreeMap<String, bool>>,
}

/// A filter is not one, has no value or one that is none: `invalid filter 'dangling=[x]'`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidFilter {
    message: String,
}

impl InvalidFilter {
    /// `invalid filter 'name'`.
    #[must_use]
    pub fn name(name: &str) -> InvalidFilter {
        InvalidFilter {
            message: format!("invalid filter '{name}'"),
        }
    }

    /// `invalid filter 'name=[value value]'`.
    #[must_use]
    pub fn values(name: &str, values: &[&str]) -> InvalidFilter {
        InvalidFilter {
            message: format!("invalid filter '{name}=[{}]'", values.join(" ")),
        }
    }

    /// `invalid filter`: the whole parameter is none.
    #[must_use]
    pub fn all() -> InvalidFilter {
        InvalidFilter {
            message: "invalid filter".to_owned(),
        }
    }
}

impl Filters {
    /// No filters: everything is let through.
    #[must_use]
    pub fn new() -> Filters {
        Filters::default()
    }

    /// Reads the parameter; nothing is no filters.
    ///
    /// # Errors
    /// It is neither of the two forms.
    pub fn from_json(text: &str) -> Result<Filters, InvalidFilter> {
        if text.is_empty() {
            return Ok(Filters::new());
        }
        serde_json::from_str(text).map_err(|_| InvalidFilter::all())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Adds a value to a filter.
    pub fn add(&mut self, name: &str, value: &str) {
        self.fields
            .entry(name.to_owned())
            .or_default()
            .insert(value.to_owned(), true);
    }

    /// The names of the filters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// The values of a filter, in order; none when it is not given.
    #[must_use]
    pub fn get(&self, name: &str) -> Vec<&str> {
        self.values(name).map_or_else(Vec::new, |values| {
            values.keys().map(String::as_str).collect()
        })
    }

    /// Whether the filter is given, even without a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// All filters with their values.
    #[must_use]
    pub fn lists(&self) -> BTreeMap<String, Vec<String>> {
        let lists = self.fields.iter();
        lists
            .map(|(name, values)| (name.clone(), values.keys().cloned().collect()))
            .collect()
    }

    /// Checks that all filters are among `known`.
    ///
    /// # Errors
    /// `invalid filter 'x'` for the first that is not.
    pub fn validate(&self, known: &[&str]) -> Result<(), InvalidFilter> {
        match self.names().find(|name| !known.contains(name)) {
            Some(unknown) => Err(InvalidFilter::name(unknown)),
            None => Ok(()),
        }
    }

    /// The truth value of a filter; `None` when it is not given.
    ///
    /// # Errors
    /// It has no value, another value than `1`, `true`, `0`, `false`, or both.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, InvalidFilter> {
        let Some(values) = self.fields.get(name) else {
            return Ok(None);
        };
        if values.is_empty() {
            return Err(InvalidFilter::name(name));
        }
        let any = |texts: [&str; 2]| texts.iter().any(|t| values.get(*t) == Some(&true));
        match (any(["1", "true"]), any(["0", "false"])) {
            (true, false) => Ok(Some(true)),
            (false, true) => Ok(Some(false)),
            _ => Err(InvalidFilter::values(name, &self.get(name))),
        }
    }

    /// Whether `value` is one of the filter's, or there is no such filter.
    #[must_use]
    pub fn exact(&self, name: &str, value: &str) -> bool {
        self.values(name)
            .is_none_or(|values| values.get(value) == Some(&true))
    }

    /// Whether `value` is the filter's only one, or there is no such filter.
    #[must_use]
    pub fn unique_exact(&self, name: &str, value: &str) -> bool {
        self.values(name)
            .is_none_or(|v| v.len() == 1 && v.get(value) == Some(&true))
    }

    /// Whether `value` begins with one of the filter's, or there is no such filter.
    #[must_use]
    pub fn prefix(&self, name: &str, value: &str) -> bool {
        self.values(name)
            .is_none_or(|v| v.keys().any(|prefix| value.starts_with(prefix.as_str())))
    }

    /// Whether `value` is one of the filter's or one of them, taken as a regular expression, is
    /// found in it, or there is no such filter. This is Docker's `Match`, for names and IDs.
    #[must_use]
    pub fn pattern(&self, name: &str, value: &str) -> bool {
        let Some(values) = self.values(name) else {
            return true;
        };
        values.get(value) == Some(&true) || values.keys().any(|pattern| found(pattern, value))
    }

    /// Whether all of the filter's `key` and `key=value` fit `map`, or there is no such filter.
    #[must_use]
    pub fn labels(&self, name: &str, map: &BTreeMap<String, String>) -> bool {
        let Some(values) = self.values(name) else {
            return true;
        };
        values.keys().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => map.get(key).is_some_and(|found| found == value),
            None => map.contains_key(wanted),
        })
    }

    /// The values of a filter that has any.
    fn values(&self, name: &str) -> Option<&BTreeMap<String, bool>> {
        self.fields.get(name).filter(|values| !values.is_empty())
    }
}

/// Whether the expression is found in the text; one that is broken is not.
fn found(pattern: &str, text: &str) -> bool {
    // Most are plain words: no expression needs to be made of them.
    if pattern
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/'))
    {
        return text.contains(pattern);
    }
    regex_lite::Regex::new(pattern).is_ok_and(|expression| expression.is_match(text))
}

impl From<&Filters> for BTreeMap<String, Vec<String>> {
    fn from(filters: &Filters) -> BTreeMap<String, Vec<String>> {
        filters.lists()
    }
}

impl<'de> Deserialize<'de> for Filters {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Filters, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Sets(BTreeMap<String, Option<BTreeMap<String, Option<bool>>>>),
            Lists(BTreeMap<String, Option<Vec<Option<String>>>>),
        }
        let fields = match Option::<Form>::deserialize(from)? {
            None => BTreeMap::new(),
            Some(Form::Sets(sets)) => {
                let flags = |set: BTreeMap<String, Option<bool>>| {
                    set.into_iter()
                        .map(|(value, flag)| (value, flag.unwrap_or(false)))
                        .collect()
                };
                sets.into_iter()
                    .map(|(n, set)| (n, set.map(flags).unwrap_or_default()))
                    .collect()
            }
            Some(Form::Lists(lists)) => {
                let all = |list: Vec<Option<String>>| {
                    list.into_iter()
                        .map(|value| (value.unwrap_or_default(), true))
                        .collect()
                };
                lists
                    .into_iter()
                    .map(|(n, list)| (n, list.map(all).unwrap_or_default()))
                    .collect()
            }
        };
        Ok(Filters { fields })
    }
}

#[cfg(test)]
mod tests;
