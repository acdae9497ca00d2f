//! A request's query parameters, read as dockerd reads them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::{Error, Result};

/// The decoded parameters, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes `a=1&b=2`.
    ///
    /// # Errors
    /// A bad escape or a semicolon, with Go's words.
    pub(crate) fn parse(text: &str) -> Result<Query> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if pair.contains(';') {
                return Err(Error::invalid("invalid semicolon separator in query"));
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Query { pairs })
    }

    /// The first value of `key`; empty when there is none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.all(key).next().unwrap_or_default()
    }

    /// The first value of `key` unless it is missing or empty.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        Some(self.get(key)).filter(|v| !v.is_empty())
    }

    /// All values of `key`.
    pub(crate) fn all<'q>(&'q self, key: &str) -> impl Iterator<Item = &'q str> {
        self.pairs
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// A truth value: everything but nothing, `0`, `no`, `false` and `none` is true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        let value = self.get(key).trim().to_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A truth value that is `default` where it is not given at all.
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> bool {
        if self.all(key).next().is_some() {
            self.flag(key)
        } else {
            default
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// It is not one, in the words of Go's `Atoi`.
    pub(crate) fn int(&self, key: &str) -> Result<Option<i64>> {
        self.given(key)
            .map(|value| go_int("Atoi", value))
            .transpose()
    }

    /// `h` or `w` of a terminal.
    ///
    /// # Errors
    /// `invalid resize height "x": invalid syntax` and the like.
    pub(crate) fn cells(&self, key: &str, what: &str) -> Result<u16> {
        let value = self.get(key);
        let digits = value.strip_prefix('-').unwrap_or(value);
        let reason = if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            "invalid syntax"
        } else {
            match value.parse() {
                Ok(cells) => return Ok(cells),
                Err(_) => "value out of range",
            }
        };
        Err(Error::invalid(format!(
            "invalid resize {what} {}: {reason}",
            quote(value)
        )))
    }
}

/// A whole number in the syntax, and with the errors, of Go's `strconv`.
pub(crate) fn go_int(function: &str, value: &str) -> Result<i64> {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let reason = if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        "invalid syntax"
    } else {
        match value.parse() {
            Ok(number) => return Ok(number),
            Err(_) => "value out of range",
        }
    };
    Err(Error::invalid(format!(
        "strconv.{function}: parsing {}: {reason}",
        quote(value)
    )))
}

/// A string as Go's `%q` shows it, near enough for messages.
pub(crate) fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Query decoding: `+` is a space, `%XX` a byte.
fn decode(text: &str) -> Result<String> {
    check_escapes(text)?;
    let spaced: Cow<'_, str> = if text.contains('+') {
        text.replace('+', " ").into()
    } else {
        text.into()
    };
    Ok(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// Every `%` must be followed by two hexadecimal digits.
fn check_escapes(text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(at + 1..at + 3);
        if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            let bad: String = text[at..].chars().take(3).collect();
            return Err(Error::invalid(format!(
                "invalid URL escape {}",
                quote(&bad)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flags_are_read_as_dockerd_does() {
        for (value, expected) in [
            ("", false),
            ("0", false),
            ("no", false),
            ("False", false),
            (" none ", false),
            ("1", true),
            ("true", true),
            ("yes", true),
            ("anything", true),
        ] {
            let query = Query {
                pairs: vec![("x".to_owned(), value.to_owned())],
            };
            assert_eq!(query.flag("x"), expected, "{value:?}");
        }
        assert!(!Query::default().flag("x"));
        assert!(Query::default().flag_or("x", true));
        let query = Query::parse("x=").unwrap();
        assert!(!query.flag_or("x", true));
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("a=1&b=x+y%2Fz&a=2&c&=d&&e=%e4").unwrap();
        assert_eq!(query.get("a"), "1");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("b"), "x y/z");
        assert_eq!(query.given("c"), None);
        assert_eq!(query.get("e"), "\u{fffd}");
    }

    #[test]
    fn messages_are_gos() {
        let message = |text: &str| Query::parse(text).unwrap_err().to_string();
        assert_eq!(message("a=%zz"), r#"invalid URL escape "%zz""#);
        assert_eq!(message("a=1;b=2"), "invalid semicolon separator in query");
        let int = |v: &str| go_int("Atoi", v).unwrap_err().to_string();
        assert_eq!(int("x"), r#"strconv.Atoi: parsing "x": invalid syntax"#);
        assert_eq!(
            int("99999999999999999999"),
            r#"strconv.Atoi: parsing "99999999999999999999": value out of range"#
        );
        let query = Query::parse("h=abc&w=-3&x=70000").unwrap();
        let cells = |k: &str, what: &str| query.cells(k, what).unwrap_err().to_string();
        assert_eq!(
            cells("h", "height"),
            r#"invalid resize height "abc": invalid syntax"#
        );
        assert_eq!(
            cells("w", "width"),
            r#"invalid resize width "-3": value out of range"#
        );
        assert_eq!(
            cells("x", "width"),
            r#"invalid resize width "70000": value out of range"#
        );
        assert_eq!(
            cells("y", "width"),
            r#"invalid resize width "": invalid syntax"#
        );
    }

    proptest! {
        #[test]
        fn any_query_is_answered(text in ".*") {
            if let Ok(query) = Query::parse(&text) {
                let _ = (query.flag("a"), query.int("a"), query.cells("a", "height"));
            }
        }
    }
}
