//! `docker cp`: what is at a path, and archives out of and into a container.
//!
//! What reads or writes a tree runs on a thread of its own, as a client may take its time, and
//! ends when the client goes: its channel is closed then.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_archive::plain;
use berth_rootfs::{Naming, Unpacking, View, Walk};
use berth_wire as wire;
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use crate::container::handle::Handle;
use crate::container::prepare;
use crate::container::record::Record;
use crate::shared::{Shared, blocking};
use crate::tree::{self, Access, Shown};
use crate::{Error, Result};

/// How many bytes are sent at a time.
const CHUNK: usize = 256 << 10;
/// How many such chunks wait for a slow client, or a slow disk.
const DEPTH: usize = 4;
/// How long the rest of an archive is read that nobody wants any more, so that its sender hears
/// why.
const DRAIN: Duration = Duration::from_secs(5);

/// Bytes as they come; an error says that something is missing.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How an archive is unpacked into a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtractOptions {
    /// A directory is not replaced by something else, nor the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// What is unpacked belongs to the container's user, if it has one.
    pub copy_uid_gid: bool,
}

/// What is at `path`. `name` is what the client calls the container.
pub(crate) async fn stat(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    name: &str,
    path: &str,
) -> Result<wire::ContainerPathStat> {
    let missing = not_found(name, path);
    let path = PathBuf::from(path);
    let lent = tree::lend(&shared, &handle).await?;
    blocking(move || {
        let view = tree::open(&shared, &handle, Shown::Mounts, Access::Read, lent)?;
        look(&view, &path).map_err(missing)
    })
    .await
}

/// What is at `path`, and an archive of it.
pub(crate) async fn get(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    name: &str,
    path: &str,
) -> Result<(wire::ContainerPathStat, ByteStream)> {
    let missing = not_found(name, path);
    let path = absolute(path);
    let lent = tree::lend(&shared, &handle).await?;
    let (stat, walk, base, view) = {
        let (shared, handle) = (shared.clone(), handle.clone());
        blocking(move || {
            let view = tree::open(&shared, &handle, Shown::Mounts, Access::Read, lent)?;
            let stat = look(&view, &path).map_err(&missing)?;
            let walk = walk(&view, &path, &stat).map_err(&missing)?;
            Ok((stat, walk, base(&path), view))
        })
        .await?
    };
    let record = handle.view().record.clone();
    shared.events.container(&record, "archive-path", &[]);
    let naming = Naming::Under(if base == "/" { "".into() } else { base.into() });
    let stream = produce(move |out| {
        // The tree is there for as long as it is walked.
        let _view = view;
        berth_rootfs::pack(walk, &naming, out)
    })?;
    Ok((stat, stream))
}

/// Unpacks the archive `input` into the directory `path`.
pub(crate) async fn put(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    (name, path): (&str, &str),
    options: ExtractOptions,
    mut input: ByteStream,
) -> Result<()> {
    let missing = not_found(name, path);
    let path = PathBuf::from(path);
    let record = handle.view().record.clone();
    let (chunks, body) = mpsc::channel(DEPTH);
    let (done, outcome) = oneshot::channel();
    let lent = tree::lend(&shared, &handle).await?;
    let work = {
        let (shared, record) = (shared.clone(), record.clone());
        move || {
            let view = tree::open(&shared, &handle, Shown::Mounts, Access::Write, lent)?;
            let at = destination(&view, &record, &path).map_err(missing)?;
            let how = Unpacking {
                keep_kinds: options.no_overwrite_dir_non_dir,
                owner: owner(&shared, &record, options)?,
            };
            let body = plain(Body::new(body)).map_err(|e| Error::internal(e.to_string()))?;
            berth_rootfs::unpack(&view, &at, body, how).map_err(told)
        }
    };
    thread(move || drop(done.send(work())))?;
    let mut outcome = std::pin::pin!(outcome);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut outcome => break ended,
            chunk = input.next() => {
                // Nothing stands for the end; a channel that is closed without it for a client
                // that is gone.
                let chunk = chunk.unwrap_or(Ok(Bytes::new()));
                let end = chunk.as_ref().map_or(true, Bytes::is_empty);
                if chunks.send(chunk).await.is_err() || end {
                    break outcome.await;
                }
            }
        }
    };
    let rest = async { while let Some(Ok(_)) = input.next().await {} };
    let _ = tokio::time::timeout(DRAIN, rest).await;
    ended.map_err(|_| Error::internal("unpacking the archive failed"))??;
    shared.events.container(&record, "extract-to-dir", &[]);
    Ok(())
}

/// What dockerd answers when something is not there; other failures as they are.
fn not_found(name: &str, path: &str) -> impl Fn(berth_rootfs::Error) -> Error + use<> {
    let message = format!("Could not find the file {path} in container {name}");
    move |error| match &error {
        error if error.errno() == Some(Errno::NOENT) => Error::not_found(&message),
        berth_rootfs::Error::Refused(why) => Error::invalid(why),
        _ => Error::from_lower(error),
    }
}

/// How dockerd tells of a bad archive.
fn told(error: berth_rootfs::Error) -> Error {
    match error {
        berth_rootfs::Error::Stream(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::internal("unexpected EOF")
        }
        berth_rootfs::Error::Stream(error) => {
            Error::internal(format!("archive/tar: invalid tar header: {error}"))
        }
        other => Error::from_lower(other),
    }
}

fn look(view: &View, path: &Path) -> berth_rootfs::Result<wire::ContainerPathStat> {
    let stat = view.stat(path)?;
    let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let target = match link {
        true => view.resolve(path)?.to_string_lossy().into_owned(),
        false => String::new(),
    };
    let nanos = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let modified = Timestamp::new(stat.st_mtime, nanos).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(wire::ContainerPathStat {
        name: base(path),
        size: stat.st_size,
        mode: go_mode(stat.st_mode),
        mtime: wire::rfc3339_nano(modified),
        link_target: target,
    })
}

/// A mode as Go's `os.FileMode` has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 23), (0o2000, 22), (0o1000, 20)]
        .iter()
        .filter(|(bit, _)| mode & bit != 0)
        .fold(0, |all, (_, shift)| all | 1 << shift);
    kind | special | (mode & 0o777)
}

/// The path without `.`, `..` and doubled slashes, with a slash before it, and with the slash or
/// the `/.` at its end that ask for what is in a directory.
fn absolute(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    let mut text = clean.into_os_string();
    if path == "." || path.ends_with("/.") {
        text.push(if text == "/" { "." } else { "/." });
    } else if path.ends_with('/') && text != "/" {
        text.push("/");
    }
    text.into()
}

/// The last part of a path, as Go's `filepath.Base` gives it.
fn base(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text.trim_end_matches('/');
    match text.rsplit('/').next() {
        None | Some("") => "/".to_owned(),
        Some(last) => last.to_owned(),
    }
}

/// The walk through what is at `path`, of which `stat` was told.
fn walk(view: &View, path: &Path, stat: &wire::ContainerPathStat) -> berth_rootfs::Result<Walk> {
    let folder = OFlags::PATH | OFlags::DIRECTORY;
    if stat.mode & 1 << 31 != 0 {
        return Ok(Walk::new(view.open_at(path, folder)?));
    }
    let name = path.file_name().unwrap_or_default().to_owned();
    let parent = view.open_at(path.parent().unwrap_or(Path::new("/")), folder)?;
    Ok(Walk::from(parent, name))
}

/// The directory that is unpacked into, free of links.
fn destination(view: &View, record: &Record, path: &Path) -> berth_rootfs::Result<PathBuf> {
    let refuse = |why: &str| Err(berth_rootfs::Error::Refused(why.to_owned()));
    let at = view.resolve(&Path::new("/").join(path))?;
    let stat = view.stat(&at)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return refuse("extraction point is not a directory");
    }
    let mut points = record.mounts.iter();
    match points.find(|point| at.starts_with(&point.destination)) {
        Some(point) if point.read_only => refuse("mounted volume is marked read-only"),
        None if record.host.readonly_rootfs => refuse("container rootfs is marked read-only"),
        _ => Ok(at),
    }
}

fn owner(shared: &Shared, record: &Record, options: ExtractOptions) -> Result<Option<(u32, u32)>> {
    match record.config.user.as_str() {
        user if options.copy_uid_gid && !user.is_empty() => {
            let user = prepare::resolve_user(shared, record, user)?;
            Ok(Some((user.uid, user.gid)))
        }
        _ => Ok(None),
    }
}

/// A thread of its own for what waits for clients: the runtime's are for what ends soon.
fn thread(work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name("archive".to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::internal(format!("cannot start a thread: {error}")))
}

/// What `work` writes, as it is written. Dropping the stream ends the work.
///
/// # Errors
/// There are no threads left.
pub(crate) fn produce(
    work: impl FnOnce(&mut Chunks) -> berth_rootfs::Result<()> + Send + 'static,
) -> Result<ByteStream> {
    let (chunks, mut stream) = mpsc::channel(DEPTH);
    thread(move || {
        let mut out = Chunks {
            chunks,
            chunk: Vec::with_capacity(CHUNK),
        };
        let ended = work(&mut out).and_then(|()| Ok(out.flush()?));
        if let Err(error) = ended {
            let _ = out.chunks.blocking_send(Err(io::Error::other(error)));
        }
    })?;
    Ok(Box::pin(futures::stream::poll_fn(move |context| {
        stream.poll_recv(context)
    })))
}

/// Collects what is written into chunks worth sending.
#[derive(Debug)]
pub(crate) struct Chunks {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(data);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        if chunk.is_empty() {
            return Ok(());
        }
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.chunks.blocking_send(Ok(chunk.into())).map_err(gone)
    }
}

/// The blocking end of what a client sends.
struct Body {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
    over: bool,
}

impl Body {
    fn new(chunks: mpsc::Receiver<io::Result<Bytes>>) -> Body {
        Body {
            chunks,
            now: Bytes::new(),
            over: false,
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() && !self.over {
            let gone = || Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            self.now = self.chunks.blocking_recv().unwrap_or_else(gone)?;
            self.over = self.now.is_empty();
        }
        let n = self.now.len().min(buffer.len());
        self.now.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_what_their_end_asks_for() {
        let of = |path: &str| absolute(path).display().to_string();
        for (path, expected) in [
            ("etc/../tmp//x", "/tmp/x"),
            ("/../../x/", "/x/"),
            ("/x/.", "/x/."),
            ("/", "/"),
            (".", "/."),
            ("x/..", "/"),
        ] {
            assert_eq!(of(path), expected, "{path}");
        }
        let base = |path: &str| super::base(Path::new(path));
        assert_eq!([base("/x/"), base("/"), base("/x/.")], ["x", "/", "."]);
    }

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 1 << 31 | 0o755);
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o041_777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o020_600), 1 << 26 | 1 << 21 | 0o600);
    }
}
