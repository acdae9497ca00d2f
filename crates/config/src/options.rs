//! Every option that dockerd knows, and what Berth does about it.
//!
//! The table is the one source for the command line, for unknown keys in `daemon.json`, for what
//! a reload may change, and for the documentation.

use serde_json::Value;

use crate::{Error, Map, Result, pools, values};

mod table;

pub use table::OPTIONS;

/// An option: a key in `daemon.json`, mostly with a flag of its own.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The key in `daemon.json`.
    pub key: &'static str,
    /// The flag; `None` for what only the file can say.
    pub flag: Option<Flag>,
    /// What its values look like.
    pub shape: Shape,
    /// What Berth does about it.
    pub support: Support,
    /// A reload changes it.
    pub reloadable: bool,
    /// What `--help` says.
    pub help: &'static str,
}

/// A command line flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// `--long`.
    pub long: &'static str,
    /// `-s`.
    pub short: Option<char>,
}

/// What an option's values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `true` or `false`; `--flag` alone is true.
    Switch,
    /// A whole number.
    Number,
    /// Bytes, as a number or as text like `64M`.
    Size,
    /// Text.
    Text,
    /// A list of texts; the flag is repeated.
    List,
    /// Texts by key; the flag is repeated with `key=value`.
    Pairs,
    /// Switches by key; the flag is repeated with `key=true`.
    Switches,
    /// Limits by name; the flag is repeated with `name=soft[:hard]`.
    Ulimits,
    /// Runtimes by name; the flag is repeated with `name=path`. Flags and file add up.
    Runtimes,
    /// Address pools; the flag is repeated with `base=10.10.0.0/16,size=24`.
    Pools,
    /// Texts by key, by driver; the flag is repeated with `driver=key=value`.
    NetworkOptions,
    /// A structure of its own.
    Structure,
}

/// What Berth does about an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what dockerd does.
    Honoured,
    /// It is taken and has no effect, for this reason.
    Accepted(&'static str),
    /// It is refused, for this reason, unless its value is what holds anyway: nothing (false, 0,
    /// empty), or the value given here.
    Refused(&'static str, Option<&'static str>),
}

/// The option of this key.
pub(crate) fn find(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|opt| opt.key == key)
}

impl Opt {
    /// Refuses a value that Berth would have to ignore, and one of the wrong kind.
    pub(crate) fn admit(&self, value: &Value) -> Result<()> {
        if self.support != Support::Honoured && !self.shape.fits(value) {
            let message = format!(
                "invalid value for {}: expected {}",
                self.key,
                self.shape.name()
            );
            return Err(Error::invalid(message));
        }
        match self.support {
            Support::Honoured | Support::Accepted(_) => Ok(()),
            Support::Refused(_, Some(same)) if value.as_str() == Some(same) => Ok(()),
            Support::Refused(..) if says_nothing(value) => Ok(()),
            Support::Refused(why, _) => Err(Error::Unsupported {
                key: self.key,
                why: why.to_owned(),
            }),
        }
    }

    /// Adds one occurrence of the option's flag to `flags`, the values by the file's keys.
    ///
    /// # Errors
    /// `text` is not of the option's shape; the message does not name the flag.
    pub fn parse_flag(&self, text: &str, flags: &mut Map) -> Result<()> {
        let value = match self.shape {
            Shape::Switch => Value::Bool(parse_switch(text)?),
            Shape::Number => Value::from(parse_number(text)?),
            Shape::Size => Value::from(values::parse_size(text)?),
            Shape::Text => Value::from(text),
            Shape::List => return self.append(Value::from(text), flags),
            Shape::Pools => {
                let pool = pools::parse_flag(text)?;
                let pool = serde_json::json!({"base": pool.base, "size": pool.size});
                return self.append(pool, flags);
            }
            Shape::NetworkOptions => {
                let (driver, key, value) = parse_network_option(text)?;
                let entry = flags.entry(self.key).or_insert_with(empty);
                if let Value::Object(drivers) = entry
                    && let Value::Object(options) = drivers.entry(driver).or_insert_with(empty)
                {
                    options.insert(key.to_owned(), Value::from(value));
                }
                return Ok(());
            }
            Shape::Pairs | Shape::Switches | Shape::Ulimits | Shape::Runtimes => {
                let map = flags.entry(self.key).or_insert_with(empty);
                if let Value::Object(map) = map {
                    let (key, value) = self.shape.parse_entry(text, map)?;
                    map.insert(key, value);
                }
                return Ok(());
            }
            Shape::Structure => {
                return Err(Error::invalid("can only be set in the configuration file"));
            }
        };
        flags.insert(self.key.to_owned(), value);
        Ok(())
    }

    fn append(&self, item: Value, flags: &mut Map) -> Result<()> {
        let list = flags
            .entry(self.key)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(item);
        }
        Ok(())
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

impl Shape {
    fn parse_entry(self, text: &str, before: &Map) -> Result<(String, Value)> {
        match self {
            Shape::Ulimits => {
                let (name, soft, hard) = values::parse_ulimit(text)?;
                let value = serde_json::json!({"Name": name, "Hard": hard, "Soft": soft});
                Ok((name, value))
            }
            Shape::Runtimes => {
                let wrong = || Error::invalid(format!("invalid runtime argument: {text}"));
                let (name, path) = text.split_once('=').ok_or_else(wrong)?;
                let (name, path) = (name.trim(), path.trim());
                if name.is_empty() || path.is_empty() {
                    return Err(wrong());
                }
                if name == crate::STOCK_RUNTIME {
                    return Err(Error::invalid(format!("runtime name '{name}' is reserved")));
                }
                if before.contains_key(name) {
                    return Err(Error::invalid(format!(
                        "runtime '{name}' was already defined"
                    )));
                }
                Ok((name.to_owned(), serde_json::json!({"path": path})))
            }
            Shape::Switches => {
                let (key, value) = text.split_once('=').unwrap_or((text, "true"));
                Ok((key.to_owned(), Value::Bool(parse_switch(value)?)))
            }
            _ => match text.split_once('=') {
                Some((key, value)) => Ok((key.to_owned(), Value::from(value))),
                None => Ok((text.to_owned(), Value::from(""))),
            },
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            _ if value.is_null() => true,
            Shape::Switch => value.is_boolean(),
            Shape::Number => value.is_i64(),
            Shape::Size => value.is_i64() || value.is_string(),
            Shape::Text => value.is_string(),
            Shape::List => value
                .as_array()
                .is_some_and(|list| list.iter().all(Value::is_string)),
            Shape::Pairs | Shape::Switches | Shape::Ulimits | Shape::Runtimes => value.is_object(),
            Shape::NetworkOptions => value.is_object(),
            Shape::Pools => value.is_array(),
            Shape::Structure => value.is_object() || value.is_array(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Shape::Switch => "true or false",
            Shape::Number => "a whole number",
            Shape::Size => "a size",
            Shape::Text => "text",
            Shape::List => "a list of texts",
            Shape::Pairs | Shape::Switches | Shape::Ulimits | Shape::Runtimes => "an object",
            Shape::NetworkOptions => "an object of objects",
            Shape::Pools => "a list of objects",
            Shape::Structure => "an object or a list",
        }
    }
}

/// `driver=key=value` of `--default-network-opt`.
fn parse_network_option(text: &str) -> Result<(&str, &str, &str)> {
    let split = text.split_once('=').and_then(|(driver, option)| {
        let (key, value) = option.split_once('=')?;
        Some((driver, key, value))
    });
    split.ok_or_else(|| {
        Error::invalid(format!(
            "invalid value {text:?} for map option, should be root-key=key=value"
        ))
    })
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// What Go's flags take for a boolean.
fn parse_switch(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!(
            "parsing \"{text}\": invalid syntax"
        ))),
    }
}

fn parse_number(text: &str) -> Result<i64> {
    text.parse()
        .map_err(|_| Error::invalid(format!("parsing \"{text}\": invalid syntax")))
}

#[cfg(test)]
mod tests;
