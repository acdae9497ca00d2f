use serde_json::{Value, json};

use crate::*;

fn at(minor: u16) -> ApiVersion {
    ApiVersion::new(1, minor)
}

fn gated<T: serde::Serialize>(value: &T, gate: fn(&mut Value, ApiVersion), minor: u16) -> Value {
    let mut value = serde_json::to_value(value).unwrap();
    gate(&mut value, at(minor));
    value
}

fn container() -> ContainerInspect {
    let endpoint = |address: &str| EndpointSettings {
        ip_address: address.to_owned(),
        ip_prefix_len: 16,
        aliases: vec!["web".to_owned()],
        ..EndpointSettings::default()
    };
    ContainerInspect {
        id: "0123456789abcdef".to_owned(),
        config: ContainerConfig {
            hostname: "h".to_owned(),
            ..ContainerConfig::default()
        },
        image_manifest_descriptor: Some(OciDescriptor::default()),
        storage: Some(Storage {
            root_fs: Some(RootFsStorage {
                snapshot: Some(SnapshotStorage {
                    name: "native".to_owned(),
                }),
            }),
        }),
        network_settings: NetworkSettings {
            networks: [("bridge", "172.17.0.2"), ("mine", "10.0.0.2")]
                .map(|(name, address)| (name.to_owned(), endpoint(address)))
                .into(),
            ..NetworkSettings::default()
        },
        ..ContainerInspect::default()
    }
}

#[test]
fn the_newest_version_is_left_alone() {
    let container = container();
    let value = serde_json::to_value(&container).unwrap();
    assert_eq!(gated(&container, gates::container_inspect, 55), value);
    let info = Info {
        nri: Some(NriInfo::default()),
        ..Info::default()
    };
    assert_eq!(
        gated(&info, gates::info, 55),
        serde_json::to_value(&info).unwrap()
    );
    let image = ImageInspect {
        descriptor: Some(OciDescriptor::default()),
        ..Default::default()
    };
    assert_eq!(
        gated(&image, gates::image_inspect, 55),
        serde_json::to_value(&image).unwrap()
    );
}

#[test]
fn containers_below_1_52() {
    let old = gated(&container(), gates::container_inspect, 51);
    assert_eq!(
        old["GraphDriver"],
        json!({ "Data": null, "Name": "native" })
    );
    assert_eq!(old.get("Storage"), None);
    let settings = &old["NetworkSettings"];
    assert_eq!(settings["IPAddress"], "172.17.0.2");
    assert_eq!(settings["IPPrefixLen"], 16);
    assert_eq!(settings["Bridge"], "");
    assert_eq!(settings["SecondaryIPAddresses"], Value::Null);
    assert_eq!(old["Config"]["OnBuild"], Value::Null);
    assert!(old.get("ImageManifestDescriptor").is_some());
    assert_eq!(settings["Networks"]["mine"]["Aliases"], json!(["web"]));
    let none = gated(&ContainerInspect::default(), gates::container_inspect, 51);
    assert_eq!(none["NetworkSettings"]["IPAddress"], "");
    assert_eq!(none["GraphDriver"]["Name"], "overlayfs");
}

#[test]
fn containers_below_1_48_and_1_45() {
    let old = gated(&container(), gates::container_inspect, 44);
    assert_eq!(old.get("ImageManifestDescriptor"), None);
    let networks = &old["NetworkSettings"]["Networks"];
    assert_eq!(
        networks["mine"]["Aliases"],
        json!(["web", "0123456789ab", "h"])
    );
    assert_eq!(networks["bridge"]["Aliases"], json!(["web"]));
}

#[test]
fn container_lists() {
    let summary = ContainerSummary {
        health: Some(HealthSummary::default()),
        image_manifest_descriptor: Some(OciDescriptor::default()),
        host_config: HostConfigSummary {
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            ..HostConfigSummary::default()
        },
        ..ContainerSummary::default()
    };
    let has = |minor: u16| {
        let list = gated(&vec![summary.clone()], gates::container_list, minor);
        [
            "/0/HostConfig/Annotations",
            "/0/ImageManifestDescriptor",
            "/0/Health",
        ]
        .map(|path| list.pointer(path).is_some())
    };
    assert_eq!(has(55), [true, true, true]);
    assert_eq!(has(51), [true, true, false]);
    assert_eq!(has(47), [true, false, false]);
    assert_eq!(has(45), [false, false, false]);
}

#[test]
fn images() {
    let image = ImageInspect {
        size: 7,
        config: Some(ImageConfig {
            user: "me".to_owned(),
            ..ImageConfig::default()
        }),
        descriptor: Some(OciDescriptor::default()),
        ..ImageInspect::default()
    };
    let new = gated(&image, gates::image_inspect, 52);
    assert_eq!(new["Config"], json!({ "User": "me" }));
    assert!(new.get("GraphDriver").is_none() && new.get("Parent").is_none());
    let old = gated(&image, gates::image_inspect, 51);
    assert_eq!(old["Config"]["Env"], Value::Null);
    assert_eq!(old["Config"].get("Tty"), None);
    assert_eq!(
        (&old["Parent"], &old["DockerVersion"]),
        (&json!(""), &json!(""))
    );
    assert!(old.get("Descriptor").is_some() && old.get("ContainerConfig").is_none());
    let older = gated(&image, gates::image_inspect, 43);
    assert_eq!(older["Config"]["Tty"], false);
    assert_eq!(older["Config"]["User"], "me");
    assert_eq!(older["VirtualSize"], 7);
    assert_eq!(older["Created"], ZERO_TIME);
    assert!(older["ContainerConfig"].is_object());
    assert_eq!(older.get("Descriptor"), None);
}

#[test]
fn image_lists() {
    let summary = ImageSummary {
        size: 7,
        containers: 2,
        ..ImageSummary::default()
    };
    let list = |minor| gated(&vec![summary.clone()], gates::written_image_list, minor)[0].clone();
    assert_eq!(list(51)["Containers"], 2);
    assert_eq!(list(50)["Containers"], -1);
    assert_eq!(list(43)["VirtualSize"], 7);
    assert_eq!(list(43)["RepoTags"], json!([]));
    assert_eq!(list(44).get("VirtualSize"), None);
    assert_eq!(list(42)["RepoTags"], json!(["<none>:<none>"]));
    assert_eq!(list(55), serde_json::to_value(&summary).unwrap());
}

#[test]
fn the_daemon() {
    let info = Info {
        security_options: vec![
            "name=seccomp,profile=builtin".to_owned(),
            "name=cgroupns".to_owned(),
        ],
        containerd: Some(ContainerdInfo::default()),
        firewall_backend: Some(FirewallInfo::default()),
        runc_commit: Commit { id: "1".to_owned() },
        ..Info::default()
    };
    let old = |minor| gated(&info, gates::info, minor);
    assert_eq!(old(24)["SecurityOptions"], json!(["seccomp", "cgroupns"]));
    assert_eq!(old(25)["SecurityOptions"], json!(info.security_options));
    assert!(old(46).get("Containerd").is_some() && old(45).get("Containerd").is_none());
    assert!(old(49).get("FirewallBackend").is_some() && old(48).get("FirewallBackend").is_none());
    assert_eq!(old(48)["RuncCommit"], json!({ "ID": "1", "Expected": "1" }));
    assert_eq!(old(49)["BridgeNfIptables"], false);
    assert_eq!(old(50).get("BridgeNfIptables"), None);
    assert_eq!(
        old(46)["RegistryConfig"]["AllowNondistributableArtifactsCIDRs"],
        Value::Null
    );
}

#[test]
fn events() {
    let made = Event {
        kind: "container".to_owned(),
        action: "start".to_owned(),
        actor: Actor {
            id: "abc".to_owned(),
            attributes: [("image".to_owned(), "busybox".to_owned())].into(),
        },
        ..Event::default()
    };
    let old = gated(&made, gates::event, 51);
    assert_eq!(
        (&old["status"], &old["id"], &old["from"]),
        (&json!("start"), &json!("abc"), &json!("busybox"))
    );
    assert_eq!(gated(&made, gates::event, 52).get("status"), None);
    let network = Event {
        kind: "network".to_owned(),
        ..made
    };
    assert_eq!(gated(&network, gates::event, 51).get("status"), None);
    let image = Event {
        kind: "image".to_owned(),
        action: "create".to_owned(),
        ..Event::default()
    };
    assert!(gates::event_is_known(&image, at(46)) && !gates::event_is_known(&image, at(45)));
}

#[test]
fn networks() {
    let network = NetworkInspect {
        status: Some(NetworkStatus::default()),
        ..Default::default()
    };
    assert!(
        gated(&network, gates::network_inspect, 52)
            .get("Status")
            .is_some()
    );
    assert!(
        gated(&network, gates::network_inspect, 51)
            .get("Status")
            .is_none()
    );
    let list = vec![NetworkInspect::default()];
    assert_eq!(
        gated(&list, gates::network_list, 27)[0]["Containers"],
        json!({})
    );
    assert_eq!(
        gated(&list, gates::network_list, 28)[0].get("Containers"),
        None
    );
}

#[test]
fn older_versions_add_up_the_disk_usage_themselves() {
    let usage = DiskUsage {
        image_usage: Some(ImagesDiskUsage {
            total_size: 7,
            items: vec![ImageSummary {
                containers: 2,
                size: 5,
                ..ImageSummary::default()
            }],
            ..ImagesDiskUsage::default()
        }),
        volume_usage: Some(VolumesDiskUsage::default()),
        ..DiskUsage::default()
    };
    // The sums, and beside them what clients read that ask for no version.
    let new = gated(&usage, gates::disk_usage, 52);
    assert_eq!(
        (&new["ImageUsage"]["TotalSize"], &new["LayersSize"]),
        (&json!(7), &json!(7))
    );
    assert_eq!(new["ImageUsage"].get("Items"), None);
    assert_eq!(new["Images"][0]["Containers"], 2);
    assert_eq!(new["Volumes"], json!([]));
    assert_eq!(new.get("Containers"), None);
    let old = gated(&usage, gates::disk_usage, 51);
    assert_eq!(old["LayersSize"], 7);
    assert_eq!(old["Images"][0]["Containers"], 2);
    assert_eq!(old["Volumes"], json!([]));
    // It was not asked for.
    assert_eq!(old.get("Containers"), Some(&Value::Null));
    assert_eq!(old.get("ImageUsage"), None);
    let older = gated(&usage, gates::disk_usage, 41);
    assert_eq!(
        (&older["BuilderSize"], &older["Images"][0]["VirtualSize"]),
        (&json!(0), &json!(5))
    );
}
