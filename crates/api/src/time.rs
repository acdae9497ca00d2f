//! The points in time of `since` and `until`.

use jiff::{SignedDuration, Timestamp};

use crate::Result;
use crate::query::go_int;

/// Reads a point in time: seconds since the epoch with an optional fraction (what clients send),
/// RFC 3339, or a Go duration before `now`.
///
/// # Errors
/// It is none of these, in the words of Go's number parser, as dockerd answers.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Some(ago) = go_duration(text)
        && let Ok(time) = now.checked_sub(ago)
    {
        return Ok(time);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = go_int("ParseInt", seconds)?;
    let nanos = nanos(fraction)?;
    let nanos = if text.starts_with('-') { -nanos } else { nanos };
    // What lies outside of jiff's years is as good as their end.
    Ok(Timestamp::new(seconds, nanos).unwrap_or(if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    }))
}

/// The nanoseconds of a decimal fraction; digits beyond the ninth are cut off.
fn nanos(fraction: &str) -> Result<i32> {
    if fraction.is_empty() {
        return Ok(0);
    }
    go_int("ParseInt", fraction)?;
    let nine: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    Ok(nine.parse().unwrap_or(0))
}

/// A Go duration with a unit: `1h30m`, `-1.5s`, `10ms`.
fn go_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut left) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if left.is_empty() {
        return None;
    }
    let mut seconds = 0f64;
    while !left.is_empty() {
        let digits = left
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|n| *n > 0)?;
        let number: f64 = left[..digits].parse().ok()?;
        left = &left[digits..];
        let unit = left
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(left.len());
        seconds += number
            * match &left[..unit] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        left = &left[unit..];
    }
    SignedDuration::try_from_secs_f64(if negative { -seconds } else { seconds }).ok()
}

/// RFC 3339 with always nine digits of fraction, as `logs --timestamps` shows it.
pub(crate) fn fixed(time: Timestamp) -> impl std::fmt::Display {
    // jiff's printer with precision gives exactly nine digits and `Z`.
    struct Fixed(Timestamp);
    impl std::fmt::Display for Fixed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:.9}", self.0)
        }
    }
    Fixed(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> String {
        let now: Timestamp = "2024-05-06T07:08:09Z".parse().unwrap();
        parse(text, now).unwrap().to_string()
    }

    #[test]
    fn all_three_forms_are_read() {
        assert_eq!(at("0"), "1970-01-01T00:00:00Z");
        assert_eq!(at("1136073845"), "2006-01-01T00:04:05Z");
        assert_eq!(at("1136073845.5"), "2006-01-01T00:04:05.5Z");
        assert_eq!(at("1136073845.000000001"), "2006-01-01T00:04:05.000000001Z");
        assert_eq!(
            at("1136073845.0000000019"),
            "2006-01-01T00:04:05.000000001Z"
        );
        assert_eq!(at("2006-01-02T15:04:05.999Z"), "2006-01-02T15:04:05.999Z");
        assert_eq!(at("2006-01-02T15:04:05+02:00"), "2006-01-02T13:04:05Z");
        assert_eq!(at("10m"), "2024-05-06T06:58:09Z");
        assert_eq!(at("1h8m9s"), "2024-05-06T06:00:00Z");
        assert_eq!(at("1.5s"), "2024-05-06T07:08:07.5Z");
    }

    #[test]
    fn nonsense_is_refused_in_gos_words() {
        let now = Timestamp::UNIX_EPOCH;
        let message = |t: &str| parse(t, now).unwrap_err().to_string();
        assert_eq!(
            message("foo"),
            r#"strconv.ParseInt: parsing "foo": invalid syntax"#
        );
        assert_eq!(
            message("1.x"),
            r#"strconv.ParseInt: parsing "x": invalid syntax"#
        );
        assert_eq!(
            message("10q"),
            r#"strconv.ParseInt: parsing "10q": invalid syntax"#
        );
    }

    #[test]
    fn timestamps_have_nine_digits() {
        let time: Timestamp = "2006-01-02T15:04:05Z".parse().unwrap();
        assert_eq!(fixed(time).to_string(), "2006-01-02T15:04:05.000000000Z");
        let time: Timestamp = "2006-01-02T15:04:05.12Z".parse().unwrap();
        assert_eq!(fixed(time).to_string(), "2006-01-02T15:04:05.120000000Z");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = parse(&text, Timestamp::UNIX_EPOCH);
        }

        #[test]
        fn any_number_is_answered(a in any::<i64>(), b in any::<u32>()) {
            let text = format!("{a}.{b}");
            prop_assert!(parse(&text, Timestamp::UNIX_EPOCH).is_ok());
        }
    }
}
