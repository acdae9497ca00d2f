//! API versions: the prefix of a path and which ones are answered.

use std::cmp::Ordering;

use berth_wire::ApiVersion;

use crate::{Error, Result};

/// The newest API version.
pub(crate) const NEWEST: &str = "1.55";
/// The oldest API version.
pub(crate) const OLDEST: &str = "1.24";

/// Takes `/v1.xx` off a path: the version without its `v`, if any, and the rest.
pub(crate) fn split(path: &str) -> (Option<&str>, &str) {
    let Some(after) = path.strip_prefix("/v") else {
        return (None, path);
    };
    let end = after.find('/').unwrap_or(after.len());
    let version = &after[..end];
    let is_version =
        !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_version {
        (Some(version), &after[end..])
    } else {
        (None, path)
    }
}

/// The version that a client asked for; none asked for is the newest.
///
/// # Errors
/// Too old or too new, in dockerd's words.
pub(crate) fn admit(version: Option<&str>) -> Result<ApiVersion> {
    let version = version.unwrap_or(NEWEST);
    if compare(version, OLDEST) == Ordering::Less {
        return Err(Error::invalid(format!(
            "client version {version} is too old. Minimum supported API version is {OLDEST}, \
             please upgrade your client to a newer version"
        )));
    }
    if compare(version, NEWEST) == Ordering::Greater {
        return Err(Error::invalid(format!(
            "client version {version} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    let mut numbers = numbers(version).map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    let major = numbers.next().unwrap_or(0);
    Ok(ApiVersion::new(major, numbers.next().unwrap_or(0)))
}

/// Whether errors to this version are plain text: those of before 1.24 are.
pub(crate) fn wants_plain_errors(version: Option<&str>) -> bool {
    version.is_some_and(|v| compare(v, "1.23") != Ordering::Greater)
}

/// Whether `version` is `major.minor` or newer.
pub(crate) fn at_least(version: ApiVersion, major: u16, minor: u16) -> bool {
    version >= ApiVersion::new(major, minor)
}

/// As Docker compares: number by number, what is missing or no number is 0.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (numbers(a), numbers(b));
    loop {
        let (left, right) = (a.next(), b.next());
        if left.is_none() && right.is_none() {
            return Ordering::Equal;
        }
        match left.unwrap_or(0).cmp(&right.unwrap_or(0)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
}

fn numbers(version: &str) -> impl Iterator<Item = u64> + '_ {
    version.split('.').map(|n| n.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_are_split_off() {
        assert_eq!(split("/v1.41/info"), (Some("1.41"), "/info"));
        assert_eq!(split("/info"), (None, "/info"));
        assert_eq!(split("/version"), (None, "/version"));
        assert_eq!(split("/volumes"), (None, "/volumes"));
        assert_eq!(split("/v1.41"), (Some("1.41"), ""));
        assert_eq!(split("/v/info"), (None, "/v/info"));
        assert_eq!(split("/v1.x/info"), (None, "/v1.x/info"));
    }

    #[test]
    fn versions_are_gated_in_dockerds_words() {
        assert_eq!(
            admit(Some("1.12")).unwrap_err().to_string(),
            "client version 1.12 is too old. Minimum supported API version is 1.24, \
             please upgrade your client to a newer version"
        );
        assert_eq!(
            admit(Some("1.99")).unwrap_err().to_string(),
            "client version 1.99 is too new. Maximum supported API version is 1.55"
        );
        assert!(admit(Some("2")).is_err());
        assert!(admit(Some("...")).is_err());
        assert_eq!(admit(None).unwrap(), ApiVersion::new(1, 55));
        assert_eq!(admit(Some("1.24")).unwrap(), ApiVersion::new(1, 24));
        assert!(wants_plain_errors(Some("1.12")) && wants_plain_errors(Some("1.23")));
        assert!(!wants_plain_errors(Some("1.24")) && !wants_plain_errors(None));
    }

    proptest! {
        #[test]
        fn any_version_is_answered(version in "[0-9.]*", path in ".*") {
            let _ = (admit(Some(&version)), split(&path), wants_plain_errors(Some(&version)));
        }

        #[test]
        fn between_the_ends_all_are_admitted(minor in 24u16..=55) {
            let version = format!("1.{minor}");
            prop_assert_eq!(admit(Some(&version)).unwrap(), ApiVersion::new(1, minor));
        }
    }
}
