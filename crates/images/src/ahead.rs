//! Layers that are unpacked while they come, out of their place: what is below them need not be there.
//! Where it can be had, it takes less time and fewer processors than to have containerd read each layer
//! again and unpack one after the other. Where anything is not as expected, containerd does it after all,
//! and tells what is wrong.

use std::convert::Infallible;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use berth_archive::Compression;
use berth_ctrd::{Labels, Mount};
use berth_reference::Digest;
use berth_rootfs::Upper;
use bytes::{Buf, Bytes};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::lease::{Lease, unique};
use crate::manifest::Descriptor;
use crate::unpack::EXTRACTION;
use crate::{Images, fault};

/// The snapshotter whose snapshots are directories that overlayfs takes as they are.
const OVERLAYFS: &str = "overlayfs";
/// How many pieces may lie between a download and its unpacking; each has at most
/// [`berth_ctrd::FRAME`] bytes.
const DEPTH: usize = 2;
/// How many layers of one load are unpacked at a time.
const OF_LOAD: usize = 3;
/// Where layers are unpacked, in the snapshot that is made for it.
const FOLDER: &str = "layers";

/// Where the layers of one pull or load are unpacked ahead of their turn.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    images: &'a Images,
    lease: &'a Lease,
    /// The snapshot that is made for it, as soon as there is something to unpack.
    key: String,
    folder: OnceCell<Option<PathBuf>>,
    layers: AtomicUsize,
    /// How many are unpacked at a time.
    permits: Arc<Semaphore>,
    over: Over,
    /// Every thread that unpacks has one.
    working: mpsc::Sender<Infallible>,
    idle: mpsc::Receiver<Infallible>,
}

/// Tells the threads of a pull or load that it is over, however it ended.
#[derive(Debug, Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A layer that is out of its place.
#[derive(Debug)]
pub(crate) struct Unpacked {
    upper: Upper,
    /// What its plain tar has.
    pub(crate) diff_id: Digest,
    /// It was not compressed.
    is_plain: bool,
}

/// What comes of a layer that was unpacked on its way. It ends without a value where containerd has to
/// do it after all.
pub(crate) type Arrival = oneshot::Receiver<Unpacked>;

/// Where the bytes of a layer go beside the content store.
#[derive(Debug)]
pub(crate) struct Tap {
    bytes: mpsc::Sender<Bytes>,
    /// How many have passed.
    passed: u64,
    unpacked: Arrival,
}

impl Tap {
    /// Hands over the bytes of the layer that begin at `offset`; `false` when nobody can use them:
    /// others are missing before them, or it cannot be unpacked so.
    async fn pass(&mut self, offset: u64, bytes: Bytes) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let fits = offset == self.passed;
        self.passed += bytes.len() as u64;
        fits && self.bytes.send(bytes).await.is_ok()
    }

    /// All bytes have passed.
    pub(crate) fn end(self) -> Arrival {
        self.unpacked
    }
}

/// Hands bytes of a layer, which begin at `offset`, to who unpacks it, as long as there is anybody.
pub(crate) async fn feed(tap: &mut Option<Tap>, offset: u64, bytes: &Bytes) {
    if let Some(open) = tap
        && !open.pass(offset, bytes.clone()).await
    {
        *tap = None;
    }
}

impl<'a> Ahead<'a> {
    /// For a pull, whose layers share the permits with those of all others, as downloads do.
    pub(crate) fn of_pull(images: &'a Images, lease: &'a Lease) -> Ahead<'a> {
        let permits = images.inner.lanes.load().unpacking.clone();
        Ahead::new(images, lease, permits)
    }

    /// For a load, which waits for nobody's registry.
    pub(crate) fn of_load(images: &'a Images, lease: &'a Lease) -> Ahead<'a> {
        Ahead::new(images, lease, Arc::new(Semaphore::new(OF_LOAD)))
    }

    fn new(images: &'a Images, lease: &'a Lease, permits: Arc<Semaphore>) -> Ahead<'a> {
        let (working, idle) = mpsc::channel(1);
        Ahead {
            images,
            lease,
            key: unique(EXTRACTION),
            folder: OnceCell::new(),
            layers: AtomicUsize::new(0),
            permits,
            over: Over::default(),
            working,
            idle,
        }
    }

    /// Begins to unpack the layer that is called so, of which all bytes, `size` of them, are going to
    /// pass. `None` where containerd has to do it. Waits while as many are being unpacked as may be at a
    /// time: who asks must hold no other tap. 1 RPC for the first one, and 1 more for the first one of all.
    pub(crate) async fn tap(&self, layer: &str, size: u64) -> Option<Tap> {
        let folder = self.folder.get_or_init(|| self.prepare()).await.as_ref()?;
        // Who has one waits for bytes of a download that goes on by itself.
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        let number = self.layers.fetch_add(1, Ordering::Relaxed);
        let at = folder.join(number.to_string());
        let (bytes, pieces) = mpsc::channel(DEPTH);
        let (done, unpacked) = oneshot::channel();
        let work = Work {
            lease: self.lease.clone(),
            _permit: permit,
            _working: self.working.clone(),
            pieces: Pieces {
                pieces,
                piece: Bytes::new(),
                missing: size,
            },
            over: self.over.0.clone(),
        };
        let (runtime, called) = (tokio::runtime::Handle::current(), layer.to_owned());
        let over = self.over.0.clone();
        // A thread of its own, for it waits for the registry.
        let thread = std::thread::Builder::new().name("layer".to_owned());
        let started = thread.spawn(move || {
            let _runtime = runtime.enter();
            match work.run(&at) {
                Ok(layer) => drop(done.send(layer)),
                // Nobody needed it.
                Err(_) if over.load(Ordering::Relaxed) => {}
                Err(error) => tracing::debug!(%error, layer = called, "left to containerd"),
            }
        });
        match started {
            Ok(_) => Some(Tap {
                bytes,
                passed: 0,
                unpacked,
            }),
            Err(error) => {
                tracing::debug!(%error, layer, "left to containerd");
                None
            }
        }
    }

    /// Makes the snapshot that has the layers in it, and the directory there.
    async fn prepare(&self) -> Option<PathBuf> {
        let others_files = self.images.inner.same_files.get() == Some(&false);
        if self.images.snapshotter() != OVERLAYFS || others_files {
            return None;
        }
        match self.try_prepare().await {
            Ok(folder) => folder,
            Err(error) => {
                tracing::debug!(%error, "no layer is unpacked while it comes");
                None
            }
        }
    }

    async fn try_prepare(&self) -> Unpacking<Option<PathBuf>> {
        let snapshots = self.images.snapshots(self.lease.client());
        let mounts = snapshots.prepare(&self.key, "", &Labels::new()).await?;
        fault::point("ahead:prepared");
        let Some(place) = Place::of(&mounts) else {
            return Ok(None);
        };
        let folder = place.upper.join(FOLDER);
        let made = folder.clone();
        blocking(move || Ok(std::fs::create_dir(made)?)).await?;
        // containerd's files may be others than those that have the same names here; where they are not,
        // it sees what we have made.
        let same_files = &self.images.inner.same_files;
        let same = same_files.get_or_try_init(|| async {
            let (_, inodes) = snapshots.usage(&self.key).await?;
            Ok::<_, Failure>(inodes > 1)
        });
        if matches!(same.await, Ok(true)) {
            return Ok(Some(folder));
        }
        blocking(move || Ok(std::fs::remove_dir(folder)?)).await?;
        Ok(None)
    }

    /// Waits until nothing is at work any more, and gives back the room of what was not put into its
    /// place. The snapshot that it was in goes with the lease. No RPC.
    pub(crate) async fn end(self) {
        let Ahead {
            folder,
            over,
            working,
            mut idle,
            ..
        } = self;
        drop((over, working));
        let _ = idle.recv().await;
        let Some(folder) = folder.into_inner().flatten() else {
            return;
        };
        if let Err(error) = blocking(move || Ok(berth_rootfs::remove(&folder)?)).await {
            tracing::debug!(%error, "what was unpacked goes with its lease");
        }
    }
}

impl Unpacked {
    /// Whether containerd would have taken the bytes for the same: it decompresses nothing that is
    /// said to be plain.
    pub(crate) fn is(&self, layer: &Descriptor) -> bool {
        self.is_plain || !layer.is_said_to_be_plain()
    }

    /// Puts the layer into the snapshot that is mounted so, which `lease` holds; `false` where it cannot be.
    pub(crate) async fn place(self, mounts: &[Mount], lease: &Lease) -> bool {
        let Some(Place { upper, lowers }) = Place::of(mounts) else {
            return false;
        };
        let lease = lease.clone();
        let work = move || {
            self.upper.place(&upper, &lowers)?;
            drop(lease);
            Ok(())
        };
        let placed = blocking(work).await;
        if let Err(error) = &placed {
            tracing::debug!(%error, "left to containerd");
        }
        placed.is_ok()
    }
}

/// Runs what ends soon, but for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Unpacking<T> + Send + 'static,
) -> Unpacking<T> {
    tokio::task::spawn_blocking(work).await?
}

/// The directories of a snapshot of overlayfs.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    upper: PathBuf,
    /// The topmost first.
    lowers: Vec<PathBuf>,
}

impl Place {
    /// `None` for mounts that are anything else.
    fn of(mounts: &[Mount]) -> Option<Place> {
        let [mount] = mounts else { return None };
        let option = |name: &str| mount.options.iter().find_map(|o| o.strip_prefix(name));
        let has = |name: &str| mount.options.iter().any(|o| o == name);
        if !mount.target.is_empty() || has("ro") || has("userxattr") {
            return None;
        }
        let place = match mount.kind.as_str() {
            // There is nothing below it.
            "bind" => Place {
                upper: PathBuf::from(&mount.source),
                lowers: Vec::new(),
            },
            "overlay" => Place {
                upper: PathBuf::from(option("upperdir=")?),
                lowers: option("lowerdir=")?.split(':').map(PathBuf::from).collect(),
            },
            _ => return None,
        };
        let mut all = place.lowers.iter().chain(std::iter::once(&place.upper));
        all.all(|path| path.is_absolute()).then_some(place)
    }
}

/// What may go wrong out of everybody's sight.
type Unpacking<T> = std::result::Result<T, Failure>;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Tree(#[from] berth_rootfs::Error),
    #[error(transparent)]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Containerd(#[from] berth_ctrd::Error),
    #[error(transparent)]
    Thread(#[from] tokio::task::JoinError),
    #[error("not compressed by anything that takes little memory")]
    Compression,
}

/// One layer's thread.
struct Work {
    /// Nothing is collected under our hands.
    lease: Lease,
    _permit: OwnedSemaphorePermit,
    _working: mpsc::Sender<Infallible>,
    pieces: Pieces,
    over: Arc<AtomicBool>,
}

impl Work {
    fn run(self, at: &Path) -> Unpacking<Unpacked> {
        let Work {
            lease,
            _permit,
            _working,
            pieces,
            over,
        } = self;
        let (compression, pieces) = berth_archive::peek(pieces)?;
        let plain = berth_archive::plain_in_little(pieces)?;
        let mut hashed = Hashed {
            inner: plain.ok_or(Failure::Compression)?,
            hash: Sha256::new(),
            over,
        };
        let upper = Upper::unpack(at, &mut hashed)?;
        let diff_id = Digest::from_sha256(hashed.hash.finalize().into());
        fault::point("ahead:unpacked");
        drop(lease);
        Ok(Unpacked {
            upper,
            diff_id,
            is_plain: compression == Compression::None,
        })
    }
}

/// The bytes of a download as they come.
#[derive(Debug)]
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    /// How many are still to come.
    missing: u64,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && self.missing > 0 {
            let piece = self.pieces.blocking_recv();
            self.piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = self.piece.len() as u64;
            let missing = self.missing.checked_sub(length);
            self.missing = missing.ok_or(io::ErrorKind::InvalidData)?;
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Hashes what is read, until it is over.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
    over: Arc<AtomicBool>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A few bytes may unpack to many: who waits for no more of them has to be heard meanwhile.
        if self.over.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
