//! The local driver: the bytes in the file, and files that are damaged.

use super::{Log, at, opts, texts, write_all};
use crate::{LogConfig, MAX_LINE, ReadOptions, Stream, Subject};

/// What dockerd writes for a line of standard output at the time `1`.
fn record(line: &str) -> Vec<u8> {
    let mut entry = b"\x0a\x06stdout\x10\x01\x1a".to_vec();
    entry.push(u8::try_from(line.len()).unwrap());
    entry.extend_from_slice(line.as_bytes());
    framed(&entry)
}

fn framed(entry: &[u8]) -> Vec<u8> {
    let size = u32::try_from(entry.len()).unwrap().to_be_bytes();
    [&size[..], entry, &size[..]].concat()
}

#[tokio::test]
async fn records_are_byte_for_byte_those_of_dockerd() {
    let log = Log::of("local", &[]);
    let logger = log.open();
    let time = jiff::Timestamp::from_nanosecond(1).unwrap();
    logger.write(Stream::Stdout, b"hi\n\n", time).await;
    logger.close(time).await.unwrap();
    // An empty line has no field at all.
    let empty = framed(b"\x0a\x06stdout\x10\x01");
    let wanted = [record("hi"), empty].concat();
    assert_eq!(std::fs::read(&log.path).unwrap(), wanted);
    assert!(log.path.ends_with("local-logs/container.log"));
    assert_eq!(
        texts(&log.read(ReadOptions::default()).await),
        ["hi\n", "\n"]
    );
}

#[tokio::test]
async fn pieces_of_a_long_line_are_marked() {
    let log = Log::of("local", &[]);
    let chunks = [
        (Stream::Stdout, vec![b'x'; MAX_LINE + 2]),
        (Stream::Stderr, b"between\n".to_vec()),
        (Stream::Stdout, b"\nopen".to_vec()),
    ];
    write_all(&log.open(), &chunks).await;
    let lines = log.read(ReadOptions::default()).await;
    let shapes: Vec<_> = lines.iter().map(|l| (l.bytes.len(), l.partial)).collect();
    assert_eq!(
        shapes,
        [(MAX_LINE, true), (8, false), (3, false), (4, true)]
    );
    let file = std::fs::read(&log.path).unwrap();
    // partial, and its metadata: last, an id of 64 digits, the number of the piece.
    let first = b"\x20\x01\x2a\x44\x12\x40";
    let last = b"\x20\x01\x2a\x46\x08\x01\x12\x40";
    let place = |what: &[u8]| file.windows(what.len()).position(|window| window == what);
    let (first, last) = (place(first).unwrap() + 6, place(last).unwrap() + 8);
    assert_eq!(file[first..first + 64], file[last..last + 64], "one id");
    assert_eq!(file[first + 64..first + 66], *b"\x18\x01");
    assert_eq!(file[last + 64..last + 66], *b"\x18\x02");
}

#[tokio::test]
async fn attributes_come_back() {
    let log = Log::of("local", &[("labels", "tier"), ("tag", "{{.Name}}")]);
    let labels = [("tier".to_owned(), "front".to_owned())].into();
    let subject = Subject {
        name: "web",
        labels: Some(&labels),
        ..Subject::default()
    };
    let logger = crate::Logger::open(&log.config, &log.path, &subject).unwrap();
    write_all(&logger, &[(Stream::Stdout, b"a\nb\n".to_vec())]).await;
    let lines = log.read(ReadOptions::default()).await;
    for line in &lines {
        let attrs = line.attrs.as_ref().unwrap();
        assert_eq!((&*attrs["tier"], &*attrs["tag"]), ("front", "web"));
    }
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn a_record_that_a_crash_cut_short_is_taken_away() {
    let good = record("good");
    for cut in 0..good.len() {
        let log = Log::of("local", &[]);
        std::fs::create_dir(log.path.parent().unwrap()).unwrap();
        let torn = [&good[..], &good, &good[..cut]].concat();
        std::fs::write(&log.path, torn).unwrap();
        // Whoever reads before the next run sees what is whole, from either end.
        for tail in [None, Some(5), Some(2)] {
            let options = ReadOptions {
                tail,
                ..ReadOptions::default()
            };
            let read = texts(&log.read(options).await);
            assert_eq!(read, ["good\n", "good\n"], "cut at {cut}, tail {tail:?}");
        }
        let next = (Stream::Stdout, b"next\n".to_vec());
        write_all(&log.open(), &[next]).await;
        let read = texts(&log.read(ReadOptions::default()).await);
        assert_eq!(read, ["good\n", "good\n", "next\n"], "cut at {cut}");
    }
}

#[tokio::test]
async fn damage_hides_the_rest_of_its_file_only() {
    let log = Log::of("local", &[("max-size", "1"), ("compress", "false")]);
    let lines = ["a\n", "b\n", "c\n"].map(|line| (Stream::Stdout, line.as_bytes().to_vec()));
    write_all(&log.open(), &lines).await;
    let older = log.rotated(1, "");
    let odd = [
        record("first"),
        b"\xff\xff\xff\xffgarbage".to_vec(),
        record("x"),
    ]
    .concat();
    std::fs::write(&older, odd).unwrap();
    let read = texts(&log.read(ReadOptions::default()).await);
    assert_eq!(read, ["a\n", "first\n", "c\n"]);
    // An entry that is none is passed over; what follows it is not.
    let odd = [framed(b"\x0a\x06nosuch"), framed(b"\xff"), record("kept")].concat();
    std::fs::write(&older, odd).unwrap();
    let read = texts(&log.read(ReadOptions::default()).await);
    assert_eq!(read, ["a\n", "kept\n", "c\n"]);
}

#[tokio::test]
async fn rotated_files_are_compressed_and_passed_over_by_their_header() {
    let log = Log::of("local", &[("max-size", "1")]);
    let lines = ["a\n", "b\n", "c\n"].map(|line| (Stream::Stdout, line.as_bytes().to_vec()));
    write_all(&log.open(), &lines).await;
    assert!(log.rotated(1, ".gz").exists() || log.rotated(2, ".gz").exists());
    let since = ReadOptions {
        since: Some(at(2)),
        ..ReadOptions::default()
    };
    assert_eq!(texts(&log.read(since).await), ["c\n"]);
    let tail = ReadOptions {
        tail: Some(2),
        ..ReadOptions::default()
    };
    assert_eq!(texts(&log.read(tail).await), ["b\n", "c\n"]);
}

#[test]
fn options_mean_what_dockerd_means() {
    let parse = |pairs: &[(&str, &str)]| LogConfig::parse("local", &opts(pairs));
    let Ok(LogConfig::Local(defaults)) = parse(&[]) else {
        panic!("the defaults")
    };
    assert_eq!(
        (defaults.max_size, defaults.max_file, defaults.compress),
        (Some(20 * 1024 * 1024), 5, true)
    );
    let one = parse(&[("max-file", "1"), ("compress", "false"), ("max-size", "1k")]);
    let Ok(LogConfig::Local(one)) = one else {
        panic!("{one:?}")
    };
    assert_eq!((one.max_size, one.max_file), (Some(1000), 1));
    for (pairs, words) in [
        (
            &[("odd", "1")][..],
            "unknown log opt 'odd' for log driver local",
        ),
        (
            &[("max-size", "big")],
            "invalid value for max-size: big: invalid size: 'big'",
        ),
        (&[("max-file", "-1")], "max-file must not be negative"),
        (
            &[("max-file", "1")],
            "compression cannot be enabled when max file count is 1",
        ),
        (
            &[("compress", "maybe")],
            "invalid boolean value for compress: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
    ] {
        assert_eq!(parse(pairs).unwrap_err().to_string(), words);
    }
}
