//! Options and drivers answer in dockerd's words.

use super::opts;
use crate::{Driver, LogConfig, Mode, Options, ReadOptions, Reader, validate};

fn refusal(pairs: &[(&str, &str)]) -> String {
    LogConfig::parse("json-file", &opts(pairs))
        .unwrap_err()
        .to_string()
}

#[test]
fn options_are_understood() {
    let LogConfig::JsonFile(options) = super::config(&[
        ("max-size", "10m"),
        ("max-file", "3"),
        ("compress", "true"),
        ("mode", "non-blocking"),
        ("max-buffer-size", "4m"),
    ]) else {
        panic!("json-file")
    };
    let expected = Options {
        max_size: Some(10_000_000),
        max_file: 3,
        compress: true,
        mode: Mode::NonBlocking { buffer: 4 << 20 },
        ..Options::default()
    };
    assert_eq!(options, expected);
    for (text, size) in [
        ("1", 1),
        ("1k", 1000),
        ("1.5K", 1500),
        ("2kb", 2000),
        ("1 g", 1_000_000_000),
    ] {
        let LogConfig::JsonFile(options) = super::config(&[("max-size", text)]) else {
            panic!()
        };
        assert_eq!(options.max_size, Some(size), "{text}");
    }
}

#[test]
fn bad_options_are_refused_in_dockerds_words() {
    for (pairs, words) in [
        (
            &[("x", "1")][..],
            "unknown log opt 'x' for json-file log driver",
        ),
        (&[("max-size", "0")], "max-size must be a positive number"),
        (&[("max-size", "lots")], "invalid size: 'lots'"),
        (&[("max-size", "1x")], "invalid suffix: 'x'"),
        (&[("max-file", "0")], "max-file cannot be less than 1"),
        (
            &[("max-file", "two")],
            "strconv.Atoi: parsing \"two\": invalid syntax",
        ),
        (
            &[("compress", "maybe")],
            "strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            &[("compress", "true")],
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        (
            &[("mode", "fast")],
            "logger: logging mode not supported: fast",
        ),
        (
            &[("max-buffer-size", "1m")],
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
    ] {
        assert_eq!(refusal(pairs), words);
    }
}

#[test]
fn drivers_that_are_not_there_are_refused_as_missing_plugins() {
    for driver in [
        "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "gcplogs", "etwlogs", "x",
    ] {
        let words =
            format!("error looking up logging plugin {driver}: plugin \"{driver}\" not found");
        assert_eq!(validate(driver, &opts(&[])).unwrap_err().to_string(), words);
        assert_eq!(
            LogConfig::parse(driver, &opts(&[]))
                .unwrap_err()
                .to_string(),
            words
        );
    }
    assert_eq!(Driver::find("none").unwrap(), Driver::None);
}

#[test]
fn create_checks_names_and_mode_only() {
    validate("json-file", &opts(&[("max-size", "nonsense")])).unwrap();
    validate("none", &opts(&[("anything", "1")])).unwrap();
    assert!(validate("json-file", &opts(&[("anything", "1")])).is_err());
    assert!(validate("json-file", &opts(&[("mode", "fast")])).is_err());
}

#[tokio::test]
async fn the_none_driver_takes_everything_and_cannot_be_read() {
    let log = super::Log::new(&[]);
    let config = LogConfig::parse("none", &opts(&[])).unwrap();
    let logger = crate::Logger::open(&config, &log.path, &crate::Subject::default()).unwrap();
    logger
        .write(crate::Stream::Stdout, b"gone\n", super::at(0))
        .await;
    let words = "configured logging driver does not support reading";
    assert_eq!(
        logger.read(ReadOptions::default()).unwrap_err().to_string(),
        words
    );
    logger.close(super::at(1)).await.unwrap();
    let refused = Reader::open(&config, &log.path, ReadOptions::default()).unwrap_err();
    assert_eq!(refused.to_string(), words);
    assert!(!super::exists(&log.path));
}
