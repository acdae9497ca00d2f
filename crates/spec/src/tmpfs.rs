//! Options of tmpfs mounts, merged as dockerd merges them.

use crate::error::{Error, Result};

/// What a tmpfs of the client's has unless its own options say otherwise.
const BASE: [&str; 4] = ["noexec", "nosuid", "nodev", "rprivate"];

/// Options with a value that a tmpfs takes.
const WITH_VALUE: [&str; 7] = [
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "mpol",
];

/// Flags in groups: of each group the last one given holds. The first group is propagation.
const FLAGS: [&[&str]; 13] = [
    &[
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
    ],
    &["ro", "rw"],
    &["suid", "nosuid"],
    &["dev", "nodev"],
    &["exec", "noexec"],
    &["sync", "async"],
    &["dirsync"],
    &["mand", "nomand"],
    &["atime", "noatime"],
    &["diratime", "nodiratime"],
    &["relatime", "norelatime"],
    &["strictatime", "nostrictatime"],
    &["bind", "rbind"],
];

/// The options of a tmpfs mount: Docker's base and `given` (comma-separated), the later of two
/// that contradict each other.
///
/// # Errors
/// `invalid tmpfs option "x"`.
pub(crate) fn merge(given: &str) -> Result<Vec<String>> {
    let given = given.split(',').filter(|option| !option.is_empty());
    let mut merged: Vec<String> = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    for option in BASE
        .into_iter()
        .chain(given)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        if option == "defaults" {
            continue;
        }
        let key = key(option)?;
        if !taken.contains(&key) {
            taken.push(key);
            merged.push(option.to_owned());
        }
    }
    merged.reverse();
    Ok(merged)
}

/// What two options share when they contradict each other.
fn key(option: &str) -> Result<String> {
    if let Some(group) = FLAGS.iter().position(|group| group.contains(&option)) {
        return Ok(format!("flag {group}"));
    }
    match option.split_once('=') {
        Some((name, _)) if WITH_VALUE.contains(&name) => Ok(name.to_owned()),
        _ => Err(Error::invalid(format!("invalid tmpfs option {option:?}"))),
    }
}

/// Checks where a tmpfs is to be mounted.
///
/// # Errors
/// dockerd's words for a destination that is not absolute or is the root.
pub(crate) fn validate_destination(destination: &str) -> Result<()> {
    if !destination.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount path: '{destination}' mount path must be absolute"
        )));
    }
    if destination
        .split('/')
        .all(|part| part.is_empty() || part == ".")
    {
        return Err(Error::invalid(
            "invalid specification: destination can't be '/'",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_option_holds() {
        assert_eq!(merge("").unwrap(), BASE);
        assert_eq!(
            merge("rw,exec,size=64m,size=1k").unwrap(),
            ["nosuid", "nodev", "rprivate", "rw", "exec", "size=1k"]
        );
        assert_eq!(
            merge("defaults,mode=1777").unwrap().last().unwrap(),
            "mode=1777"
        );
    }

    #[test]
    fn unknown_options() {
        let error = |given| merge(given).unwrap_err().to_string();
        assert_eq!(error("x"), "invalid tmpfs option \"x\"");
        assert_eq!(error("lowerdir=/a"), "invalid tmpfs option \"lowerdir=/a\"");
    }

    #[test]
    fn destinations() {
        assert!(validate_destination("/run").is_ok());
        assert!(validate_destination("run").is_err());
        assert!(validate_destination("//.").is_err());
    }
}
