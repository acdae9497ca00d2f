//! HTTP/1.1 by hand: what stands on the wire is what tests must see (reason phrases, the case of
//! header names, hijacked connections, half-closes), and client libraries hide it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::PATIENCE;

#[derive(Debug)]
pub(crate) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    fn time_limit(&self, left: Duration) -> std::io::Result<()> {
        let left = Some(left.max(Duration::from_millis(1)));
        match self {
            Connection::Unix(stream) => stream.set_read_timeout(left),
            Connection::Tcp(stream) => stream.set_read_timeout(left),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.read(into),
            Connection::Tcp(stream) => stream.read(into),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Connection::Unix(stream) => stream.write_all(bytes),
            Connection::Tcp(stream) => stream.write_all(bytes),
        }
    }

    fn half_close(&self) -> std::io::Result<()> {
        match self {
            Connection::Unix(stream) => stream.shutdown(Shutdown::Write),
            Connection::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

/// A request about to be sent.
#[derive(Debug)]
pub struct Request {
    connection: std::io::Result<Connection>,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(
        connection: std::io::Result<Connection>,
        method: &str,
        target: &str,
    ) -> Request {
        let headers = vec![("Host".to_owned(), "docker".to_owned())];
        let (method, target) = (method.to_owned(), target.to_owned());
        Request {
            connection,
            method,
            target,
            headers,
            body: Vec::new(),
        }
    }

    /// A request over TCP, from wherever `stream` was connected.
    pub fn over(stream: TcpStream, method: &str, target: &str) -> Request {
        Request::new(Ok(Connection::Tcp(stream)), method, target)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A JSON body.
    pub fn json(self, body: &serde_json::Value) -> Request {
        self.header("Content-Type", "application/json")
            .body(body.to_string())
    }

    /// A body without a Content-Type.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    /// The headers with which the docker CLI asks for the raw connection.
    pub fn upgrade(self) -> Request {
        self.header("Connection", "Upgrade")
            .header("Upgrade", "tcp")
    }

    /// Sends it and reads the whole answer. Panics when there is none in time.
    #[track_caller]
    pub fn send(self) -> Response {
        let line = format!("{} {}", self.method, self.target);
        let mut exchange = self.open();
        match exchange.rest(PATIENCE) {
            Ok(body) => {
                let Exchange {
                    status,
                    reason,
                    headers,
                    ..
                } = exchange;
                Response {
                    line,
                    status,
                    reason,
                    headers,
                    body,
                }
            }
            Err(error) => panic!("{line}: body: {error}"),
        }
    }

    /// Sends it and reads the answer's head only. Panics when there is none in time.
    #[track_caller]
    pub fn open(self) -> Exchange {
        let line = format!("{} {}", self.method, self.target);
        self.try_open()
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Like [`Request::open`], but an error where there is no answer.
    pub fn try_open(self) -> std::io::Result<Exchange> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let told = self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if (!self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT")) && !told {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut connection = self.connection?;
        connection.write_all(head.as_bytes())?;
        if let Err(error) = connection.write_all(&self.body) {
            // The server may answer before it has read all of the body, and close.
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                return Err(error);
            }
        }
        Exchange::read(connection, self.method == "HEAD")
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length(usize),
    Chunked,
    ToTheEnd,
    Done,
}

/// An answer whose body is still to come, or a hijacked connection.
#[derive(Debug)]
pub struct Exchange {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The headers, in order, as written.
    pub headers: Vec<(String, String)>,
    connection: Connection,
    buffer: Vec<u8>,
    framing: Framing,
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let header = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    header.map(|(_, value)| value.as_str())
}

impl Exchange {
    fn read(mut connection: Connection, head_only: bool) -> std::io::Result<Exchange> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = Vec::new();
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !more(&mut connection, &mut buffer, deadline)? {
                let got = String::from_utf8_lossy(&buffer).into_owned();
                return Err(std::io::Error::other(format!("closed after {got:?}")));
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ').skip(1);
        let status = first.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let reason = first.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let framing = if head_only || matches!(status, 204 | 304) {
            Framing::Done
        } else if find(&headers, "transfer-encoding").is_some_and(|value| value == "chunked") {
            Framing::Chunked
        } else if let Some(length) = find(&headers, "content-length") {
            Framing::Length(length.parse().unwrap_or(0))
        } else {
            Framing::ToTheEnd
        };
        Ok(Exchange {
            status,
            reason,
            headers,
            connection,
            buffer,
            framing,
        })
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The next piece of the body; `None` at its end, an error when none comes in time.
    pub fn next(&mut self, patience: Duration) -> std::io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(piece) = self.take()? {
                return Ok(Some(piece));
            }
            if self.framing == Framing::Done {
                return Ok(None);
            }
            if !more(&mut self.connection, &mut self.buffer, deadline)? {
                if self.framing == Framing::ToTheEnd {
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Done => Ok(None),
            Framing::ToTheEnd if self.buffer.is_empty() => Ok(None),
            Framing::ToTheEnd => Ok(Some(std::mem::take(&mut self.buffer))),
            Framing::Length(0) => {
                self.framing = Framing::Done;
                Ok(None)
            }
            Framing::Length(_) if self.buffer.is_empty() => Ok(None),
            Framing::Length(left) => {
                let count = left.min(self.buffer.len());
                self.framing = Framing::Length(left - count);
                Ok(Some(self.buffer.drain(..count).collect()))
            }
            Framing::Chunked => {
                let Some(line) = self.buffer.windows(2).position(|two| two == b"\r\n") else {
                    return Ok(None);
                };
                let size = String::from_utf8_lossy(&self.buffer[..line]).into_owned();
                let size = usize::from_str_radix(size.trim(), 16)
                    .map_err(|_| std::io::Error::other(format!("chunk size {size:?}")))?;
                if self.buffer.len() < line + 2 + size + 2 {
                    return Ok(None);
                }
                let piece = self.buffer[line + 2..line + 2 + size].to_vec();
                self.buffer.drain(..line + 2 + size + 2);
                if size == 0 {
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                Ok(Some(piece))
            }
        }
    }

    /// The rest of the body.
    pub fn rest(&mut self, patience: Duration) -> std::io::Result<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut all = Vec::new();
        while let Some(piece) = self.next(deadline.saturating_duration_since(Instant::now()))? {
            all.extend(piece);
        }
        Ok(all)
    }

    /// Reads until `text` was seen, and returns all that was read on the way. Panics when it does
    /// not come in time.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        while !all
            .windows(text.len())
            .any(|window| window == text.as_bytes())
        {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Ok(Some(piece)) => all.extend(piece),
                end => panic!(
                    "no {text:?}: {end:?} after {:?}",
                    String::from_utf8_lossy(&all)
                ),
            }
        }
        all
    }

    /// Writes to a hijacked connection.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection
            .write_all(bytes.as_ref())
            .expect("the daemon takes input");
    }

    /// Says that no more input comes, and keeps reading.
    #[track_caller]
    pub fn half_close(&self) {
        self.connection.half_close().expect("shutdown");
    }
}

/// Reads once into `buffer`; false at the end of the stream.
fn more(
    connection: &mut Connection,
    buffer: &mut Vec<u8>,
    deadline: Instant,
) -> std::io::Result<bool> {
    connection.time_limit(deadline.saturating_duration_since(Instant::now()))?;
    let mut chunk = vec![0; 64 << 10];
    match connection.read(&mut chunk) {
        Ok(0) => Ok(false),
        Ok(count) => {
            buffer.extend_from_slice(&chunk[..count]);
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(std::io::ErrorKind::TimedOut.into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error),
    }
}

/// A whole answer. Its methods panic with all of it where a test's wish is not met.
#[derive(Clone, Debug)]
pub struct Response {
    line: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The headers, in order, as written.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub fn is(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}: {}", self.line, self.text());
        self
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.line, self.text()))
    }

    /// The `message` of Docker's error body.
    #[track_caller]
    pub fn message(&self) -> String {
        let json = self.json();
        let message = json["message"].as_str();
        message
            .unwrap_or_else(|| panic!("{}: no message: {json}", self.line))
            .to_owned()
    }
}

/// Takes a multiplexed stream apart: (stream number, bytes), neighbours of one stream joined.
#[track_caller]
pub fn demux(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames: Vec<(u8, Vec<u8>)> = Vec::new();
    while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = bytes {
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        assert!(
            rest.len() >= size,
            "a frame of {size} bytes has only {}",
            rest.len()
        );
        match frames.last_mut() {
            Some((last, piece)) if last == stream => piece.extend_from_slice(&rest[..size]),
            _ => frames.push((*stream, rest[..size].to_vec())),
        }
        bytes = &rest[size..];
    }
    assert!(bytes.is_empty(), "not a frame: {bytes:?}");
    frames
}
