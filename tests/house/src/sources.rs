//! How files are named, how long they may be, and where `unsafe` is let in.

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "manager", "managers", "misc",
];

/// The most lines of a Rust file.
pub const MOST_LINES: usize = 600;

/// Where a file may opt out of `deny(unsafe_code)`.
const UNSAFE_ROOMS: &[&str] = &["crates/net/", "crates/rootfs/"];

/// Where the domain may name the configuration's store: at the edge of an operation, and where
/// the actor captures what no request asked for.
const STORE_ROOMS: &[&str] = &[
    "crates/engine/src/engine.rs",
    "crates/engine/src/engine/",
    "crates/engine/src/container/actor/captures.rs",
];

/// A part of `path` (from the repository's root) that says nothing.
pub fn check_name(path: &str) -> Option<String> {
    let empty = |part: &&str| {
        let stem = part.split('.').next().unwrap_or_default();
        EMPTY_NAMES.contains(&stem.to_ascii_lowercase().as_str())
    };
    let part = path.split('/').find(empty)?;
    Some(format!(
        "{path}: `{part}` names nothing; say what is inside"
    ))
}

/// What is wrong with `text`, the Rust file at `path`.
pub fn check_source(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.push(format!(
            "{path}: {lines} lines; more than {MOST_LINES} are two things in one"
        ));
    }
    let opts_out = text.lines().map(str::trim_start).any(|line| {
        ["#[allow(", "#![allow(", "#[expect(", "#![expect("]
            .iter()
            .any(|start| line.starts_with(start))
            && line.contains("unsafe_code")
    });
    if opts_out && !UNSAFE_ROOMS.iter().any(|room| path.starts_with(room)) {
        found.push(format!(
            "{path}: lets in unsafe code, which only {UNSAFE_ROOMS:?} may"
        ));
    }
    if path.starts_with("crates/engine/src/")
        && text.contains("ConfigStore")
        && !STORE_ROOMS.iter().any(|room| path.starts_with(room))
    {
        found.push(format!(
            "{path}: has a way to load the configuration, which only {STORE_ROOMS:?} may; \
             take the `Live` that the operation captured"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_what_is_inside_is_right() {
        for path in [
            "crates/net/src/bridge.rs",
            "crates/engine/src/commonality.rs",
        ] {
            assert_eq!(check_name(path), None);
        }
    }

    #[test]
    fn a_name_that_says_nothing_is_wrong() {
        for path in [
            "crates/net/src/utils.rs",
            "crates/api/src/common/mod.rs",
            "scripts/Helpers.sh",
            "crates/manager/Cargo.toml",
        ] {
            assert!(check_name(path).is_some(), "{path}");
        }
    }

    #[test]
    fn six_hundred_lines_are_the_most() {
        assert_eq!(
            check_source("a.rs", &"x\n".repeat(MOST_LINES)),
            Vec::<String>::new()
        );
        assert_eq!(check_source("a.rs", &"x\n".repeat(MOST_LINES + 1)).len(), 1);
    }

    #[test]
    fn the_configuration_is_loaded_at_the_edge() {
        let text = "use berth_config::ConfigStore;\n";
        for (path, wrong) in [
            ("crates/engine/src/engine.rs", 0),
            ("crates/engine/src/engine/volumes.rs", 0),
            ("crates/engine/src/create.rs", 1),
            ("crates/engine/src/container/start.rs", 1),
            ("bin/berthd/src/reload.rs", 0),
        ] {
            assert_eq!(check_source(path, text).len(), wrong, "{path}");
        }
    }

    #[test]
    fn unsafe_has_one_room() {
        let text = "    #![allow(unsafe_code)]\n";
        assert_eq!(
            check_source("crates/net/src/netns.rs", text),
            Vec::<String>::new()
        );
        assert_eq!(check_source("crates/engine/src/lib.rs", text).len(), 1);
    }
}
