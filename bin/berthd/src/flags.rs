//! The command line: dockerd's flags, from the table in `berth-config`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use berth_config::{Map, OPTIONS, Opt, Shape, Sources};
use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::Value;

use crate::ask::{self, Ask};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Print this.
    Help(String),
    /// Print the version.
    Version,
    /// Check the configuration.
    Validate(Sources),
    /// Ask the running daemon.
    Ask(Ask),
    /// Be the daemon.
    Run(Box<Run>),
}

/// How to be the daemon.
#[derive(Debug)]
pub(crate) struct Run {
    /// The configuration's places.
    pub(crate) sources: Sources,
    /// The name we were called by.
    pub(crate) program: &'static str,
    /// Where the managed containerd serves metrics, for tests that count its calls.
    pub(crate) containerd_metrics: Option<String>,
}

/// A command line that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{message} (see '{program} --help')")]
pub(crate) struct Error {
    message: String,
    program: &'static str,
}

/// What depends on the name that the program is called by.
#[derive(Debug)]
struct Persona {
    program: &'static str,
    data_root: &'static str,
    exec_root: &'static str,
    pidfile: &'static str,
    config_file: &'static str,
}

const BERTHD: Persona = Persona {
    program: "berthd",
    data_root: "/var/lib/berth",
    exec_root: "/run/berth",
    pidfile: "/run/berth.pid",
    config_file: "/etc/berth/daemon.json",
};

/// Under the name `dockerd` the defaults are dockerd's.
const DOCKERD: Persona = Persona {
    program: "dockerd",
    data_root: "/var/lib/docker",
    exec_root: "/var/run/docker",
    pidfile: "/var/run/docker.pid",
    config_file: "/etc/docker/daemon.json",
};

impl Persona {
    fn of(program: &OsString) -> &'static Persona {
        match Path::new(program).file_name() {
            Some(name) if name == "dockerd" => &DOCKERD,
            _ => &BERTHD,
        }
    }

    fn defaults(&self) -> Map {
        let pairs = [
            ("data-root", self.data_root),
            ("exec-root", self.exec_root),
            ("pidfile", self.pidfile),
        ];
        let mut defaults: Map = pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Value::from(value)))
            .collect();
        // Where dockerd looks for certificates that nobody names.
        let certificates = std::env::var("DOCKER_CERT_PATH")
            .ok()
            .filter(|path| !path.is_empty());
        let home = || Some(format!("{}/.docker", std::env::var("HOME").ok()?));
        if let Some(folder) = certificates.or_else(home) {
            for (key, file) in [("tlscacert", "ca"), ("tlscert", "cert"), ("tlskey", "key")] {
                defaults.insert(key.to_owned(), Value::from(format!("{folder}/{file}.pem")));
            }
        }
        defaults
    }

    fn default_of(&self, key: &str) -> Option<&'static str> {
        match key {
            "data-root" => Some(self.data_root),
            "exec-root" => Some(self.exec_root),
            "pidfile" => Some(self.pidfile),
            "hosts" => Some("unix:///var/run/docker.sock"),
            _ => None,
        }
    }
}

/// Reads the command line, the program's name first.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let mut args = args.into_iter().peekable();
    let persona = args.peek().map_or(&BERTHD, Persona::of);
    let fail = |message: String| Error {
        message,
        program: persona.program,
    };
    let args: Vec<_> = args.collect();
    if args.get(1).is_some_and(|word| word == "config") {
        let defaults = ask::Defaults {
            exec_root: persona.exec_root,
            config_file: persona.config_file,
        };
        return match Ask::parse(persona.program, defaults, args) {
            Ok(ask) => Ok(Command::Ask(ask)),
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                Ok(Command::Help(error.to_string()))
            }
            Err(error) => Err(fail(reword(&error))),
        };
    }
    let matches = match command(persona).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Command::Help(error.to_string()));
        }
        Err(error) => return Err(fail(reword(&error))),
    };
    if matches.get_flag("version") {
        return Ok(Command::Version);
    }
    let config_file = matches.get_one::<PathBuf>("config-file");
    let sources = Sources {
        defaults: persona.defaults(),
        flags: collect(&matches).map_err(fail)?,
        file: config_file
            .cloned()
            .unwrap_or_else(|| persona.config_file.into()),
        file_required: config_file.is_some(),
    };
    if matches.get_flag("validate") {
        return Ok(Command::Validate(sources));
    }
    Ok(Command::Run(Box::new(Run {
        sources,
        program: persona.program,
        containerd_metrics: matches
            .get_one::<String>("containerd-metrics-address")
            .cloned(),
    })))
}

/// The values of the flags that were given, by the file's keys.
fn collect(matches: &ArgMatches) -> Result<Map, String> {
    let mut flags = Map::new();
    for opt in OPTIONS {
        let Some(flag) = opt.flag else { continue };
        for text in matches.get_many::<String>(flag.long).into_iter().flatten() {
            opt.parse_flag(text, &mut flags).map_err(|error| {
                let short = flag
                    .short
                    .map(|short| format!("-{short}, "))
                    .unwrap_or_default();
                format!(
                    "invalid argument \"{text}\" for \"{short}--{}\" flag: {error}",
                    flag.long
                )
            })?;
        }
    }
    Ok(flags)
}

fn command(persona: &'static Persona) -> clap::Command {
    let mut command = clap::Command::new(persona.program)
        .about("A container engine for Docker's clients, on containerd")
        .disable_version_flag(true)
        .override_usage(format!(
            "{0} [OPTIONS]\n       {0} config reload|diff [OPTIONS]",
            persona.program
        ))
        .arg(
            Arg::new("config-file")
                .long("config-file")
                .value_name("string")
                .value_parser(ValueParser::path_buf())
                // As with every flag: the last one counts.
                .overrides_with("config-file")
                .help(format!(
                    "Daemon configuration file (default \"{}\")",
                    persona.config_file
                )),
        )
        .arg(
            Arg::new("validate")
                .long("validate")
                .action(ArgAction::SetTrue)
                .help("Validate daemon configuration and exit"),
        )
        .arg(
            Arg::new("version")
                .long("version")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Print version information and quit"),
        )
        .arg(
            Arg::new("containerd-metrics-address")
                .long("containerd-metrics-address")
                .value_name("address")
                .hide(true),
        );
    for opt in OPTIONS {
        command = command.args(argument(opt, persona));
    }
    command
}

fn argument(opt: &Opt, persona: &Persona) -> Option<Arg> {
    let flag = opt.flag?;
    let help = match persona.default_of(opt.key) {
        Some(default) => format!("{} (default \"{default}\")", opt.help),
        None => opt.help.to_owned(),
    };
    // A flag given twice is no error; the table says whether the values add up.
    let arg = Arg::new(flag.long)
        .long(flag.long)
        .action(ArgAction::Append)
        .help(help);
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    Some(match opt.shape {
        Shape::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true)
            .value_name("bool"),
        shape => arg
            .num_args(1)
            .allow_hyphen_values(true)
            .value_name(value_name(shape)),
    })
}

fn value_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Switch => "bool",
        Shape::Number => "int",
        Shape::Size => "bytes",
        Shape::Text => "string",
        Shape::List => "list",
        Shape::Pairs => "map",
        Shape::Switches => "set",
        Shape::Ulimits => "ulimit",
        Shape::Runtimes => "runtime",
        Shape::Pools => "pool-options",
        Shape::NetworkOptions => "mapmap",
        Shape::Structure => "options",
    }
}

/// clap's error in one line, in dockerd's words.
fn reword(error: &clap::Error) -> String {
    let invalid = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::UnknownArgument if invalid.starts_with("--") => {
            format!("unknown flag: {invalid}")
        }
        ErrorKind::UnknownArgument if invalid.starts_with('-') => {
            format!("unknown shorthand flag: {invalid}")
        }
        ErrorKind::UnknownArgument => format!("accepts no arguments: {invalid}"),
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::WrongNumberOfValues => {
            let flag = invalid.split_whitespace().next().unwrap_or(&invalid);
            format!("flag needs an argument: {flag}")
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

#[cfg(test)]
mod tests;
