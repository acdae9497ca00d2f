//! Attach: a client's share of a container's standard streams.

use std::sync::Arc;

use berth_logs::{LogConfig, ReadOptions, Reader};
use berth_wire::stdcopy::Stream;
use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::backlog;
use crate::container::handle::Handle;
use crate::container::record::{Record, Status};
use crate::events::Events;
use crate::logs;
use crate::options::AttachOptions;
use crate::shared::Shared;
use crate::stdio::{Chunk, Keyboard};
use crate::{Error, Result};

/// Ctrl-P Ctrl-Q.
const DEFAULT_KEYS: [u8; 2] = [16, 17];

/// What a container or exec writes, for one client.
#[derive(Debug)]
pub struct Output {
    /// What was written before, from the log.
    past: Option<Reader>,
    present: Option<backlog::Reader>,
    /// How the start went of what writes: a failure is the last thing to be read.
    started: Option<oneshot::Receiver<Result<()>>>,
}

impl Output {
    pub(crate) fn live(present: backlog::Reader) -> Output {
        Output {
            past: None,
            present: Some(present),
            started: None,
        }
    }

    /// What writes is only being started: a failure is to be read here.
    pub(crate) fn tells(&mut self, started: oneshot::Receiver<Result<()>>) {
        self.started = Some(started);
    }

    /// The next piece; `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Chunk> {
        if let Some(reader) = &mut self.past {
            match reader.next().await {
                Some(Ok(line)) => {
                    return Some(Chunk {
                        stream: logs::stream(line.stream),
                        bytes: line.bytes,
                    });
                }
                Some(Err(error)) => tracing::warn!(%error, "reading a log for attach"),
                None => {}
            }
            self.past = None;
        }
        if let Some(present) = &mut self.present
            && let Some(chunk) = present.recv().await
        {
            return Some(chunk);
        }
        let error = match self.started.as_mut()?.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(Error::internal("the exec's task failed")),
        };
        self.started = None;
        error.map(|error| Chunk {
            stream: Stream::Stdout,
            bytes: format!("{error}\r\n").into(),
        })
    }
}

/// Whether a client may go on typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Continue,
    /// The detach keys were typed: close the connection, the process goes on.
    Detached,
    /// Nobody reads any more.
    Closed,
}

/// One client's keyboard. Dropping it is how a client goes away.
#[derive(Debug)]
pub struct Input {
    keyboard: Keyboard,
    detach: Option<(Scanner, Detach)>,
    /// The process's standard input ends with this client's.
    ends: bool,
}

impl Input {
    pub(crate) fn new(keyboard: Keyboard, detach: Option<Detach>, ends: bool) -> Input {
        Input {
            keyboard,
            detach: detach.map(|detach| (Scanner::new(detach.keys.clone()), detach)),
            ends,
        }
    }

    /// Types; waits while the process does not read.
    pub async fn write(&mut self, bytes: Bytes) -> Flow {
        let (bytes, detached) = match &mut self.detach {
            Some((scanner, _)) => scanner.scan(&bytes),
            None => (bytes, false),
        };
        if !bytes.is_empty() && !self.keyboard.write(bytes).await {
            return Flow::Closed;
        }
        if detached {
            self.ends = false;
            if let Some((_, detach)) = &self.detach {
                detach.tell();
            }
            return Flow::Detached;
        }
        Flow::Continue
    }

    /// Half-closes: the process reads the end of its input, if this client decides that.
    pub async fn close(mut self) {
        if std::mem::take(&mut self.ends) {
            self.keyboard.close().await;
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // A client that is gone types no more; outside a runtime everything is over anyway.
        if self.ends
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let keyboard = self.keyboard.clone();
            runtime.spawn(async move { keyboard.close().await });
        }
    }
}

/// A client's connection to standard streams.
#[derive(Debug)]
pub struct Attachment {
    /// The process has a terminal: its output is one raw stream.
    pub tty: bool,
    /// What the process writes.
    pub output: Output,
    /// Where the client types, if it may.
    pub input: Option<Input>,
}

/// Attaches a client.
pub(crate) fn attach(
    shared: &Shared,
    handle: &Arc<Handle>,
    options: &AttachOptions,
) -> Result<Attachment> {
    let view = handle.view();
    let record = &view.record;
    let keys = DetachKeys::parse(options.detach_keys.as_deref())?;
    if view.run.status == Status::Paused {
        return Err(Error::conflict(format!(
            "container {} is paused, unpause the container before attach",
            record.id
        )));
    }
    if view.run.status == Status::Restarting {
        return Err(Error::conflict(format!(
            "container {} is restarting, wait until the container is running",
            record.id
        )));
    }
    let tty = record.config.tty;
    // The streams first, so that nothing falls between the log's end and them; a line may come
    // twice rather than never.
    let types = options.stdin && record.config.open_stdin;
    let wants_any = options.stdout || options.stderr || types;
    let (present, keyboard) = match options.stream && wants_any {
        true => {
            let (output, keyboard) =
                handle
                    .hub()
                    .attach(&shared.spool, options.stdout, options.stderr);
            (Some(output), Some(keyboard))
        }
        false => (None, None),
    };
    let past = if options.logs {
        past(shared, handle, options)?
    } else {
        None
    };
    let input = keyboard.filter(|_| types).map(|keyboard| {
        let ends = record.config.stdin_once && !tty;
        let detach = tty.then(|| Detach {
            keys,
            events: shared.events.clone(),
            record: record.clone(),
            exec: None,
        });
        Input::new(keyboard, detach, ends)
    });
    shared.events.container(record, "attach", &[]);
    Ok(Attachment {
        tty,
        output: Output {
            past,
            present,
            started: None,
        },
        input,
    })
}

fn past(shared: &Shared, handle: &Handle, options: &AttachOptions) -> Result<Option<Reader>> {
    let record = &handle.view().record;
    let wanted = &record.host.log_config;
    let config = LogConfig::parse(&wanted.kind, &wanted.config).map_err(Error::from_lower)?;
    let read = ReadOptions {
        stdout: options.stdout,
        stderr: options.stderr,
        tail: None,
        since: None,
        until: None,
        follow: false,
    };
    let reader = match handle.hub().logger() {
        Some(logger) => logger.read(read),
        None => Reader::open(&config, &shared.files(&record.id)?.log(record), read),
    };
    reader.map(Some).map_err(Error::from_lower)
}

/// How a client leaves a terminal, and what is told then.
#[derive(Debug)]
pub(crate) struct Detach {
    pub(crate) keys: DetachKeys,
    pub(crate) events: Events,
    pub(crate) record: Arc<Record>,
    /// The exec that it leaves, if not the container's init.
    pub(crate) exec: Option<String>,
}

impl Detach {
    fn tell(&self) {
        let (action, attributes) = match &self.exec {
            Some(exec) => ("exec_detach", vec![("execID", exec.clone())]),
            None => ("detach", Vec::new()),
        };
        self.events.container(&self.record, action, &attributes);
    }
}

/// The keys that detach a client from a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// Keys as the docker CLI writes them: `ctrl-p,ctrl-q`; nothing means just that.
    pub(crate) fn parse(text: Option<&str>) -> Result<DetachKeys> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(DetachKeys(DEFAULT_KEYS.to_vec()));
        };
        let invalid = || Error::invalid(format!("Invalid detach keys ({text}) provided"));
        let key = |key: &str| -> Option<u8> {
            let mut bytes = key.bytes();
            match (bytes.next(), bytes.next()) {
                (Some(byte), None) => Some(byte),
                _ => {
                    let name = key.strip_prefix("ctrl-")?;
                    match name.as_bytes() {
                        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                        b"@" => Some(0),
                        b"[" => Some(27),
                        b"\\" => Some(28),
                        b"]" => Some(29),
                        b"^" => Some(30),
                        b"_" => Some(31),
                        _ => None,
                    }
                }
            }
        };
        text.split(',')
            .map(|part| key(part).ok_or_else(invalid))
            .collect::<Result<_>>()
            .map(DetachKeys)
    }
}

/// Finds the detach keys in what is typed, held back while they may still be coming.
#[derive(Debug)]
struct Scanner {
    keys: Vec<u8>,
    /// How many of the keys have been typed.
    matched: usize,
}

impl Scanner {
    fn new(keys: DetachKeys) -> Scanner {
        Scanner {
            keys: keys.0,
            matched: 0,
        }
    }

    /// What is to be passed on, and whether the keys were typed.
    fn scan(&mut self, bytes: &[u8]) -> (Bytes, bool) {
        let mut passed = BytesMut::with_capacity(bytes.len() + self.matched);
        for &byte in bytes {
            if self.keys.get(self.matched) != Some(&byte) {
                passed.extend_from_slice(self.keys.get(..self.matched).unwrap_or_default());
                self.matched = 0;
                if self.keys.first() != Some(&byte) {
                    passed.extend_from_slice(&[byte]);
                    continue;
                }
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                return (passed.freeze(), true);
            }
        }
        (passed.freeze(), false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read_as_the_cli_writes_them() {
        assert_eq!(DetachKeys::parse(None).expect("default").0, [16, 17]);
        assert_eq!(
            DetachKeys::parse(Some("ctrl-a,x,ctrl-@")).expect("keys").0,
            [1, b'x', 0]
        );
        let error = DetachKeys::parse(Some("ctrl-p,ctrl-"))
            .expect_err("bad")
            .to_string();
        assert_eq!(error, "Invalid detach keys (ctrl-p,ctrl-) provided");
    }

    fn scan_all(pieces: &[Vec<u8>]) -> (Vec<u8>, bool) {
        let mut scanner = Scanner::new(DetachKeys(DEFAULT_KEYS.to_vec()));
        let mut passed = Vec::new();
        for piece in pieces {
            let (bytes, detached) = scanner.scan(piece);
            passed.extend_from_slice(&bytes);
            if detached {
                return (passed, true);
            }
        }
        (passed, false)
    }

    proptest! {
        #[test]
        fn whatever_the_pieces_what_is_typed_arrives(
            pieces in prop::collection::vec(prop::collection::vec(prop_oneof![Just(16_u8), Just(17), Just(b'a')], 0..4), 0..8)
        ) {
            let typed: Vec<u8> = pieces.concat();
            let end = typed.windows(2).position(|pair| pair == DEFAULT_KEYS);
            let (passed, detached) = scan_all(&pieces);
            prop_assert_eq!(detached, end.is_some());
            let expected = match end {
                Some(end) => &typed[..end],
                // A first key at the very end is held back.
                None => typed.strip_suffix(&[16]).unwrap_or(&typed),
            };
            prop_assert_eq!(passed, expected);
        }
    }
}
