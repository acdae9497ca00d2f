//! What goes in comes out.

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;

use super::{Log, all, at, runtime, texts, write_all};
use crate::{Line, MAX_LINE, ReadOptions, Stream};

type Expected = (Stream, usize, String);

/// The lines that `chunks` are, told the slow way: stream, index of the time, text.
pub(super) fn expected(chunks: &[(Stream, Vec<u8>)]) -> Vec<Expected> {
    let mut lines = Vec::new();
    let mut open: [(Vec<u8>, Option<usize>); 2] = Default::default();
    for (index, (stream, chunk)) in chunks.iter().enumerate() {
        let (carry, time) = &mut open[usize::from(*stream == Stream::Stderr)];
        for byte in chunk {
            carry.push(*byte);
            if *byte == b'\n' || carry.len() == MAX_LINE {
                let first = time.unwrap_or(index);
                *time = (*byte != b'\n').then_some(first);
                lines.push((*stream, first, as_go_tells(carry)));
                carry.clear();
            }
        }
    }
    for (stream, (carry, time)) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&open) {
        if !carry.is_empty() {
            lines.push((stream, time.unwrap_or(chunks.len()), as_go_tells(carry)));
        }
    }
    lines
}

fn as_go_tells(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    text
}

pub(super) fn got(lines: &[Line]) -> Vec<Expected> {
    let index = |line: &Line| (0..).find(|&index| at(index) == line.time).unwrap();
    let text = |line: &Line| as_go_tells(&line.bytes);
    lines
        .iter()
        .map(|line| (line.stream, index(line), text(line)))
        .collect()
}

fn chunk() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(prop_oneof![1 => Just(b'\n'), 4 => b' '..b'~', 1 => any::<u8>()], 0..80),
        1 => "[a-zà-ü\u{2028}\u{2029}<>&\"\\\\\n]{0,60}".prop_map(String::into_bytes),
        1 => (MAX_LINE - 3..MAX_LINE + 3, any::<bool>()).prop_map(|(length, ends)| {
            let mut line = vec![b'x'; length];
            if ends {
                line.push(b'\n');
            }
            line
        }),
    ]
}

pub(super) fn chunks() -> impl Strategy<Value = Vec<(Stream, Vec<u8>)>> {
    prop::collection::vec(
        (
            prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)],
            chunk(),
        ),
        0..30,
    )
}

fn reads() -> impl Strategy<Value = ReadOptions> {
    let time = || prop::option::of((0..35usize).prop_map(at));
    (
        any::<bool>(),
        any::<bool>(),
        prop::option::of(0..60u64),
        time(),
        time(),
    )
        .prop_map(|(stdout, stderr, tail, since, until)| ReadOptions {
            stdout,
            stderr,
            tail,
            since,
            until,
            follow: false,
        })
}

/// What a reader tells of all lines: dockerd's order of choices.
fn chosen(lines: &[Expected], options: &ReadOptions) -> Vec<Expected> {
    let tail = options
        .tail
        .map_or(lines.len(), |tail| usize::try_from(tail).unwrap());
    lines[lines.len().saturating_sub(tail)..]
        .iter()
        .filter(|line| options.since.is_none_or(|since| at(line.1) >= since))
        .take_while(|line| options.until.is_none_or(|until| at(line.1) <= until))
        .filter(|line| {
            if line.0 == Stream::Stdout {
                options.stdout
            } else {
                options.stderr
            }
        })
        .cloned()
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_line_comes_back(chunks in chunks(), local: bool, size in 1..4000u32, compress: bool, reads in prop::collection::vec(reads(), 6)) {
        let size = size.to_string();
        let compress = compress.to_string();
        let driver = if local { "local" } else { "json-file" };
        let log = Log::of(driver, &[("max-size", &size), ("max-file", "300"), ("compress", &compress)]);
        runtime().block_on(async {
            write_all(&log.open(), &chunks).await;
            let lines = expected(&chunks);
            prop_assert_eq!(got(&log.read(ReadOptions::default()).await), lines.clone());
            for options in reads {
                prop_assert_eq!(got(&log.read(options.clone()).await), chosen(&lines, &options), "{:?}", options);
            }
            Ok(())
        })?;
    }

    #[test]
    fn files_rotate_where_dockerd_rotates(chunks in chunks(), max in 1..2000u64, keep in 1..5u32) {
        let (size, files) = (max.to_string(), keep.to_string());
        let log = Log::new(&[("max-size", &size), ("max-file", &files)]);
        runtime().block_on(write_all(&log.open(), &chunks));
        // dockerd starts a file before the record that would begin at or behind the size.
        let (mut sizes, mut current) = (Vec::new(), 0);
        let whole = Log::new(&[]);
        runtime().block_on(write_all(&whole.open(), &chunks));
        for record in whole.text().split_inclusive('\n') {
            if current >= max {
                sizes.push(std::mem::take(&mut current));
            }
            current += record.len() as u64;
        }
        sizes.push(current);
        for (age, expected) in sizes.iter().rev().enumerate() {
            let age = u32::try_from(age).unwrap();
            let path = if age == 0 { log.path.clone() } else { log.rotated(age, "") };
            let size = std::fs::metadata(path).ok().map(|file| file.len());
            prop_assert_eq!(size, (age < keep).then_some(*expected));
        }
        prop_assert!(!super::exists(&log.rotated(keep, "")));
    }
}

#[tokio::test]
async fn rotated_files_are_compressed_with_dockerds_header() {
    let log = Log::new(&[("max-size", "1"), ("max-file", "3"), ("compress", "true")]);
    let logger = log.open();
    for (index, text) in ["a\n", "b\n", "c\n", "d\n"].iter().enumerate() {
        logger
            .write(Stream::Stdout, text.as_bytes(), at(index))
            .await;
    }
    logger.close(at(9)).await.unwrap();
    assert!(super::exists(&log.rotated(1, ".gz")) && super::exists(&log.rotated(2, ".gz")));
    assert!(!super::exists(&log.rotated(1, "")) && !super::exists(&log.rotated(2, "")));
    let file = MultiGzDecoder::new(std::io::BufReader::new(
        std::fs::File::open(log.rotated(1, ".gz")).unwrap(),
    ));
    assert_eq!(
        file.header().unwrap().extra().unwrap(),
        br#"{"lastTime":"2026-11-24T12:00:00.02Z"}"#
    );
    assert_eq!(
        texts(&log.read(ReadOptions::default()).await),
        ["b\n", "c\n", "d\n"]
    );
}

#[tokio::test]
async fn a_log_goes_on_in_the_next_run() {
    let log = Log::new(&[]);
    for text in ["one\n", "two", "three\n"] {
        let logger = log.open();
        logger.write(Stream::Stdout, text.as_bytes(), at(0)).await;
        logger.close(at(1)).await.unwrap();
        logger.write(Stream::Stdout, b"too late\n", at(2)).await;
    }
    assert_eq!(
        texts(&log.read(ReadOptions::default()).await),
        ["one\n", "two", "three\n"]
    );
}

#[tokio::test]
async fn a_running_log_is_read_with_what_was_handed_over_before() {
    let log = Log::new(&[]);
    let logger = log.open();
    for index in 0..200 {
        logger
            .write(Stream::Stderr, format!("{index}\n").as_bytes(), at(index))
            .await;
        let last = ReadOptions {
            tail: Some(1),
            ..ReadOptions::default()
        };
        let lines = all(logger.read(last).unwrap()).await;
        assert_eq!(texts(&lines), [format!("{index}\n")]);
    }
    logger.close(at(0)).await.unwrap();
}

#[tokio::test]
async fn a_log_that_was_never_written_has_no_lines() {
    let log = Log::new(&[]);
    for tail in [None, Some(0), Some(5)] {
        assert!(
            log.read(ReadOptions {
                tail,
                ..ReadOptions::default()
            })
            .await
            .is_empty()
        );
    }
}
