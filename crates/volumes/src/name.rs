//! What a volume may be called. The name is the name of a folder, so this also keeps volumes where
//! they belong.

use crate::{Error, Result};

/// The characters of names, as Docker tells them.
const RULE: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Checks a volume's name.
///
/// # Errors
/// [`Error::Invalid`] with dockerd's words: it is too short, or has other characters than names
/// may have.
pub fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if begins && name.bytes().all(known) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} includes invalid characters for a local volume name, only \"{RULE}\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_as_docker_has_them() {
        for good in ["ab", "a.b", "0-_", &"f".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "-a", "a b", "a/b", "ä1", "b@d", "a\0b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_name("bad name").expect_err("bad").to_string(),
            "\"bad name\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        );
        let short = check_name("a").expect_err("short").to_string();
        assert!(short.starts_with("volume name is too short"), "{short}");
    }

    proptest! {
        #[test]
        fn a_name_never_leads_anywhere_else(name in ".{0,12}") {
            if check_name(&name).is_ok() {
                let mut parts = std::path::Path::new(&name).components();
                let only = matches!(parts.next(), Some(std::path::Component::Normal(part)) if part == name.as_str());
                prop_assert!(only && parts.next().is_none());
            }
        }
    }
}
