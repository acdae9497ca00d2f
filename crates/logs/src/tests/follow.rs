//! `logs -f`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::roundtrip::{chunks, expected, got};
use super::{Log, all, at, runtime, texts};
use crate::{ReadOptions, Stream};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

fn following() -> ReadOptions {
    ReadOptions {
        follow: true,
        ..ReadOptions::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_follower_gets_every_line_once_through_rotations(chunks in chunks(), local: bool, size in 1..3000u32, from in 0..30usize) {
        let size = size.to_string();
        let driver = if local { "local" } else { "json-file" };
        let log = Log::of(driver, &[("max-size", &size), ("max-file", "300")]);
        let lines = runtime().block_on(async {
            let logger = log.open();
            let mut follower = None;
            for (index, (stream, chunk)) in chunks.iter().enumerate() {
                if index == from.min(chunks.len() - 1) {
                    follower = Some(tokio::spawn(all(logger.read(following()).unwrap())));
                }
                logger.write(*stream, chunk, at(index)).await;
            }
            let follower = follower.unwrap_or_else(|| tokio::spawn(all(logger.read(following()).unwrap())));
            logger.close(at(chunks.len())).await.unwrap();
            tokio::time::timeout(LIMIT, follower).await.unwrap().unwrap()
        });
        prop_assert_eq!(got(&lines), expected(&chunks));
    }
}

#[tokio::test]
async fn a_follower_that_keeps_up_loses_nothing_even_with_one_file() {
    let log = Log::new(&[("max-size", "1")]);
    let logger = log.open();
    let mut follower = logger
        .read(ReadOptions {
            tail: Some(0),
            ..following()
        })
        .unwrap();
    for index in 0..100 {
        let text = format!("{index}\n");
        logger
            .write(Stream::Stdout, text.as_bytes(), at(index))
            .await;
        let line = tokio::time::timeout(LIMIT, follower.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(line.bytes, text);
    }
    logger.close(at(100)).await.unwrap();
    assert!(
        tokio::time::timeout(LIMIT, follower.next())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_follower_ends_after_the_last_unterminated_line() {
    let log = Log::new(&[]);
    let logger = log.open();
    logger.write(Stream::Stdout, b"old\n", at(0)).await;
    let follower = tokio::spawn(all(logger
        .read(ReadOptions {
            tail: Some(0),
            ..following()
        })
        .unwrap()));
    tokio::task::yield_now().await;
    logger.write(Stream::Stdout, b"bye", at(1)).await;
    logger.close(at(2)).await.unwrap();
    let lines = tokio::time::timeout(LIMIT, follower)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(texts(&lines).last().map(String::as_str), Some("bye"));
}

#[tokio::test]
async fn a_follower_ends_when_the_logger_is_dropped_and_its_files_removed() {
    let log = Log::new(&[]);
    let logger = log.open();
    logger.write(Stream::Stdout, b"a\n", at(0)).await;
    let mut follower = logger.read(following()).unwrap();
    assert_eq!(follower.next().await.unwrap().unwrap().bytes, "a\n");
    std::fs::remove_file(&log.path).unwrap();
    drop(logger);
    assert!(
        tokio::time::timeout(LIMIT, follower.next())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_follower_of_a_closed_log_reads_it_and_ends() {
    let log = Log::new(&[]);
    let logger = log.open();
    logger.write(Stream::Stdout, b"a\nb\n", at(0)).await;
    logger.close(at(1)).await.unwrap();
    let lines = tokio::time::timeout(LIMIT, all(logger.read(following()).unwrap()))
        .await
        .unwrap();
    assert_eq!(texts(&lines), ["a\n", "b\n"]);
}

#[tokio::test]
async fn following_ends_at_until_though_nothing_comes() {
    let log = Log::new(&[]);
    let logger = log.open();
    logger.write(Stream::Stdout, b"a\n", Timestamp::now()).await;
    let until = Some(Timestamp::now() + SignedDuration::from_millis(50));
    let follower = all(logger
        .read(ReadOptions {
            until,
            ..following()
        })
        .unwrap());
    let lines = tokio::time::timeout(LIMIT, follower).await.unwrap();
    assert_eq!(texts(&lines), ["a\n"]);
    logger.close(at(0)).await.unwrap();
}

#[tokio::test]
async fn a_dropped_next_loses_no_line() {
    let log = Log::new(&[]);
    let logger = log.open();
    let mut follower = logger.read(following()).unwrap();
    let writer = tokio::spawn(async move {
        for index in 0..300 {
            logger
                .write(Stream::Stdout, format!("{index}\n").as_bytes(), at(0))
                .await;
            tokio::task::yield_now().await;
        }
        logger.close(at(0)).await.unwrap();
    });
    let mut lines = Vec::new();
    loop {
        // Polled once, then dropped, again and again.
        let polled = tokio::time::timeout(Duration::ZERO, follower.next()).await;
        match polled {
            Ok(Some(line)) => lines.push(line.unwrap()),
            Ok(None) => break,
            Err(_) => tokio::task::yield_now().await,
        }
    }
    writer.await.unwrap();
    assert_eq!(
        texts(&lines),
        (0..300)
            .map(|index| format!("{index}\n"))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_file_that_is_emptied_while_it_is_followed_is_followed_on() {
    let log = Log::new(&[]);
    let logger = log.open();
    let mut follower = logger.read(following()).unwrap();
    logger
        .write(Stream::Stdout, b"a rather long first line\n", at(0))
        .await;
    assert_eq!(
        follower.next().await.unwrap().unwrap().bytes,
        "a rather long first line\n"
    );
    std::fs::File::options()
        .write(true)
        .open(&log.path)
        .unwrap()
        .set_len(0)
        .unwrap();
    logger.write(Stream::Stdout, b"b\n", at(1)).await;
    let line = tokio::time::timeout(LIMIT, follower.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(line.bytes, "b\n");
    logger.close(at(2)).await.unwrap();
}

#[tokio::test]
async fn a_follower_that_lags_behind_the_rotations_goes_on_with_what_is_left() {
    let log = Log::new(&[("max-size", "1"), ("max-file", "3")]);
    let logger = log.open();
    let mut follower = logger.read(following()).unwrap();
    logger.write(Stream::Stdout, b"000\n", at(0)).await;
    assert_eq!(follower.next().await.unwrap().unwrap().bytes, "000\n");
    for index in 1..50 {
        logger
            .write(
                Stream::Stdout,
                format!("{index:03}\n").as_bytes(),
                at(index),
            )
            .await;
    }
    logger.close(at(50)).await.unwrap();
    let lines = tokio::time::timeout(LIMIT, all(follower)).await.unwrap();
    assert_eq!(texts(&lines), ["047\n", "048\n", "049\n"]);
}
