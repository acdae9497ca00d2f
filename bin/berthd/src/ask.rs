//! `berthd config …`: asks the running daemon, waits for its answer and prints it.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Command};

use crate::control::{self, Answer, Question};

/// Longer than the daemon's own limit, several times for those who ask at the same time.
const PATIENCE: Duration = Duration::from_secs(120);
/// More than a configuration file is.
const MOST: u64 = 4 << 20;

/// A question to the daemon at a socket.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) socket: PathBuf,
    pub(crate) question: Question,
}

/// Why there is no answer, or that it is no; one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot ask the daemon at {socket}: {why}", socket = socket.display())]
    Unreachable { socket: PathBuf, why: String },
    #[error("{0}")]
    No(String),
}

impl Ask {
    /// Reads the command line, the program's name first and `config` second.
    pub(crate) fn parse(
        program: &'static str,
        defaults: Defaults,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Ask, clap::Error> {
        let matches = command(program, defaults).try_get_matches_from(args)?;
        let (name, matches) = nested(&matches);
        let named = matches.get_one::<PathBuf>("config-file");
        let question = match name {
            "reload" => Question::Reload,
            _ => Question::Diff(named.map(|file| std::path::absolute(file).unwrap_or_default())),
        };
        let daemons = match name {
            "reload" => named.map(PathBuf::as_path),
            _ => None,
        };
        let exec_root = matches.get_one::<PathBuf>("exec-root").cloned();
        let exec_root = exec_root
            .or_else(|| configured_exec_root(daemons.unwrap_or(Path::new(defaults.config_file))))
            .unwrap_or_else(|| defaults.exec_root.into());
        Ok(Ask {
            socket: control::socket(&exec_root),
            question,
        })
    }

    /// Asks. The answer's lines.
    pub(crate) fn put(&self) -> Result<String, Error> {
        let unreachable = |why: String| Error::Unreachable {
            socket: self.socket.clone(),
            why,
        };
        let answer = self
            .exchange()
            .map_err(|error| unreachable(crate::listeners::plain(&error)))?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_| unreachable("it ended without an answer".to_owned()))?;
        answer.map_err(Error::No)
    }

    fn exchange(&self) -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&serde_json::to_vec(&self.question)?)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// Where a daemon is that nobody tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) exec_root: &'static str,
    pub(crate) config_file: &'static str,
}

/// The innermost command and its arguments.
fn nested(matches: &ArgMatches) -> (&str, &ArgMatches) {
    let (mut name, mut inner) = ("", matches);
    while let Some((next, matches)) = inner.subcommand() {
        (name, inner) = (next, matches);
    }
    (name, inner)
}

/// What the daemon's configuration file says of its exec root, if it can be read.
fn configured_exec_root(file: &Path) -> Option<PathBuf> {
    let mut text = String::new();
    let file = std::fs::File::open(file).ok()?;
    file.take(MOST).read_to_string(&mut text).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    value.get("exec-root")?.as_str().map(PathBuf::from)
}

fn command(program: &'static str, defaults: Defaults) -> Command {
    let path = |name: &'static str, help: String| {
        Arg::new(name)
            .long(name)
            .value_name("string")
            .value_parser(ValueParser::path_buf())
            .help(help)
    };
    let exec_root = || {
        path(
            "exec-root",
            format!(
                "The daemon's exec root (default \"{}\")",
                defaults.exec_root
            ),
        )
    };
    let reload = Command::new("reload")
        .about("Have the daemon read its configuration file again, and print what became of each option")
        .arg(exec_root())
        .arg(path("config-file", "The daemon's configuration file, to learn its exec root".to_owned()));
    let diff = Command::new("diff")
        .about("Print what a reload would do, without doing it")
        .arg(exec_root())
        .arg(path(
            "config-file",
            "The file to compare with (default: the daemon's own)".to_owned(),
        ));
    let config = Command::new("config")
        .about("The running daemon's configuration")
        .subcommand_required(true)
        .subcommand(reload)
        .subcommand(diff);
    Command::new(program)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .subcommand(config)
}
