//! `docker logs`: what a container wrote, and what it writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_logs::{LogConfig, ReadOptions, Reader};
use berth_wire::stdcopy::Stream;
use bytes::Bytes;
use jiff::Timestamp;

use crate::container::handle::Handle;
use crate::options::LogOptions;
use crate::shared::{Shared, blocking};
use crate::{Error, Result};

/// One line of a log, or a piece of a long one.
#[derive(Debug)]
pub struct LogLine {
    /// Where it was written.
    pub stream: Stream,
    /// When it was written.
    pub time: Timestamp,
    /// What the log keeps with each line (`docker logs --details`).
    pub attrs: BTreeMap<String, String>,
    /// As written, newline included.
    pub bytes: Bytes,
}

/// A log's lines, oldest first.
#[derive(Debug)]
pub struct LogStream {
    /// The container has a terminal: its output is one raw stream.
    pub tty: bool,
    reader: Reader,
}

impl LogStream {
    /// The next line; `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<LogLine>> {
        let line = self.reader.next().await?;
        Some(line.map_err(Error::from_lower).map(|line| {
            LogLine {
                stream: stream(line.stream),
                time: line.time,
                attrs: line
                    .attrs
                    .map(|attrs| BTreeMap::clone(&attrs))
                    .unwrap_or_default(),
                bytes: line.bytes,
            }
        }))
    }
}

pub(crate) fn stream(stream: berth_logs::Stream) -> Stream {
    match stream {
        berth_logs::Stream::Stdout => Stream::Stdout,
        berth_logs::Stream::Stderr => Stream::Stderr,
    }
}

/// Opens a container's log.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    handle: &Handle,
    options: LogOptions,
) -> Result<LogStream> {
    if !options.stdout && !options.stderr {
        return Err(Error::invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let record = handle.view().record.clone();
    let tty = record.config.tty;
    let wanted = &record.host.log_config;
    let config = LogConfig::parse(&wanted.kind, &wanted.config).map_err(Error::from_lower)?;
    let read = ReadOptions {
        stdout: options.stdout,
        stderr: options.stderr,
        tail: options.tail,
        since: options.since,
        until: options.until,
        follow: options.follow,
    };
    let path = shared.files(&record.id)?.log(&record);
    let logger = handle.hub().logger();
    let reader = blocking(move || {
        let reader = match logger {
            Some(logger) => logger.read(read),
            None => Reader::open(&config, &path, read),
        };
        reader.map_err(Error::from_lower)
    });
    Ok(LogStream {
        tty,
        reader: reader.await?,
    })
}
