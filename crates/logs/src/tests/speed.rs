//! How fast, on request: `cargo test -p berth-logs --config
//! 'profile.test.package.berth-logs.opt-level=3' -- --ignored speed --nocapture`.

use std::time::Instant;

use super::{Log, at};
use crate::{ReadOptions, Reader, Stream};

async fn measure(name: &str, line: &[u8], megabytes: usize) {
    let log = Log::new(&[]);
    let lines_per_chunk = 64 * 1024 / line.len();
    let chunk = line.repeat(lines_per_chunk);
    let chunks = megabytes * 1_000_000 / chunk.len();
    let logger = log.open();
    let begin = Instant::now();
    for index in 0..chunks {
        logger.write(Stream::Stdout, &chunk, at(index)).await;
    }
    logger.close(at(0)).await.unwrap();
    let wrote = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut reader = Reader::open(&log.config, &log.path, ReadOptions::default()).unwrap();
    let mut count = 0;
    while let Some(line) = reader.next().await {
        line.unwrap();
        count += 1;
    }
    let read = begin.elapsed().as_secs_f64();
    assert_eq!(count, chunks * lines_per_chunk);
    #[expect(clippy::cast_precision_loss)]
    let (mb, lines) = ((chunks * chunk.len()) as f64 / 1e6, count as f64 / 1e6);
    println!(
        "{name}: write {:.0} MB/s {:.2} M lines/s; read {:.0} MB/s {:.2} M lines/s",
        mb / wrote,
        lines / wrote,
        mb / read,
        lines / read
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed() {
    measure("2-byte lines", b"y\n", 20).await;
    let mut line = b"2026-11-24 INFO request=/index.html status=200 took=12ms user=alice agent=curl id=abcdef123".to_vec();
    line.push(b'\n');
    measure("92-byte lines", &line, 200).await;
    measure(
        "1-KiB lines",
        &[vec![b'x'; 1023], vec![b'\n']].concat(),
        400,
    )
    .await;
}
