use super::*;

fn adapted(minor: u16, json: &str) -> Result<(CreateRequest, Vec<String>)> {
    let mut request: CreateRequest = serde_json::from_str(json).unwrap();
    let warnings = adapt(&mut request, ApiVersion::new(1, minor), || true)?;
    Ok((request, warnings))
}

fn message(minor: u16, json: &str) -> String {
    adapted(minor, json).unwrap_err().to_string()
}

#[test]
fn old_defaults_are_kept_for_old_clients() {
    let json = r#"{
        "Healthcheck": {"StartInterval": 5},
        "HostConfig": {"AutoRemove": true, "Annotations": {"a": "b"}, "ConsoleSize": [3, 4],
            "KernelMemoryTCP": 1, "PidsLimit": -1}
    }"#;
    let (old, _) = adapted(24, json).unwrap();
    assert!(!old.host_config.auto_remove && old.host_config.annotations.is_empty());
    assert_eq!(old.host_config.ipc_mode, "shareable");
    assert_eq!(old.host_config.cgroupns_mode, "host");
    assert_eq!(old.host_config.console_size, [0, 0]);
    assert_eq!(old.host_config.kernel_memory_tcp, 0);
    assert_eq!(old.config.healthcheck.unwrap().start_interval, 0);
    let (new, _) = adapted(55, json).unwrap();
    assert!(new.host_config.auto_remove && !new.host_config.annotations.is_empty());
    assert_eq!(
        (&*new.host_config.ipc_mode, &*new.host_config.cgroupns_mode),
        ("", "")
    );
    assert_eq!(new.host_config.console_size, [3, 4]);
    assert_eq!(new.config.healthcheck.unwrap().start_interval, 5);
    assert_eq!(new.host_config.pids_limit, None);
}

#[test]
fn the_default_network_is_bridge() {
    let json = r#"{"HostConfig": {"NetworkMode": "default"},
        "NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": ["x"]}}}}"#;
    let (request, _) = adapted(55, json).unwrap();
    assert_eq!(request.host_config.network_mode, "bridge");
    assert_eq!(
        request.networking_config.endpoints_config["bridge"].aliases,
        ["x"]
    );
    let (request, _) = adapted(55, r#"{"HostConfig": {"NetworkMode": "host"}}"#).unwrap();
    assert_eq!(request.host_config.network_mode, "host");
}

#[test]
fn mounts_are_checked_as_their_version_did() {
    let mount = |m: &str| format!(r#"{{"HostConfig": {{"Mounts": [{m}]}}}}"#);
    let odd = mount(r#"{"Type": "bind", "VolumeOptions": {}}"#);
    assert_eq!(
        message(42, &odd),
        "VolumeOptions must not be specified on mount type \"bind\""
    );
    let (old, _) = adapted(41, &odd).unwrap();
    assert!(old.host_config.mounts[0].volume_options.is_none());
    let bind = mount(
        r#"{"Type": "bind", "ReadOnly": true,
            "BindOptions": {"NonRecursive": true, "CreateMountpoint": true}}"#,
    );
    let options = |minor: u16| {
        adapted(minor, &bind)
            .unwrap()
            .0
            .host_config
            .mounts
            .remove(0)
            .bind_options
            .unwrap()
    };
    assert!(!options(39).non_recursive && options(40).non_recursive);
    assert!(!options(41).create_mountpoint && options(42).create_mountpoint);
    assert!(options(43).read_only_non_recursive && !options(44).read_only_non_recursive);
    let subpath = mount(r#"{"Type": "volume", "VolumeOptions": {"Subpath": "a"}}"#);
    assert_eq!(
        message(44, &subpath),
        "VolumeOptions.Subpath needs API v1.45 or newer"
    );
    assert!(adapted(45, &subpath).is_ok());
    let image = mount(r#"{"Type": "image"}"#);
    assert_eq!(
        message(47, &image),
        "Mount type \"Image\" needs API v1.48 or newer"
    );
    let forced = mount(r#"{"Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": true}}"#);
    assert_eq!(
        message(43, &forced),
        "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"
    );
}

#[test]
fn only_new_versions_have_several_endpoints() {
    let json = r#"{"NetworkingConfig":
        {"EndpointsConfig": {"a": {"GwPriority": 7}, "b": {}}}}"#;
    assert_eq!(
        message(43, json),
        "Container cannot be created with multiple network endpoints: a, b"
    );
    let priority = |minor: u16| {
        let (request, _) = adapted(minor, json).unwrap();
        request.networking_config.endpoints_config["a"].gw_priority
    };
    assert_eq!((priority(47), priority(48)), (0, 7));
}

#[test]
fn the_mac_address_moves_to_the_endpoint() {
    let json = r#"{"MacAddress": "02:00:00:00:00:01"}"#;
    let (old, warnings) = adapted(43, json).unwrap();
    let mac = |r: &CreateRequest| {
        r.networking_config.endpoints_config["bridge"]
            .mac_address
            .clone()
    };
    assert_eq!(
        (mac(&old).as_str(), warnings.len()),
        ("02:00:00:00:00:01", 0)
    );
    let (new, warnings) = adapted(44, json).unwrap();
    assert_eq!(mac(&new), "02:00:00:00:00:01");
    assert!(warnings[0].starts_with("The container-wide MacAddress field is now deprecated."));
    assert_eq!(new.config.mac_address, "");
    let host = r#"{"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "host"}}"#;
    assert_eq!(
        message(43, host),
        "conflicting options: mac-address and the network mode"
    );
    let other = r#"{"MacAddress": "02:00:00:00:00:01", "NetworkingConfig":
        {"EndpointsConfig": {"bridge": {"MacAddress": "02:00:00:00:00:02"}}}}"#;
    assert!(message(44, other).starts_with("the container-wide MAC address must match"));
    let ignored = r#"{"NetworkingConfig":
        {"EndpointsConfig": {"bridge": {"MacAddress": "02:00:00:00:00:02"}}}}"#;
    assert_eq!(mac(&adapted(43, ignored).unwrap().0), "");
    assert_eq!(mac(&adapted(44, ignored).unwrap().0), "02:00:00:00:00:02");
}

#[test]
fn sysctls_of_an_interface_move_to_the_endpoint() {
    let json = r#"{"HostConfig":
        {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1", "net.core.somaxconn": "9"}}}"#;
    let (request, warnings) = adapted(47, json).unwrap();
    let name = ENDPOINT_SYSCTLS;
    let setting = "net.ipv4.conf.IFNAME.forwarding=1";
    let options = &request.networking_config.endpoints_config["bridge"].driver_opts;
    assert_eq!(options[name], setting);
    assert_eq!(request.host_config.sysctls.len(), 1);
    let warning = format!(
        "Migrated sysctl \"net.ipv4.conf.eth0.forwarding\" to DriverOpts{{\"{name}\":\"{setting}\"}}."
    );
    assert_eq!(warnings, [warning]);
    assert!(message(48, json).starts_with(
        "interface specific sysctl setting \"net.ipv4.conf.eth0.forwarding\" must be supplied"
    ));
    let second = r#"{"HostConfig": {"Sysctls": {"net.ipv4.conf.eth1.forwarding": "1"}}}"#;
    assert!(message(47, second).starts_with("unable to determine network endpoint for sysctl"));
}

#[test]
fn empty_port_bindings_were_random_ports_once() {
    let json = r#"{"HostConfig": {"PortBindings": {"80/tcp": [], "81/tcp": [{"HostPort": "8"}]}}}"#;
    let (old, warnings) = adapted(51, json).unwrap();
    assert_eq!(
        old.host_config.port_bindings["80/tcp"],
        [PortBinding::default()]
    );
    assert!(warnings.is_empty());
    let (_, warnings) = adapted(52, json).unwrap();
    assert!(
        warnings[0].contains("empty list of port-bindings: 80/tcp."),
        "{warnings:?}"
    );
    let (new, warnings) = adapted(53, json).unwrap();
    assert_eq!(new.host_config.port_bindings.len(), 1);
    assert!(warnings.is_empty());
}

#[test]
fn a_container_wide_volume_driver_is_warned_of() {
    let json = r#"{"HostConfig": {"VolumeDriver": "x", "Mounts": [{"Type": "volume"}]}}"#;
    assert_eq!(adapted(47, json).unwrap().1.len(), 0);
    assert!(adapted(48, json).unwrap().1[0].starts_with("WARNING: the container-wide volume"));
}
