use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sample::{Sample, Seed};
use crate::*;

mod real;

fn comes_back<T>(seed: u64) -> Result<(), TestCaseError>
where
    T: Sample + Serialize + DeserializeOwned + Debug + PartialEq,
{
    let value = T::sample(&mut Seed(seed | 1));
    let text = serde_json::to_string(&value).unwrap();
    prop_assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), &value);
    // The same over a tree, which is how gates see it.
    let tree: Value = serde_json::from_str(&text).unwrap();
    prop_assert_eq!(serde_json::from_value::<T>(tree).unwrap(), value);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(seed in any::<u64>()) {
        comes_back::<CreateRequest>(seed)?;
        comes_back::<ContainerInspect>(seed)?;
        comes_back::<ContainerSummary>(seed)?;
        comes_back::<ImageInspect>(seed)?;
        comes_back::<ImageSummary>(seed)?;
        comes_back::<NetworkInspect>(seed)?;
        comes_back::<Info>(seed)?;
        comes_back::<VersionInfo>(seed)?;
        comes_back::<Event>(seed)?;
        comes_back::<(ExecCreate, ExecStart, ExecInspect)>(seed)?;
        comes_back::<(JsonMessage, ErrorBody, WaitResponse)>(seed)?;
        comes_back::<(ImageDeleteItem, ImageHistoryItem, CreateResponse)>(seed)?;
        comes_back::<(ContainerStats, TopResponse, ContainersPruneReport)>(seed)?;
        comes_back::<DiskUsage>(seed)?;
        comes_back::<Filters>(seed)?;
    }

    /// What Watchtower and its like do.
    #[test]
    fn what_inspect_shows_create_takes(seed in any::<u64>(), minor in 24u16..=55) {
        let container = ContainerInspect::sample(&mut Seed(seed | 1));
        let mut shown = serde_json::to_value(&container).unwrap();
        gates::container_inspect(&mut shown, ApiVersion::new(1, minor));
        let mut body = shown["Config"].clone();
        body["HostConfig"] = shown["HostConfig"].clone();
        body["NetworkingConfig"] = json!({ "EndpointsConfig": {} });
        let request: CreateRequest = serde_json::from_value(body).unwrap();
        prop_assert_eq!(request.config, container.config);
        prop_assert_eq!(request.host_config, container.host_config);
    }

    #[test]
    fn any_text_is_answered(text in ".*") {
        let _ = serde_json::from_str::<CreateRequest>(&text);
    }
}

macro_rules! pairs {
    ($($ty:ident),*) => {
        impl<$($ty: Sample),*> Sample for ($($ty,)*) {
            fn sample(seed: &mut Seed) -> Self {
                ($($ty::sample(seed),)*)
            }
        }
    };
}

pairs!(A, B, C);

fn written<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_str(&value.to_string()).unwrap()
}

#[test]
fn a_container_that_does_not_run_uses_nothing() {
    let stats = ContainerStats {
        name: "/c".to_owned(),
        ..ContainerStats::default()
    };
    assert_eq!(
        serde_json::to_value(&stats).unwrap(),
        json!({
            "name": "/c", "read": ZERO_TIME, "preread": ZERO_TIME, "num_procs": 0,
            "cpu_stats": {
                "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
                "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
            },
            "precpu_stats": {
                "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
                "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
            },
            "memory_stats": {}, "pids_stats": {}, "storage_stats": {},
            "blkio_stats": {
                "io_service_bytes_recursive": null, "io_serviced_recursive": null,
                "io_queue_recursive": null, "io_service_time_recursive": null,
                "io_wait_time_recursive": null, "io_merged_recursive": null,
                "io_time_recursive": null, "sectors_recursive": null
            }
        })
    );
}

#[test]
fn empty_ones_are_written_as_dockerd_does() {
    assert_eq!(
        written(&ContainerConfig::default()),
        r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"#
            .to_owned()
            + r#""AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"#
            + r#""Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"Labels":{}}"#
    );
    let host = serde_json::to_value(HostConfig::default()).unwrap();
    for (name, empty) in [
        ("Binds", Value::Null),
        ("PortBindings", json!({})),
        ("Dns", json!([])),
        ("CapAdd", Value::Null),
        ("Devices", json!([])),
        ("DeviceRequests", Value::Null),
        ("Ulimits", json!([])),
        ("MemorySwappiness", Value::Null),
        ("PidsLimit", Value::Null),
        ("MaskedPaths", Value::Null),
        ("ConsoleSize", json!([0, 0])),
        ("LogConfig", json!({ "Type": "", "Config": {} })),
    ] {
        assert_eq!(host.get(name), Some(&empty), "{name}");
    }
    for name in [
        "Mounts",
        "Init",
        "Sysctls",
        "Tmpfs",
        "Annotations",
        "Runtime",
        "KernelMemory",
    ] {
        assert_eq!(host.get(name), None, "{name}");
    }
    assert_eq!(
        written(&State { status: "created".to_owned(), ..State::default() }),
        r#"{"Status":"created","Running":false,"Paused":false,"Restarting":false,"OOMKilled":false,"#
            .to_owned()
            + r#""Dead":false,"Pid":0,"ExitCode":0,"Error":"","StartedAt":"0001-01-01T00:00:00Z","#
            + r#""FinishedAt":"0001-01-01T00:00:00Z"}"#
    );
    assert_eq!(
        written(&EndpointSettings::default()),
        r#"{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"#
            .to_owned()
            + r#""GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","#
            + r#""IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"#
            + r#""DNSNames":null}"#
    );
    assert_eq!(
        written(&CreateResponse::default()),
        r#"{"Id":"","Warnings":[]}"#
    );
    assert_eq!(written(&WaitResponse::default()), r#"{"StatusCode":0}"#);
}

#[test]
fn null_is_nothing_anywhere() {
    let nothing: CreateRequest = read(json!({
        "Hostname": null, "Env": null, "Cmd": null, "Labels": null, "Volumes": null, "Tty": null,
        "Healthcheck": null, "StopTimeout": null, "ExposedPorts": null,
        "HostConfig": {
            "Memory": null, "Binds": null, "LogConfig": null, "RestartPolicy": null,
            "ConsoleSize": null, "PortBindings": null, "Mounts": null, "MaskedPaths": null,
        },
        "NetworkingConfig": { "EndpointsConfig": null },
    }));
    assert_eq!(nothing, CreateRequest::default());
    assert_eq!(
        read::<CreateRequest>(json!({ "HostConfig": null, "NetworkingConfig": null })),
        CreateRequest::default()
    );
    let inside: CreateRequest = read(json!({
        "Env": ["A=1", null], "Labels": { "a": null }, "ExposedPorts": { "80/tcp": null },
        "NetworkingConfig": { "EndpointsConfig": { "mine": null } },
    }));
    assert_eq!(inside.config.env, ["A=1", ""]);
    assert_eq!(inside.config.labels["a"], "");
    assert_eq!(
        inside.config.exposed_ports,
        BTreeSet::from(["80/tcp".to_owned()])
    );
    assert_eq!(
        inside.networking_config.endpoints_config["mine"],
        EndpointSettings::default()
    );
}

#[test]
fn names_are_found_in_any_case_and_unknown_ones_passed_over() {
    let request: CreateRequest = read(json!({
        "image": "busybox", "CMD": ["sh"], "Nonsense": { "a": [1] },
        "hostconfig": { "networkmode": "host", "CPUShares": 5, "NoSuchThing": null },
    }));
    assert_eq!(request.config.image, "busybox");
    assert_eq!(request.config.cmd.unwrap(), ["sh"]);
    assert_eq!(request.host_config.network_mode, "host");
    assert_eq!(request.host_config.cpu_shares, 5);
}

#[test]
fn a_command_may_be_a_lone_string() {
    let config: ContainerConfig = read(json!({ "Cmd": "ls", "Entrypoint": [] }));
    assert_eq!(config.cmd.unwrap(), ["ls"]);
    assert_eq!(config.entrypoint, Some(Vec::new()));
}

#[test]
fn wrong_types_are_refused() {
    for bad in [
        json!([]),
        json!("x"),
        json!({ "Tty": 1 }),
        json!({ "HostConfig": { "Memory": "1g" } }),
        json!({ "HostConfig": { "Memory": 1.5 } }),
        json!({ "Env": "A=1" }),
        json!({ "HostConfig": { "BlkioWeight": 65536 } }),
    ] {
        assert!(
            serde_json::from_str::<CreateRequest>(&bad.to_string()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn ports_that_are_not_published_are_null() {
    let settings = NetworkSettings {
        ports: [("80/tcp".to_owned(), Vec::new())].into(),
        ..NetworkSettings::default()
    };
    let value = serde_json::to_value(&settings).unwrap();
    assert_eq!(value["Ports"], json!({ "80/tcp": null }));
    assert_eq!(read::<NetworkSettings>(value), settings);
}

#[test]
fn an_image_is_read_in_the_ocis_words() {
    let config: ImageConfig = read(json!({
        "Env": ["PATH=/bin"], "Cmd": ["sh"], "WorkingDir": "/", "ArgsEscaped": true,
        "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} }, "OnBuild": null,
        "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000 },
    }));
    assert_eq!(config.healthcheck.as_ref().unwrap().interval, 1_000_000_000);
    assert_eq!(
        written(&config),
        r#"{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Cmd":["sh"],"Volumes":{"/data":{}},"#
            .to_owned()
            + r#""WorkingDir":"/","ArgsEscaped":true,"#
            + r#""Healthcheck":{"Test":["CMD","true"],"Interval":1000000000}}"#
    );
}

#[test]
fn times_have_gos_form() {
    let time = |text: &str| rfc3339_nano(text.parse().unwrap());
    assert_eq!(time("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05Z");
    assert_eq!(time("2026-01-02T03:04:05.120Z"), "2026-01-02T03:04:05.12Z");
    assert_eq!(
        time("2026-01-02T03:04:05.000000001Z"),
        "2026-01-02T03:04:05.000000001Z"
    );
    assert_eq!(parse_time(ZERO_TIME), None);
    assert_eq!(parse_time(""), None);
    assert!(parse_time("2026-01-02T03:04:05.12+01:00").is_some());
}
