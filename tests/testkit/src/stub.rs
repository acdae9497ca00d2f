//! An HTTP server whose answers a test writes, down to where they break off.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Daemon, PATIENCE, Place};

/// What a client asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `GET` …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The values of a parameter of the query, as they stand there.
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(have, _)| *have == name)
            .map(|(_, value)| decoded(value))
            .collect()
    }

    /// Where a `Range: bytes=<n>-` begins; 0 without one.
    pub fn offset(&self) -> usize {
        let range = self.header("range").and_then(|r| r.strip_prefix("bytes="));
        let start = range.and_then(|range| range.strip_suffix('-'));
        start.and_then(|start| start.parse().ok()).unwrap_or(0)
    }
}

/// `%xx` and `+` undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (other, _) => {
                bytes.push(other);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The client's end: what is written here is all that it gets.
#[derive(Debug)]
pub struct Wire(TcpStream);

impl Wire {
    /// A whole answer. Failures are the client's business.
    pub fn answer(&mut self, status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.head(status, headers, body.len());
        self.send(body);
    }

    /// The head of an answer of `length` bytes.
    pub fn head(&mut self, status: &str, headers: &[(&str, &str)], length: usize) {
        let mut head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head);
    }

    /// Some of its body; false when the client has gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// Waits until the client goes, which it must.
    pub fn wait_for_hangup(&mut self) {
        let _ = self.0.set_read_timeout(Some(PATIENCE));
        let _ = self.0.read(&mut [0]);
    }
}

/// A server in the daemon's network. It ends when dropped.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Answers each request at `127.0.0.1:<port>` of the daemon's network with what `answer` writes.
    #[track_caller]
    pub fn start(
        daemon: &Daemon,
        port: u16,
        answer: impl Fn(&Asked, &mut Wire) + Send + Sync + 'static,
    ) -> Stub {
        Stub::start_at(daemon, SocketAddr::from(([127, 0, 0, 1], port)), answer)
    }

    /// The same at any address of the daemon's network.
    #[track_caller]
    pub fn start_at(
        daemon: &Daemon,
        address: SocketAddr,
        answer: impl Fn(&Asked, &mut Wire) + Send + Sync + 'static,
    ) -> Stub {
        let listener = daemon
            .sandbox()
            .with_network(Place::Inside, || TcpListener::bind(address))
            .expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (log, ended, answer) = (asked.clone(), stop.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_nonblocking(false);
                    let asked = read(&stream);
                    let mut wire = Wire(stream);
                    if let Some(asked) = asked {
                        let kept = Asked {
                            body: Vec::new(),
                            ..asked.clone()
                        };
                        log.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(kept);
                        answer(&asked, &mut wire);
                    } else {
                        wire.answer("400 Bad Request", &[], "");
                    }
                    let _ = wire.0.shutdown(Shutdown::Write);
                });
            }
        });
        Stub {
            address,
            asked,
            stop,
            thread: Some(thread),
        }
    }

    /// `<address>:<port>`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// What was asked so far, without bodies.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request; `None` for what is none, such as a TLS handshake.
fn read(stream: &TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut first = [0];
    if stream.peek(&mut first).ok()? == 0 || !first[0].is_ascii_uppercase() {
        return None;
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let mut asked = Asked {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        ..Asked::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let name = name.to_ascii_lowercase();
        asked.headers.push((name, value.trim().to_owned()));
    }
    let length = asked.header("content-length").and_then(|l| l.parse().ok());
    reader
        .take(length.unwrap_or(0))
        .read_to_end(&mut asked.body)
        .ok()?;
    Some(asked)
}
