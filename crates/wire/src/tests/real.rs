//! What a real dockerd wrote (`fixtures/`, dockerd 20.10.24 to docker CLI 28, API 1.41) is read, and
//! written for that version again as it was.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::*;

const OLD: ApiVersion = ApiVersion::new(1, 41);

type Gate = fn(&mut Value, ApiVersion);

/// Where `ours` lacks something of `theirs` or says otherwise, but for `known` differences.
fn differences<T: Serialize + DeserializeOwned>(
    theirs: &str,
    gate: Option<Gate>,
    known: &[&str],
) -> Vec<String> {
    let mut ours = serde_json::to_value(serde_json::from_str::<T>(theirs).unwrap()).unwrap();
    if let Some(gate) = gate {
        gate(&mut ours, OLD);
    }
    let mut found = Vec::new();
    compare(
        &serde_json::from_str(theirs).unwrap(),
        &ours,
        "",
        &mut found,
    );
    found.retain(|line| !known.iter().any(|path| line.starts_with(path)));
    found
}

fn compare(theirs: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs {
                match ours.get(name) {
                    Some(our) => compare(value, our, &format!("{path}/{name}"), found),
                    None => found.push(format!("{path}/{name} is missing")),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (n, (value, our)) in theirs.iter().zip(ours).enumerate() {
                compare(value, our, &format!("{path}/{n}"), found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{path} is {theirs} there and {ours} here")),
    }
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/", $name, ".json"))
    };
}

#[test]
fn containers() {
    // TCP buffers are left out when nothing is said of them since API 1.42.
    let known = ["/HostConfig/KernelMemoryTCP"];
    let gate: Option<Gate> = Some(gates::container_inspect);
    for text in [fixture!("container"), fixture!("container-healthcheck")] {
        assert_eq!(differences::<ContainerInspect>(text, gate, &known), [""; 0]);
    }
    let gate: Option<Gate> = Some(gates::container_list);
    assert_eq!(
        differences::<Vec<ContainerSummary>>(fixture!("list"), gate, &[]),
        [""; 0]
    );
}

#[test]
fn images() {
    let gate: Option<Gate> = Some(gates::image_inspect);
    // No longer known, but its name still there.
    let known = ["/DockerVersion"];
    assert_eq!(
        differences::<ImageInspect>(fixture!("image"), gate, &known),
        [""; 0]
    );
    let gate: Option<Gate> = Some(gates::written_image_list);
    // The image had no digest, which dockerd shows as `[]` since 1.43.
    let known = ["/0/RepoDigests"];
    assert_eq!(
        differences::<Vec<ImageSummary>>(fixture!("images"), gate, &known),
        [""; 0]
    );
    let history = fixture!("history");
    assert_eq!(
        differences::<Vec<ImageHistoryItem>>(history, None, &[]),
        [""; 0]
    );
}

#[test]
fn the_daemon() {
    let known = [
        // Bridge netfilter is always told to be off, kernel memory not at all.
        "/BridgeNf",
        "/KernelMemory is missing",
        // Later dockerds write these as null.
        "/RegistryConfig/AllowNondistributableArtifacts",
    ];
    let gate: Option<Gate> = Some(gates::info);
    assert_eq!(differences::<Info>(fixture!("info"), gate, &known), [""; 0]);
    let gate: Option<Gate> = Some(gates::version);
    assert_eq!(
        differences::<VersionInfo>(fixture!("version"), gate, &[]),
        [""; 0]
    );
}

#[test]
fn networks() {
    let gate: Option<Gate> = Some(gates::network_list);
    assert_eq!(
        differences::<Vec<NetworkInspect>>(fixture!("networks"), gate, &[]),
        [""; 0]
    );
}
