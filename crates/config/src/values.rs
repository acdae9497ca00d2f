//! The forms that option values come in.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// An amount of memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Size(pub i64);

/// A number of bytes, or text like `64M`.
pub(crate) fn deserialize_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Size, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bytes(i64),
        Text(String),
    }
    match Written::deserialize(deserializer) {
        Ok(Written::Bytes(bytes)) if bytes >= 0 => Ok(Size(bytes)),
        Ok(Written::Bytes(bytes)) => {
            Err(serde::de::Error::custom(format!("invalid size: '{bytes}'")))
        }
        Ok(Written::Text(text)) => parse_size(&text)
            .map(Size)
            .map_err(serde::de::Error::custom),
        Err(_) => Err(serde::de::Error::custom(
            "expected a number of bytes, or text like \"64M\"",
        )),
    }
}

/// Bytes of an amount of memory as Docker's options have it: `1024`, `64m`, `1.5GiB`, `2 GB`; the
/// units are powers of 1024.
///
/// # Errors
/// `invalid size: '…'`, `invalid suffix: '…'`.
pub fn parse_size(text: &str) -> Result<i64> {
    let wrong = || Error::invalid(format!("invalid size: '{text}'"));
    let split = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .ok_or_else(wrong)?
        + 1;
    let (number, unit) = text.split_at(split);
    // A space may stand before the unit, as in `1 GB`, and nowhere else.
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(wrong());
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.to_ascii_lowercase();
    let exponent = match unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(&unit)
    {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(Error::invalid(format!("invalid suffix: '{unit}'"))),
    };
    let bytes = number * 1024_f64.powi(exponent);
    if bytes >= i64::MAX as f64 {
        return Err(wrong());
    }
    Ok(bytes as i64)
}

/// `name=soft[:hard]` of `--default-ulimit`.
pub(crate) fn parse_ulimit(text: &str) -> Result<(String, i64, i64)> {
    let wrong = || Error::invalid(format!("invalid ulimit argument: {text}"));
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let soft = soft.parse().map_err(|_| wrong())?;
    let hard = hard.parse().map_err(|_| wrong())?;
    check_ulimit(name, soft, hard)?;
    Ok((name.to_owned(), soft, hard))
}

/// The names of the limits that Linux has, as `ulimit` options write them.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(crate) fn check_ulimit(name: &str, soft: i64, hard: i64) -> Result<()> {
    if !ULIMITS.contains(&name) {
        return Err(Error::invalid(format!("invalid ulimit type: {name}")));
    }
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(())
}

/// A daemon label: `key=value`, the key without spaces.
pub(crate) fn check_label(label: &str) -> Result<(&str, &str)> {
    match label.split_once('=') {
        Some(("", _)) => Err(Error::invalid(format!(
            "invalid label '{label}': empty name"
        ))),
        Some((key, _)) if key.contains(char::is_whitespace) => Err(Error::invalid(format!(
            "label '{key}' contains whitespaces"
        ))),
        Some(pair) => Ok(pair),
        None => Err(Error::invalid(format!("bad attribute format: {label}"))),
    }
}

/// A domain to search: `.` for none, else labels of letters, digits, `-` and `_`, at least one of
/// them with a letter.
pub(crate) fn check_domain(domain: &str) -> Result<String> {
    let text = domain.trim();
    if text == "." {
        return Ok(text.to_owned());
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let valid = name.len() <= 253
        && name.split('.').all(label)
        && name.bytes().any(|b| b.is_ascii_alphabetic());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(format!("{domain} is not a valid domain")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("2 GB", 2 << 30),
            ("10b", 10),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "-1", "1x", "1 2m", "1  m", "one", "9999999p"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_size("hello").unwrap_err().to_string(),
            "invalid size: 'hello'"
        );
    }

    #[test]
    fn ulimits_are_read_as_docker_reads_them() {
        assert_eq!(
            parse_ulimit("nofile=1024").unwrap(),
            ("nofile".into(), 1024, 1024)
        );
        assert_eq!(parse_ulimit("nofile=1:2").unwrap(), ("nofile".into(), 1, 2));
        assert_eq!(parse_ulimit("core=-1:-1").unwrap(), ("core".into(), -1, -1));
        let message = |text| parse_ulimit(text).unwrap_err().to_string();
        assert_eq!(message("nofile"), "invalid ulimit argument: nofile");
        assert_eq!(message("nofile=x"), "invalid ulimit argument: nofile=x");
        assert_eq!(message("what=1"), "invalid ulimit type: what");
        assert_eq!(
            message("nofile=2:1"),
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1"
        );
    }

    #[test]
    fn search_domains() {
        for good in [".", "example.com", "a.b.c", "_dns.example", "x1."] {
            assert!(check_domain(good).is_ok(), "{good}");
        }
        for bad in ["", "123456", "a..b", "-a.b", "a b", "1.2.3.4", "x/y"] {
            assert!(check_domain(bad).is_err(), "{bad}");
        }
    }
}
