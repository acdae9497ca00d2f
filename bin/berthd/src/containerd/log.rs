//! What the daemon's own containerd logs, in the daemon's log.
//!
//! It writes to a file and not to a pipe: who writes to a pipe ends when its reader was killed.
//! The file is in the exec root, so in memory, and is emptied when it has grown.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

/// At this size the file is emptied. A line written at that very moment may be lost.
const MOST: u64 = 1 << 20;
/// A line longer than this is cut.
const LONGEST: usize = 64 << 10;
/// How containerd 1.6's warnings begin that it gives at every container's end, with nothing wrong.
const ROUTINE: [&str; 2] = ["cleaning up after shim disconnected", "cleanup warnings "];

/// Repeats each line of the file after the first `at` bytes in our log, for ever.
pub(super) async fn follow(path: PathBuf, at: u64) {
    if let Err(error) = tail(&path, at).await {
        tracing::warn!(%error, path = %path.display(), "containerd's log is not shown here");
    }
}

async fn tail(path: &Path, mut at: u64) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let watch = Watch::new(path)?;
    let mut rest = Vec::new();
    loop {
        let size = file.metadata()?.len();
        if size < at {
            at = 0;
        }
        file.seek(SeekFrom::Start(at))?;
        at += Read::by_ref(&mut file).take(MOST).read_to_end(&mut rest)? as u64;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            show(&String::from_utf8_lossy(&line));
        }
        if rest.len() > LONGEST {
            rest.clear();
        }
        if at >= MOST {
            file.set_len(0)?;
            at = 0;
        } else if file.metadata()?.len() <= at {
            watch.changed().await?;
        }
    }
}

/// Tells when a file was written to.
struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    fn new(path: &Path) -> io::Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&fd, path, inotify::WatchFlags::MODIFY)?;
        Ok(Watch(super::process::ready(fd)?))
    }

    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut events = [0; 1024];
        // What changed is known: there is one file.
        match rustix::io::read(self.0.get_ref(), &mut events) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::AGAIN) => {
                ready.clear_ready();
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Logs one of containerd's lines, JSON or (a panic) not.
fn show(line: &str) {
    let line = line.trim_end();
    if line.is_empty() {
        return;
    }
    let Some((level, text)) = read(line) else {
        tracing::warn!("containerd: {line}");
        return;
    };
    match level {
        Level::Fine => tracing::debug!("containerd: {text}"),
        Level::Bad => tracing::warn!("containerd: {text}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    Fine,
    Bad,
}

impl Level {
    fn of(name: &str) -> Level {
        match name {
            "trace" | "debug" | "info" => Level::Fine,
            _ => Level::Bad,
        }
    }
}

/// A line's level and what it says, fields included. Shims write through containerd, in logfmt.
fn read(line: &str) -> Option<(Level, String)> {
    if let Some(rest) = line.strip_prefix("time=") {
        let (_, rest) = rest.split_once(" level=")?;
        let (level, text) = rest.split_once(' ')?;
        return Some((Level::of(level), text.to_owned()));
    }
    let mut map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let mut level = Level::of(map.remove("level")?.as_str()?);
    map.remove("time");
    let message = map.remove("msg");
    let message = message.as_ref().and_then(|message| message.as_str());
    let mut text = message.unwrap_or_default().to_owned();
    if ROUTINE.iter().any(|routine| text.starts_with(routine)) {
        level = Level::Fine;
    }
    for (key, value) in &map {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!(" {key}={value}"));
    }
    Some((level, text))
}

/// The last thing that containerd said, for the message that it did not start.
pub(super) fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LONGEST as u64)))
        .ok()?;
    let mut text = Vec::new();
    file.take(LONGEST as u64).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(read(line).map_or_else(|| line.to_owned(), |(_, text)| text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let line = r#"{"error":"no","level":"warning","msg":"plugin","time":"2026"}"#;
        assert_eq!(read(line), Some((Level::Bad, "plugin error=no".to_owned())));
        let line = r#"{"level":"info","msg":"serving","n":3}"#;
        assert_eq!(read(line), Some((Level::Fine, "serving n=3".to_owned())));
        let line = r#"time="2026" level=info msg="starting signal loop" pid=3"#;
        let wanted = r#"msg="starting signal loop" pid=3"#;
        assert_eq!(read(line), Some((Level::Fine, wanted.to_owned())));
        assert_eq!(read("panic: oh"), None);
        for (message, level) in [
            ("cleaning up after shim disconnected", Level::Fine),
            ("cleanup warnings time=\\\"2026\\\" level=info", Level::Fine),
            ("failed to clean up after shim disconnected", Level::Bad),
        ] {
            let line = format!(r#"{{"level":"warning","msg":"{message}"}}"#);
            assert_eq!(read(&line).map(|(level, _)| level), Some(level), "{line}");
        }
    }

    #[test]
    fn the_last_line_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(last_line(&path), None);
        std::fs::write(&path, "{\"level\":\"info\",\"msg\":\"a\"}\nb\n\n").unwrap();
        assert_eq!(last_line(&path).unwrap(), "b");
    }
}
