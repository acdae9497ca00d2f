//! Crate arrows point down, and each outside library has one room.
//!
//! ```text
//! tests    may use everything, but nothing uses them (testkit: only other tests)
//! bin      berthd
//! api      HTTP
//! domain   engine → images
//! edges    ctrd registry net volumes rootfs logs cgroups config store    know nothing of one another
//! ground   spec → wire, errdefs …                 wire reference archive errdefs fault
//! ```

use std::collections::BTreeSet;

/// A floor of the house. A crate may use what is on the floors below its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Floor {
    /// Plain types and pure functions.
    Ground,
    /// One outside system each.
    Edge,
    /// What a Docker Engine does.
    Domain,
    /// HTTP.
    Api,
    /// The only `main()`.
    Bin,
    /// What proves the rest.
    Tests,
}

const FLOORS: &[(&str, Floor)] = &[
    ("berth-errdefs", Floor::Ground),
    ("berth-fault", Floor::Ground),
    ("berth-reference", Floor::Ground),
    ("berth-wire", Floor::Ground),
    ("berth-archive", Floor::Ground),
    ("berth-spec", Floor::Ground),
    ("berth-ctrd", Floor::Edge),
    ("berth-registry", Floor::Edge),
    ("berth-net", Floor::Edge),
    ("berth-rootfs", Floor::Edge),
    ("berth-logs", Floor::Edge),
    ("berth-cgroups", Floor::Edge),
    ("berth-config", Floor::Edge),
    ("berth-store", Floor::Edge),
    ("berth-volumes", Floor::Edge),
    ("berth-images", Floor::Domain),
    ("berth-engine", Floor::Domain),
    ("berth-api", Floor::Api),
    ("berthd", Floor::Bin),
    ("testkit", Floor::Tests),
    ("house-tests", Floor::Tests),
    ("cli-tests", Floor::Tests),
    ("containerd-tests", Floor::Tests),
    ("sdk-tests", Floor::Tests),
];

/// Arrows within one floor: (from, to). All others on one floor are wrong.
const SIDEWAYS: &[(&str, &str)] = &[
    ("berth-reference", "berth-errdefs"),
    ("berth-wire", "berth-errdefs"),
    ("berth-spec", "berth-errdefs"),
    ("berth-spec", "berth-wire"),
    ("berth-engine", "berth-images"),
    ("cli-tests", "testkit"),
    ("containerd-tests", "testkit"),
    ("sdk-tests", "testkit"),
];

/// Outside libraries that only some crates may use: (library, or the beginning of its name and
/// `*`; the crates).
const ROOMS: &[(&str, &[&str])] = &[
    ("tonic*", &["berth-ctrd", "containerd-tests"]),
    ("prost*", &["berth-ctrd", "containerd-tests"]),
    ("containerd-client", &["berth-ctrd", "containerd-tests"]),
    ("netlink-*", &["berth-net"]),
    ("rtnetlink", &["berth-net"]),
    ("nftables", &["berth-net"]),
    ("hyper", &["berth-api"]),
    // ctrd: only as the connector of tonic's channel to a Unix socket.
    ("hyper-util", &["berth-api", "berth-ctrd"]),
    ("http", &["berth-api"]),
    ("http-body-util", &["berth-api"]),
    ("axum*", &[]),
    ("reqwest", &["berth-registry"]),
    // config: the certificates of the API's sockets are part of what a reload checks and replaces.
    ("rustls*", &["berth-registry", "berth-config"]),
    ("clap", &["berthd"]),
];

/// A crate of the workspace and what it is built with (dev-dependencies left out).
#[derive(Clone, Debug)]
pub struct Crate {
    /// The package's name.
    pub name: String,
    /// The names of the packages it depends on.
    pub dependencies: BTreeSet<String>,
}

fn floor(name: &str) -> Option<Floor> {
    FLOORS
        .iter()
        .find_map(|(known, floor)| (*known == name).then_some(*floor))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Every arrow that does not point down, every crate that has no floor, and every outside library
/// in a room that is not its own.
pub fn check(crates: &[Crate]) -> Vec<String> {
    let ours: BTreeSet<&str> = crates.iter().map(|krate| krate.name.as_str()).collect();
    let mut found = Vec::new();
    for krate in crates {
        let name = krate.name.as_str();
        let Some(own) = floor(name) else {
            found.push(format!(
                "{name} has no floor: give it one in tests/house/src/floors.rs"
            ));
            continue;
        };
        for dependency in &krate.dependencies {
            let dependency = dependency.as_str();
            if ours.contains(dependency) {
                let down = floor(dependency).is_some_and(|below| below < own);
                if !down && !SIDEWAYS.contains(&(name, dependency)) {
                    found.push(format!(
                        "{name} uses {dependency}, which is not on a floor below it"
                    ));
                }
            } else if let Some((_, rooms)) = ROOMS
                .iter()
                .find(|(pattern, _)| matches(pattern, dependency))
                && !rooms.contains(&name)
            {
                found.push(format!(
                    "{name} uses {dependency}, which is only for {rooms:?}"
                ));
            }
        }
    }
    found
}

/// The workspace as `cargo metadata` tells it.
pub fn workspace(metadata: &cargo_metadata::Metadata) -> Vec<Crate> {
    let crates = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Crate {
            name: package.name.to_string(),
            dependencies: package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != cargo_metadata::DependencyKind::Development)
                .map(|dependency| dependency.name.clone())
                .collect(),
        });
    crates.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(name: &str, dependencies: &[&str]) -> Crate {
        Crate {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn an_arrow_down_is_right() {
        let crates = [
            krate("berth-errdefs", &["thiserror"]),
            krate("berth-wire", &["berth-errdefs", "serde"]),
            krate(
                "berth-ctrd",
                &["berth-errdefs", "tonic", "prost-types", "hyper-util"],
            ),
            krate("berth-images", &["berth-ctrd", "berth-wire"]),
            krate("berth-engine", &["berth-images", "berth-ctrd"]),
            krate("berth-api", &["berth-engine", "berth-images", "hyper"]),
            krate("berthd", &["berth-api", "berth-ctrd", "clap"]),
        ];
        assert_eq!(check(&crates), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_up_is_wrong() {
        let crates = [
            krate("berth-ctrd", &["berth-engine"]),
            krate("berth-engine", &[]),
        ];
        assert_eq!(
            check(&crates),
            ["berth-ctrd uses berth-engine, which is not on a floor below it"]
        );
    }

    #[test]
    fn edges_do_not_know_each_other() {
        let crates = [
            krate("berth-net", &["berth-store"]),
            krate("berth-store", &[]),
        ];
        assert_eq!(check(&crates).len(), 1);
    }

    #[test]
    fn within_the_domain_only_engine_uses_images() {
        let crates = [
            krate("berth-images", &["berth-engine"]),
            krate("berth-engine", &[]),
        ];
        assert_eq!(check(&crates).len(), 1);
    }

    #[test]
    fn nothing_uses_the_tests() {
        let crates = [krate("berthd", &["testkit"]), krate("testkit", &[])];
        assert_eq!(check(&crates).len(), 1);
    }

    #[test]
    fn a_crate_needs_a_floor() {
        let found = check(&[krate("berth-cellar", &[])]);
        assert!(
            found[0].starts_with("berth-cellar has no floor"),
            "{found:?}"
        );
    }

    #[test]
    fn libraries_stay_in_their_rooms() {
        for (name, library) in [
            ("berth-engine", "tonic"),
            ("berth-images", "prost-types"),
            ("berth-engine", "netlink-packet-route"),
            ("berth-registry", "hyper"),
            ("berth-api", "reqwest"),
            ("berth-api", "axum"),
        ] {
            let found = check(&[krate(name, &[library])]);
            assert_eq!(found.len(), 1, "{name} with {library}: {found:?}");
        }
    }
}
