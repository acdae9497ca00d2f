//! Container names: what is allowed, and what they are called when nobody says.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::{Error, Result};

const MOODS: [&str; 64] = [
    "able", "agile", "amber", "ample", "apt", "balmy", "bold", "brave", "brisk", "calm", "candid",
    "clear", "clever", "cosy", "crisp", "daring", "deft", "eager", "early", "easy", "fair",
    "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hale", "hardy",
    "hearty", "humble", "jolly", "just", "keen", "kind", "lively", "loyal", "lucid", "mellow",
    "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite",
    "prompt", "proud", "quick", "quiet", "ready", "serene", "sharp", "steady", "sunny", "sure",
    "swift", "tidy", "warm",
];

/// Ships' things: a berth is where one lies.
const SHIPS: [&str; 64] = [
    "anchor",
    "barge",
    "barque",
    "beacon",
    "bollard",
    "bosun",
    "bow",
    "brig",
    "buoy",
    "cabin",
    "canoe",
    "capstan",
    "caravel",
    "catamaran",
    "clipper",
    "compass",
    "coracle",
    "corvette",
    "cutter",
    "davit",
    "deck",
    "dhow",
    "dinghy",
    "dory",
    "fairlead",
    "felucca",
    "ferry",
    "fluyt",
    "frigate",
    "galley",
    "halyard",
    "harbour",
    "hawser",
    "helm",
    "hull",
    "jetty",
    "jib",
    "junk",
    "kayak",
    "keel",
    "ketch",
    "launch",
    "lighter",
    "log",
    "lugger",
    "mast",
    "mooring",
    "packet",
    "pier",
    "pilot",
    "pinnace",
    "punt",
    "quay",
    "raft",
    "rudder",
    "schooner",
    "sextant",
    "skiff",
    "sloop",
    "tender",
    "trawler",
    "tug",
    "wherry",
    "yawl",
];

/// A name such as `steady_schooner`; after the first tries with a digit at its end.
pub(crate) fn generate(attempt: u32) -> String {
    let mut rng = rand::rng();
    let mood = MOODS.choose(&mut rng).unwrap_or(&"calm");
    let ship = SHIPS.choose(&mut rng).unwrap_or(&"skiff");
    match attempt {
        0..=2 => format!("{mood}_{ship}"),
        _ => format!(
            "{mood}_{ship}{}",
            rng.random_range(0..10_u32.saturating_pow(attempt.min(8)))
        ),
    }
}

/// Checks a name that a client asks for and takes its leading slash off.
///
/// # Errors
/// Docker's words.
pub(crate) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut letters = bare.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if first && bare.len() > 1 && letters.all(rest) {
        return Ok(bare);
    }
    Err(Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_allowed() {
        for attempt in 0..200 {
            let name = generate(attempt);
            assert_eq!(check(&name).ok(), Some(name.as_str()));
        }
    }

    #[test]
    fn names_are_checked_in_dockers_words() {
        assert_eq!(check("/web-1.a_b").ok(), Some("web-1.a_b"));
        for bad in ["", "/", "a", "-a", "a b", "a/b", "ä1", "_x", "x$"] {
            let error = check(bad).expect_err(bad).to_string();
            assert_eq!(
                error,
                format!(
                    "Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                )
            );
        }
    }
}
