//! The bytes in the file are dockerd's.

use std::collections::BTreeMap;

use super::{Log, at, config};
use crate::{Logger, MAX_LINE, Stream, Subject};

#[tokio::test]
async fn records_are_byte_for_byte_those_of_dockerd() {
    let log = Log::new(&[]);
    let logger = log.open();
    logger
        .write(
            Stream::Stdout,
            b"hi\n",
            "2026-11-24T12:00:00.1234567Z".parse().unwrap(),
        )
        .await;
    logger
        .write(
            Stream::Stderr,
            b"<a href=\"x\">&\\\t\x08\x0c\x7f\r\n",
            at(0),
        )
        .await;
    logger
        .write(
            Stream::Stdout,
            "é\u{2028}\u{2029}\u{20ac}\n".as_bytes(),
            at(0),
        )
        .await;
    logger
        .write(Stream::Stdout, b"\xff\xe2\x82\n\x1b[0m\0\n", at(0))
        .await;
    logger.write(Stream::Stdout, b"no end", at(1)).await;
    logger.close(at(2)).await.unwrap();
    let expected = concat!(
        r#"{"log":"hi\n","stream":"stdout","time":"2026-11-24T12:00:00.1234567Z"}"#,
        "\n",
        r#"{"log":"\u003ca href=\"x\"\u003e\u0026\\\u0009\u0008\u000c"#,
        "\x7f",
        r#"\r\n","stream":"stderr","time":"2026-11-24T12:00:00Z"}"#,
        "\n",
        "{\"log\":\"é\\u2028\\u2029€\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-24T12:00:00Z\"}\n",
        r#"{"log":"\ufffd\ufffd\ufffd\n","stream":"stdout","time":"2026-11-24T12:00:00Z"}"#,
        "\n",
        r#"{"log":"\u001b[0m\u0000\n","stream":"stdout","time":"2026-11-24T12:00:00Z"}"#,
        "\n",
        r#"{"log":"no end","stream":"stdout","time":"2026-11-24T12:00:00.02Z"}"#,
        "\n",
    );
    assert_eq!(log.text(), expected);
}

#[tokio::test]
async fn long_lines_are_cut_at_16_kib_without_a_newline() {
    let log = Log::new(&[]);
    let logger = log.open();
    let long = vec![b'x'; 2 * MAX_LINE];
    logger.write(Stream::Stdout, &long[..100], at(0)).await;
    logger.write(Stream::Stdout, &long[100..], at(1)).await;
    logger.write(Stream::Stdout, b"end\nnext\n", at(2)).await;
    logger.close(at(3)).await.unwrap();
    let lines = log.read(crate::ReadOptions::default()).await;
    let lengths: Vec<_> = lines
        .iter()
        .map(|line| (line.bytes.len(), line.partial))
        .collect();
    assert_eq!(
        lengths,
        [(MAX_LINE, true), (MAX_LINE, true), (4, false), (5, false)]
    );
    // All pieces of a line carry the first one's time.
    let times: Vec<_> = lines.iter().map(|line| line.time).collect();
    assert_eq!(times, [at(1), at(1), at(1), at(2)]);
}

#[tokio::test]
async fn attributes_stand_between_stream_and_time() {
    let log = Log::new(&[]);
    let labels = BTreeMap::from([
        ("app".to_owned(), "we\"b".to_owned()),
        ("other".to_owned(), "x".to_owned()),
    ]);
    let env = [
        "LEVEL=debug".to_owned(),
        "TIER_A=1".to_owned(),
        "HOME=/root".to_owned(),
    ];
    let subject = Subject {
        id: "0123456789abcdef",
        name: "/web",
        image_name: "busybox",
        env: &env,
        labels: Some(&labels),
        ..Subject::default()
    };
    let config = config(&[
        ("labels", "app,missing"),
        ("env", "LEVEL"),
        ("env-regex", "^TIER_"),
        ("tag", "{{.Name}}/{{ .ID }}"),
    ]);
    let logger = Logger::open(&config, &log.path, &subject).unwrap();
    logger.write(Stream::Stdout, b"a\n", at(0)).await;
    logger.close(at(0)).await.unwrap();
    let expected = concat!(
        r#"{"log":"a\n","stream":"stdout","attrs":{"LEVEL":"debug","TIER_A":"1","app":"we\"b","#,
        r#""tag":"web/0123456789ab"},"time":"2026-11-24T12:00:00Z"}"#,
        "\n"
    );
    assert_eq!(log.text(), expected);
    let lines = log.read(crate::ReadOptions::default()).await;
    assert_eq!(lines[0].attrs.as_ref().unwrap()["app"], "we\"b");
}

#[test]
fn bad_tags_and_patterns_are_refused() {
    let log = Log::new(&[]);
    for (option, value, error) in [
        (
            "tag",
            "{{.Nope}}",
            "can't evaluate field Nope in type *loggerutils.Context",
        ),
        ("tag", "{{.Name", "unclosed action"),
        ("env-regex", "(", "error parsing regexp"),
    ] {
        let refused =
            Logger::open(&config(&[(option, value)]), &log.path, &Subject::default()).unwrap_err();
        assert!(refused.to_string().contains(error), "{refused}");
    }
}
