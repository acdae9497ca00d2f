//! The Dockerfile instructions that `docker import --change` and `docker commit` take.
//!
//! They are applied to the JSON of a configuration, so that what we do not know in it stays.

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// Applies each change in turn to the `config` part of an image configuration.
///
/// # Errors
/// [`Error::Invalid`] for an instruction that is none or has bad arguments.
pub(crate) fn apply(config: &mut Map<String, Value>, changes: &[String]) -> Result<()> {
    for change in changes {
        for line in change
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            instruction(config, line)?;
        }
    }
    Ok(())
}

fn instruction(config: &mut Map<String, Value>, line: &str) -> Result<()> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let upper = word.to_ascii_uppercase();
    if !KNOWN.contains(&upper.as_str()) {
        return Err(Error::Invalid(format!(
            "{word} is not a valid change command"
        )));
    }
    if rest.is_empty() {
        return Err(Error::Invalid(match upper.as_str() {
            "ENV" | "LABEL" | "EXPOSE" | "VOLUME" => {
                format!("{upper} requires at least one argument")
            }
            _ => format!("{upper} requires exactly one argument"),
        }));
    }
    match upper.as_str() {
        "CMD" => set(config, "Cmd", command(rest)),
        "ENTRYPOINT" => {
            set(config, "Entrypoint", command(rest));
            // A command that belonged to another entrypoint makes no sense with this one.
            config.remove("Cmd");
        }
        "ENV" => env(config, rest)?,
        "LABEL" => {
            for (key, value) in pairs("LABEL", rest)? {
                add(config, "Labels", key, Value::String(value));
            }
        }
        "EXPOSE" => {
            for port in words(rest)? {
                for port in ports(&port)? {
                    add(config, "ExposedPorts", port, json!({}));
                }
            }
        }
        "VOLUME" => {
            for path in list(rest)? {
                if path.is_empty() {
                    return Err(Error::Invalid(
                        "VOLUME specified can not be an empty string".into(),
                    ));
                }
                add(config, "Volumes", path, json!({}));
            }
        }
        "USER" => set(config, "User", one(rest)?.into()),
        "WORKDIR" => workdir(config, &one(rest)?),
        "STOPSIGNAL" => set(config, "StopSignal", one(rest)?.into()),
        "HEALTHCHECK" => set(config, "Healthcheck", healthcheck(rest)?),
        "ONBUILD" => onbuild(config, rest)?,
        // `KNOWN` has no other.
        _ => {}
    }
    Ok(())
}

const KNOWN: &[&str] = &[
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn set(config: &mut Map<String, Value>, key: &str, value: Value) {
    config.insert(key.to_owned(), value);
}

/// Adds an entry to the object `key`.
fn add(config: &mut Map<String, Value>, key: &str, entry: String, value: Value) {
    let slot = config.entry(key).or_insert(Value::Null);
    match slot {
        Value::Object(map) => {
            map.insert(entry, value);
        }
        _ => *slot = Value::Object(Map::from_iter([(entry, value)])),
    }
}

/// A JSON array of strings as it is, everything else through the shell.
fn command(text: &str) -> Value {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(arguments) => json!(arguments),
        Err(_) => json!(["/bin/sh", "-c", text]),
    }
}

fn list(text: &str) -> Result<Vec<String>> {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(items) => Ok(items),
        Err(_) => words(text),
    }
}

fn one(text: &str) -> Result<String> {
    Ok(words(text)?.join(" "))
}

/// Splits at white space outside quotes; quotes and backslashes are taken away.
fn words(text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().extend(characters.next());
            }
            (_, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, None) if c.is_whitespace() => found.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Error::Invalid(format!(
            "unexpected end of statement while looking for matching quote: {text}"
        )));
    }
    found.extend(word);
    Ok(found)
}

/// `key=value …`, or the old `key value`.
fn pairs(what: &str, text: &str) -> Result<Vec<(String, String)>> {
    let first = text.split_whitespace().next().unwrap_or_default();
    let found: Vec<(String, String)> = if first.contains('=') {
        let pair = |word: String| {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                Error::Invalid(format!(
                    "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                ))
            })?;
            Ok((key.to_owned(), value.to_owned()))
        };
        words(text)?.into_iter().map(pair).collect::<Result<_>>()?
    } else {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::Invalid(format!("{what} must have two arguments")))?;
        vec![(key.to_owned(), words(value)?.join(" "))]
    };
    if found.iter().any(|(key, _)| key.is_empty()) {
        return Err(Error::Invalid(format!("{what} names can not be blank")));
    }
    Ok(found)
}

fn env(config: &mut Map<String, Value>, rest: &str) -> Result<()> {
    for (key, value) in pairs("ENV", rest)? {
        let prefix = format!("{key}=");
        let slot = config.entry("Env").or_insert_with(|| json!([]));
        if !slot.is_array() {
            *slot = json!([]);
        }
        let Value::Array(env) = slot else { continue };
        let entry = Value::String(format!("{key}={value}"));
        let old = env
            .iter_mut()
            .find(|e| e.as_str().is_some_and(|e| e.starts_with(&prefix)));
        match old {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
    }
    Ok(())
}

/// `port[-end][/protocol]`, as `ExposedPorts` keys.
fn ports(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::Invalid(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(Error::Invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let first: u16 = first.parse().map_err(|_| invalid())?;
    let last: u16 = last.parse().map_err(|_| invalid())?;
    if last < first {
        return Err(invalid());
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn workdir(config: &mut Map<String, Value>, path: &str) {
    let before = config
        .get("WorkingDir")
        .and_then(Value::as_str)
        .unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{before}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    let clean = format!("/{}", parts.join("/"));
    set(config, "WorkingDir", clean.into());
}

fn healthcheck(text: &str) -> Result<Value> {
    let mut check = Map::new();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let (key, value) = match name {
            "interval" => ("Interval", nanoseconds(name, value)?),
            "timeout" => ("Timeout", nanoseconds(name, value)?),
            "start-period" => ("StartPeriod", nanoseconds(name, value)?),
            "start-interval" => ("StartInterval", nanoseconds(name, value)?),
            "retries" => {
                let retries: u32 = value.parse().map_err(|_| {
                    Error::Invalid(format!(
                        "strconv.ParseInt: parsing {value:?}: invalid syntax"
                    ))
                })?;
                ("Retries", u64::from(retries))
            }
            other => return Err(Error::Invalid(format!("unknown flag: {other}"))),
        };
        check.insert(key.to_owned(), value.into());
        rest = after.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if arguments.trim().is_empty() => json!(["NONE"]),
        "NONE" => {
            return Err(Error::Invalid(
                "HEALTHCHECK NONE takes no arguments".to_owned(),
            ));
        }
        "CMD" => match serde_json::from_str::<Vec<String>>(arguments.trim()) {
            Ok(mut list) if !list.is_empty() => {
                list.insert(0, "CMD".to_owned());
                json!(list)
            }
            _ if arguments.trim().is_empty() => {
                return Err(Error::Invalid(
                    "Missing command after HEALTHCHECK CMD".to_owned(),
                ));
            }
            _ => json!(["CMD-SHELL", arguments.trim()]),
        },
        other => {
            return Err(Error::Invalid(format!(
                "Unknown type {other:?} in HEALTHCHECK (try CMD)"
            )));
        }
    };
    check.insert("Test".to_owned(), test);
    Ok(Value::Object(check))
}

/// A Go duration in nanoseconds, e.g. `1m30s`.
pub(crate) fn nanoseconds(flag: &str, text: &str) -> Result<u64> {
    let invalid = || Error::Invalid(format!("invalid duration {text:?} for --{flag}"));
    let mut total = 0f64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(invalid()),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if total != 0.0 && total < 1e6 {
        return Err(Error::Invalid(format!(
            "Interval {flag:?} cannot be less than 1ms"
        )));
    }
    Ok(total as u64)
}

fn onbuild(config: &mut Map<String, Value>, rest: &str) -> Result<()> {
    let word = rest
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    match word.as_str() {
        "ONBUILD" => {
            return Err(Error::Invalid(
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into(),
            ));
        }
        "FROM" | "MAINTAINER" => {
            return Err(Error::Invalid(format!(
                "{word} isn't allowed as an ONBUILD trigger"
            )));
        }
        _ => {}
    }
    let slot = config.entry("OnBuild").or_insert_with(|| json!([]));
    match slot {
        Value::Array(triggers) => triggers.push(rest.into()),
        _ => *slot = json!([rest]),
    }
    Ok(())
}
