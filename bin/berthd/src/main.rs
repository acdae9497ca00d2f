//! `berthd`: the daemon, also under the name `dockerd`.
//!
//! ```text
//! flags + daemon.json ──> locks, pidfile ──> sockets ──> containerd ──> engine ──> API ──> ready
//!                                                                                    │ SIGTERM
//!   exit 0 <── pidfile, sockets gone <── containerd stopped <── engine.shutdown <────┘
//! ```
//!
//! Sockets are bound before there is anything to serve, so that clients wait instead of failing.
//! Whatever goes wrong on the way up is one line on stderr and exit status 1.

mod activation;
mod ask;
mod containerd;
mod control;
mod daemon;
mod flags;
mod group;
mod listeners;
mod lock;
mod logging;
mod pidfile;
mod privileges;
mod reload;
mod signals;
mod storage;
mod wiring;

use std::process::ExitCode;

use flags::Command;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever the error's parts contain.
            eprintln!("{}", error.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    match flags::parse(std::env::args_os())? {
        Command::Help(text) => print!("{text}"),
        Command::Version => println!("berthd version {VERSION}, build {COMMIT}"),
        Command::Validate(sources) => {
            let live = sources.load(berth_config::Facts::detect())?;
            wiring::check(&live)?;
            for key in wiring::ignored(&live) {
                eprintln!(
                    "warning: ignored, as it means nothing: {}",
                    key.escape_debug()
                );
            }
            eprintln!("configuration OK");
        }
        Command::Ask(ask) => print!("{}", ask.put()?),
        Command::Run(run) => daemon::run(*run)?,
    }
    Ok(())
}

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from; the Makefile passes it.
pub(crate) const COMMIT: &str = match option_env!("BERTH_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
