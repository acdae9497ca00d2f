//! Backlogs in memory and on disk: whole, in order, bounded, and never silent.

use futures::FutureExt;
use proptest::prelude::*;

use super::*;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

fn spool(directory: &Path, bounds: Bounds) -> Arc<Spool> {
    Arc::new(Spool {
        directory: directory.to_owned(),
        bounds,
    })
}

/// So small that everything happens.
const SMALL: Bounds = Bounds {
    memory: 300,
    staged: 500,
    segment: 1000,
    disk: 1 << 30,
};

fn chunk(bytes: impl Into<Bytes>) -> Chunk {
    let (stream, bytes) = (Stream::Stdout, bytes.into());
    Chunk { stream, bytes }
}

/// Hands over as the pumps do.
async fn hand_over(writer: &Writer, chunk: Chunk) -> Taken {
    let taken = writer.push(chunk);
    if taken == Taken::Crowded {
        soon(writer.settle()).await;
    }
    taken
}

/// Reads to the end: what was written, and the daemon's own words.
async fn drain(reader: &mut Reader) -> (Vec<u8>, String) {
    let (mut all, mut words) = (Vec::new(), String::new());
    while let Some(Chunk { stream, bytes }) = soon(reader.recv()).await {
        match stream {
            Stream::SystemErr => words.push_str(&String::from_utf8_lossy(&bytes)),
            _ => all.extend_from_slice(&bytes),
        }
    }
    (all, words)
}

/// How many files of this process lie in a directory and have no name any more.
fn unnamed_files(directory: &Path) -> usize {
    let inside = directory.to_string_lossy().into_owned();
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("proc");
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with(&inside))
        .count()
}

/// Waits until nothing is on disk; a read that was given up may still be ending.
async fn given_back(directory: &Path) {
    soon(async {
        while unnamed_files(directory) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[derive(Clone, Debug)]
enum Move {
    Write(usize, bool),
    Read(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let write = (1_usize..400, any::<bool>()).prop_map(|(n, err)| Move::Write(n, err));
    let read = (1_usize..8).prop_map(Move::Read);
    prop::collection::vec(prop_oneof![3 => write, 1 => read], 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the client reads, it gets each byte once, in order, and from the right stream.
    #[test]
    fn what_is_handed_over_arrives(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1).enable_all().build().expect("runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("directory");
            let (writer, mut reader) = spool(directory.path(), SMALL).backlog(Stream::SystemErr);
            let (mut wrote, mut got) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
            let mut next = 0_u8;
            for step in moves {
                match step {
                    Move::Write(length, err) => {
                        let bytes: Vec<u8> = (0..length).map(|_| { next = next.wrapping_add(1); next }).collect();
                        wrote[usize::from(err)].extend_from_slice(&bytes);
                        let stream = if err { Stream::Stderr } else { Stream::Stdout };
                        hand_over(&writer, Chunk { stream, bytes: bytes.into() }).await;
                    }
                    Move::Read(times) => for _ in 0..times {
                        // Dropped in the middle now and then.
                        if let Some(Some(chunk)) = reader.recv().now_or_never() {
                            got[usize::from(chunk.stream == Stream::Stderr)].extend_from_slice(&chunk.bytes);
                        }
                    }
                }
            }
            drop(writer);
            while let Some(chunk) = soon(reader.recv()).await {
                assert_ne!(chunk.stream, Stream::SystemErr, "{chunk:?}");
                got[usize::from(chunk.stream == Stream::Stderr)].extend_from_slice(&chunk.bytes);
            }
            assert_eq!(wrote, got);
            given_back(directory.path()).await;
        });
    }
}

#[tokio::test]
async fn at_the_bound_a_client_is_told_and_cut_off() {
    let directory = tempfile::tempdir().expect("directory");
    let bounds = Bounds {
        disk: 4000,
        ..SMALL
    };
    let (writer, mut reader) = spool(directory.path(), bounds).backlog(Stream::SystemErr);
    let mut taken = 0;
    while hand_over(&writer, chunk(vec![b'x'; 100])).await != Taken::No {
        taken += 100;
        assert!(taken < 100_000, "it is bounded");
    }
    assert!(writer.is_closed());
    let (all, words) = drain(&mut reader).await;
    assert!(all.len() > 3000 && all.len() <= 4400, "{}", all.len());
    assert!(
        words.contains("reads too slowly") && words.contains("has reached"),
        "{words}"
    );
    given_back(directory.path()).await;
}

#[tokio::test]
async fn without_a_disk_a_client_is_told_and_cut_off() {
    let (writer, mut reader) = spool(Path::new("/dev/null/none"), SMALL).backlog(Stream::SystemErr);
    while hand_over(&writer, chunk("0123456789")).await != Taken::No {
        tokio::task::yield_now().await;
    }
    let (all, words) = drain(&mut reader).await;
    assert!(all.starts_with(b"0123456789"), "what was in memory is read");
    assert!(words.contains("cannot be written"), "{words}");
}

#[tokio::test]
async fn a_disk_that_hangs_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("directory");
    let (writer, mut reader) = spool(directory.path(), SMALL).backlog(Stream::SystemErr);
    // As if the job never came back.
    writer.inner.lock().spilling = true;
    while writer.push(chunk(vec![b'x'; 100])) == Taken::Yes {}
    soon(writer.settle()).await;
    assert_eq!(writer.push(chunk("x")), Taken::No);
    let (_, words) = drain(&mut reader).await;
    assert!(words.contains("does not keep up"), "{words}");
}

#[tokio::test]
async fn a_client_costs_little_memory() {
    let directory = tempfile::tempdir().expect("directory");
    let (writer, mut reader) = spool(directory.path(), BOUNDS).backlog(Stream::SystemErr);
    let held = |writer: &Writer| {
        let state = writer.inner.lock();
        state.head_cost + state.staged.capacity()
    };
    let mut most = 0;
    // One byte a piece is the worst, a pipe's worth the usual.
    for size in [1, PIECE] {
        for _ in 0..(8 << 20) / (size + OVERHEAD) {
            hand_over(&writer, chunk(vec![b'x'; size])).await;
            most = most.max(held(&writer));
        }
    }
    // As much again is on its way to the disk, and a block on its way back.
    assert!(2 * most + BLOCK <= 3 << 20, "{most}");
    drop(writer);
    let (_, words) = drain(&mut reader).await;
    assert_eq!(words, "");
}

#[tokio::test]
async fn a_client_that_goes_gives_everything_back() {
    let directory = tempfile::tempdir().expect("directory");
    let (writer, reader) = spool(directory.path(), SMALL).backlog(Stream::SystemErr);
    for _ in 0..50 {
        hand_over(&writer, chunk(vec![b'x'; 100])).await;
    }
    assert!(unnamed_files(directory.path()) > 0, "it is on disk");
    drop(reader);
    assert_eq!(writer.push(chunk("x")), Taken::No);
    given_back(directory.path()).await;
}
