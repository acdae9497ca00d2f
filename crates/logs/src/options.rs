use std::collections::BTreeMap;

use crate::format::Format;
use crate::{Error, Result, sizes};

/// The buffer of `mode=non-blocking` when `max-buffer-size` is not given: 1 MB.
pub const DEFAULT_BUFFER: usize = 1_000_000;

/// The names that the json-file and the local driver know; `mode` and `max-buffer-size` belong to every driver.
const KNOWN: [&str; 8] = [
    "max-file",
    "max-size",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
];

/// The local driver's `max-size` when it is not given, in bytes.
const LOCAL_SIZE: u64 = 20 * 1024 * 1024;

/// The local driver's `max-file` when it is not given.
const LOCAL_FILES: i64 = 5;

/// A log driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Records in JSON, one a line, in files that rotate.
    JsonFile,
    /// Records in protobuf, in files that rotate and are compressed.
    Local,
    /// Nothing is kept.
    None,
}

impl Driver {
    /// The driver's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
        }
    }

    /// The driver of that name. The empty name is not one: the daemon's default is filled in
    /// before.
    ///
    /// # Errors
    /// [`Error::UnknownDriver`].
    pub fn find(name: &str) -> Result<Self> {
        [Self::JsonFile, Self::Local, Self::None]
            .into_iter()
            .find(|driver| driver.as_str() == name)
            .ok_or_else(|| Error::UnknownDriver(name.to_owned()))
    }
}

/// What happens when the log is slower than the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The container waits.
    #[default]
    Blocking,
    /// The container never waits; what does not fit into the buffer is lost.
    NonBlocking {
        /// The buffer's size in bytes of text.
        buffer: usize,
    },
}

/// The options of a driver that keeps something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes after which a file is rotated away; `None`: never.
    pub max_size: Option<u64>,
    /// How many files there are, the one being written included; at least 1.
    pub max_file: u32,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// What happens when the log is slower than the container.
    pub mode: Mode,
    /// The labels whose values each record carries.
    pub labels: Vec<String>,
    /// A pattern for further labels; empty: none.
    pub labels_regex: String,
    /// The environment variables whose values each record carries.
    pub env: Vec<String>,
    /// A pattern for further variables; empty: none.
    pub env_regex: String,
    /// The template of the `tag` that each record carries.
    pub tag: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_size: None,
            max_file: 1,
            compress: false,
            mode: Mode::Blocking,
            labels: Vec::new(),
            labels_regex: String::new(),
            env: Vec::new(),
            env_regex: String::new(),
            tag: None,
        }
    }
}

impl Options {
    /// Parses `--log-opt`s of the json-file driver. dockerd does this when the container starts
    /// (a bad value is an error of start); see [`validate`] for what it checks at create.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] with dockerd's text.
    pub fn from_log_opts(opts: &BTreeMap<String, String>) -> Result<Self> {
        check_names(Driver::JsonFile, opts)?;
        let mode = parse_mode(opts)?;
        let max_size = opts
            .get("max-size")
            .map(|text| sizes::decimal(text))
            .transpose()?;
        if max_size == Some(0) {
            return invalid("max-size must be a positive number");
        }
        let max_file = opts.get("max-file").map_or(Ok(1), |text| atoi(text))?;
        let Ok(max_file @ 1..) = u32::try_from(max_file) else {
            return invalid("max-file cannot be less than 1");
        };
        let compress = opts
            .get("compress")
            .map_or(Ok(false), |text| parse_bool(text))?;
        if compress && (max_file == 1 || max_size.is_none()) {
            return invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            );
        }
        Ok(Self {
            max_size,
            max_file,
            compress,
            mode,
            ..Self::subjects(opts)
        })
    }

    /// Parses `--log-opt`s of the local driver, as [`Options::from_log_opts`] does json-file's.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] with dockerd's text.
    pub fn from_local_opts(opts: &BTreeMap<String, String>) -> Result<Self> {
        check_names(Driver::Local, opts)?;
        let mode = parse_mode(opts)?;
        let value = |name: &str| opts.get(name).map(String::as_str);
        let wrong = |name: &'static str, text: &str| {
            let text = text.to_owned();
            move |error: Error| {
                Error::InvalidOption(format!("invalid value for {name}: {text}: {error}"))
            }
        };
        let max_size = match value("max-size") {
            Some(text) => sizes::decimal(text).map_err(wrong("max-size", text))?,
            None => LOCAL_SIZE,
        };
        let max_file = match value("max-file") {
            Some(text) => atoi(text).map_err(wrong("max-file", text))?,
            None => LOCAL_FILES,
        };
        let compress = match value("compress") {
            Some(text) => parse_bool(text).map_err(|error| {
                Error::InvalidOption(format!("invalid boolean value for compress: {error}"))
            })?,
            None => true,
        };
        let Ok(max_file) = u32::try_from(max_file) else {
            return invalid("max-file must not be negative");
        };
        if compress && max_file <= 1 {
            return invalid("compression cannot be enabled when max file count is 1");
        }
        Ok(Self {
            max_size: Some(max_size),
            max_file: max_file.max(1),
            compress,
            mode,
            ..Self::subjects(opts)
        })
    }

    /// What of the container each record carries.
    fn subjects(opts: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| opts.get(name).cloned().unwrap_or_default();
        let list = |name: &str| match opts.get(name).map(String::as_str) {
            None | Some("") => Vec::new(),
            Some(names) => names.split(',').map(str::to_owned).collect(),
        };
        Self {
            labels: list("labels"),
            labels_regex: text("labels-regex"),
            env: list("env"),
            env_regex: text("env-regex"),
            tag: opts.get("tag").cloned(),
            ..Self::default()
        }
    }
}

/// A container's log configuration, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogConfig {
    /// Written to files of JSON.
    JsonFile(Options),
    /// Written to files of protobuf.
    Local(Options),
    /// Not kept.
    None,
}

impl LogConfig {
    /// Parses `HostConfig.LogConfig`.
    ///
    /// # Errors
    /// [`Error::UnknownDriver`], [`Error::InvalidOption`].
    pub fn parse(driver: &str, opts: &BTreeMap<String, String>) -> Result<Self> {
        match Driver::find(driver)? {
            Driver::JsonFile => Options::from_log_opts(opts).map(Self::JsonFile),
            Driver::Local => Options::from_local_opts(opts).map(Self::Local),
            Driver::None => Ok(Self::None),
        }
    }

    /// The driver.
    #[must_use]
    pub fn driver(&self) -> Driver {
        match self {
            Self::JsonFile(_) => Driver::JsonFile,
            Self::Local(_) => Driver::Local,
            Self::None => Driver::None,
        }
    }

    /// The options of a log that can be read, and the form of its records.
    ///
    /// # Errors
    /// [`Error::ReadUnsupported`].
    pub(crate) fn readable(&self) -> Result<(&Options, Format)> {
        match self {
            Self::JsonFile(options) => Ok((options, Format::Json)),
            Self::Local(options) => Ok((options, Format::Local)),
            Self::None => Err(Error::ReadUnsupported),
        }
    }
}

/// What dockerd checks when a container is created: the driver exists, it knows the options'
/// names, and `mode` goes with `max-buffer-size`. The other values are looked at when the
/// container starts.
///
/// # Errors
/// [`Error::UnknownDriver`], [`Error::InvalidOption`].
pub fn validate(driver: &str, opts: &BTreeMap<String, String>) -> Result<()> {
    if driver == Driver::None.as_str() {
        return Ok(());
    }
    parse_mode(opts)?;
    check_names(Driver::find(driver)?, opts)
}

fn check_names(driver: Driver, opts: &BTreeMap<String, String>) -> Result<()> {
    let known = |name: &str| KNOWN.contains(&name) || matches!(name, "mode" | "max-buffer-size");
    match opts.keys().find(|name| !known(name)) {
        Some(name) => invalid(&match driver {
            Driver::Local => format!("unknown log opt '{name}' for log driver local"),
            _ => format!("unknown log opt '{name}' for json-file log driver"),
        }),
        None => Ok(()),
    }
}

fn parse_mode(opts: &BTreeMap<String, String>) -> Result<Mode> {
    let mode = opts.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return invalid(&format!("logger: logging mode not supported: {mode}"));
    }
    match opts.get("max-buffer-size") {
        Some(_) if mode != "non-blocking" => {
            invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        }
        Some(size) => {
            let size = sizes::binary(size).map_err(|error| {
                Error::InvalidOption(format!("error parsing option max-buffer-size: {error}"))
            })?;
            Ok(Mode::NonBlocking {
                buffer: usize::try_from(size).unwrap_or(usize::MAX),
            })
        }
        None if mode == "non-blocking" => Ok(Mode::NonBlocking {
            buffer: DEFAULT_BUFFER,
        }),
        None => Ok(Mode::Blocking),
    }
}

fn atoi(text: &str) -> Result<i64> {
    text.parse()
        .or_else(|_| invalid(&format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
}

fn parse_bool(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => invalid(&format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

fn invalid<T>(message: &str) -> Result<T> {
    Err(Error::InvalidOption(message.to_owned()))
}
