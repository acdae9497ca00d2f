//! The daemon's log on stderr, in the forms that dockerd has: `time=… level=… msg=…`, or one
//! JSON object a line.

use std::fmt::{self, Write};

use berth_config::{Config, LogFormat, LogLevel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Changes what is logged while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    handle: reload::Handle<Targets, tracing_subscriber::Registry>,
}

impl Levels {
    /// Logs what the configuration says from now on.
    pub(crate) fn apply(&self, config: &Config) {
        if let Err(error) = self.handle.reload(filter(config)) {
            tracing::warn!(%error, "the log level did not change");
        }
    }
}

/// Starts logging.
pub(crate) fn init(config: &Config) -> Levels {
    let (filter, handle) = reload::Layer::new(filter(config));
    let format = Format(config.log_format);
    let lines = tracing_subscriber::fmt::layer()
        .event_format(format)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // Fails only where a logger is set already: in tests.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    Levels { handle }
}

/// Our own words at the level asked for; other libraries' only when they warn.
fn filter(config: &Config) -> Targets {
    let level = match config.log_level {
        _ if config.debug && config.log_level != LogLevel::Trace => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Fatal => LevelFilter::ERROR,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("berth", level)
}

/// Formats one event as one line.
#[derive(Debug)]
struct Format(LogFormat);

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line {
            time: jiff::Timestamp::now(),
            level: name(*event.metadata().level()),
            fields,
        };
        let text = match self.0 {
            LogFormat::Text => line.text()?,
            LogFormat::Json => line.json(),
        };
        writeln!(out, "{text}")
    }
}

struct Line {
    time: jiff::Timestamp,
    level: &'static str,
    fields: Fields,
}

impl Line {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        write!(text, "time=\"{:.9}\" level={} msg=", self.time, self.level)?;
        push_value(&mut text, &self.fields.message);
        for (key, value) in &self.fields.others {
            write!(text, " {key}=")?;
            push_value(&mut text, value);
        }
        Ok(text)
    }

    fn json(&self) -> String {
        let mut map = serde_json::Map::new();
        for (key, value) in &self.fields.others {
            map.insert((*key).to_owned(), value.as_str().into());
        }
        map.insert("level".to_owned(), self.level.into());
        map.insert("msg".to_owned(), self.fields.message.as_str().into());
        map.insert("time".to_owned(), format!("{:.9}", self.time).into());
        serde_json::Value::Object(map).to_string()
    }
}

/// A value as logfmt has it: quoted where it is not plain.
fn push_value(text: &mut String, value: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        text.push_str(value);
    } else {
        // JSON's quoting is a subset of what logfmt readers know, and keeps a line one line.
        text.push_str(&serde_json::Value::from(value).to_string());
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warning",
        Level::ERROR => "error",
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            time: "2026-11-24T03:59:57.5Z".parse().unwrap(),
            level: "info",
            fields: Fields {
                message: "API listen on /run/b.sock".into(),
                others: vec![("container", "abc".into()), ("error", "a \"b\"\nc".into())],
            },
        }
    }

    #[test]
    fn text_is_as_dockerd_has_it_and_one_line() {
        assert_eq!(
            line().text().unwrap(),
            r#"time="2026-11-24T03:59:57.500000000Z" level=info msg="API listen on /run/b.sock" container=abc error="a \"b\"\nc""#
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let value: serde_json::Value = serde_json::from_str(&line().json()).unwrap();
        assert_eq!(value["msg"], "API listen on /run/b.sock");
        assert_eq!(value["time"], "2026-11-24T03:59:57.500000000Z");
        assert_eq!(value["error"], "a \"b\"\nc");
        assert!(!line().json().contains('\n'));
    }

    #[test]
    fn other_libraries_are_quiet() {
        let config = Config {
            debug: true,
            ..Config::default()
        };
        let filter = filter(&config);
        assert!(filter.would_enable("berth_engine::container", &Level::DEBUG));
        assert!(filter.would_enable("berthd", &Level::DEBUG));
        assert!(!filter.would_enable("hyper::proto", &Level::INFO));
        assert!(filter.would_enable("tonic", &Level::WARN));
    }
}
