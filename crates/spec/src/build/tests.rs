//! Golden tests: the specification of one container per option.
//!
//! `UPDATE_GOLDEN=1 cargo test -p berth-spec` writes the files anew; read the difference.

use std::path::{Path, PathBuf};

use berth_wire::{ContainerConfig, DeviceMapping, HostConfig, ThrottleDevice, Ulimit};
use serde_json::Value;

use super::*;
use crate::devices::{DeviceKind, DeviceNode, Devices};
use crate::facts::CgroupVersion;
use crate::facts::tests::able;
use crate::inputs::BindMount;
use crate::passwd::User;
use crate::validate::{Defaults, fill_defaults, validate_host_config};

mod exec;
mod mounts;
mod security;

const ID: &str = "4f66ad9a0b2e8d3b1c5e7f90a1b2c3d4e5f60718293a4b5c6d7e8f9001122334";

/// A container and everything around it, for a test to change.
struct Case {
    config: ContainerConfig,
    host: HostConfig,
    facts: HostFacts,
    user: User,
    devices: Devices,
    mounts: Vec<BindMount>,
    netns: Option<PathBuf>,
    init: Option<PathBuf>,
    systemd: bool,
    domainname: &'static str,
}

impl Case {
    fn new() -> Case {
        Case {
            config: ContainerConfig {
                cmd: Some(strings(&["sh", "-c", "echo hi"])),
                env: strings(&["LANG=C"]),
                ..ContainerConfig::default()
            },
            host: HostConfig {
                network_mode: "bridge".to_owned(),
                ..HostConfig::default()
            },
            facts: able(CgroupVersion::V1),
            user: User {
                uid: 0,
                gid: 0,
                additional_gids: vec![0, 10],
                home: "/root".to_owned(),
            },
            devices: Devices::default(),
            mounts: ["hosts", "hostname", "resolv.conf"]
                .map(engine_file)
                .to_vec(),
            netns: Some(PathBuf::from("/run/berth/netns/4f66ad9a0b2e")),
            init: Some(PathBuf::from("/usr/bin/docker-init")),
            systemd: false,
            domainname: "",
        }
    }

    fn host(change: impl FnOnce(&mut HostConfig)) -> Case {
        let mut case = Case::new();
        change(&mut case.host);
        case
    }

    fn build(&self) -> Result<Spec> {
        let mut host = self.host.clone();
        let defaults = Defaults {
            shm_size: 0,
            ipc_mode: "",
            cgroupns_mode: "",
            systemd_cgroup: self.systemd,
        };
        fill_defaults(&mut host, &self.facts, &defaults);
        validate_host_config(&mut host, &self.config, &self.facts)?;
        build(&self.inputs(&host))
    }

    fn inputs<'a>(&'a self, host: &'a HostConfig) -> Inputs<'a> {
        Inputs {
            id: ID,
            config: &self.config,
            host,
            hostname: "4f66ad9a0b2e",
            domainname: self.domainname,
            user: &self.user,
            netns: self.netns.as_deref(),
            pidns: Some(Path::new("/proc/42/ns/pid")),
            ipcns: Some(Path::new("/proc/42/ns/ipc")),
            shm: Some(Path::new("/var/lib/berth/containers/x/shm")),
            mounts: &self.mounts,
            devices: &self.devices,
            facts: &self.facts,
            init_default: false,
            init_binary: self.init.as_deref(),
            cgroup_parent: "",
            systemd_cgroup: self.systemd,
            no_new_privileges: false,
            default_ulimits: &[],
            seccomp_default: None,
            rootfs_path: "rootfs",
        }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&encode(&self.build().unwrap()).unwrap()).unwrap()
    }

    fn error(&self) -> String {
        self.build().unwrap_err().to_string()
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn engine_file(name: &str) -> BindMount {
    BindMount {
        source: format!("/var/lib/berth/containers/x/{name}").into(),
        destination: format!("/etc/{name}").into(),
        ..BindMount::default()
    }
}

/// Compares with `golden/NAME.json`. Of the seccomp filter only the number of rules is kept (its
/// own tests look inside), except in the first file.
fn golden(name: &str, case: &Case) {
    let mut value = case.json();
    if name != "default"
        && let Some(filter) = value.pointer_mut("/linux/seccomp/syscalls")
    {
        *filter = Value::from(filter.as_array().map_or(0, Vec::len));
    }
    let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == text,
        "{name}: the specification changed; it is now:\n{text}"
    );
}

#[test]
fn default_container() {
    golden("default", &Case::new());
}

#[test]
fn cgroup_v2_and_systemd() {
    let mut case = Case::new();
    case.facts = able(CgroupVersion::V2);
    case.systemd = true;
    golden("cgroup-v2-systemd", &case);
    case.systemd = false;
    assert_eq!(case.json()["linux"]["cgroupsPath"], format!("/docker/{ID}"));
}

#[test]
fn privileged() {
    let mut case = Case::host(|host| host.privileged = true);
    case.devices.nodes.push(DeviceNode {
        path: "/dev/fuse".into(),
        kind: DeviceKind::Character,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: "rwm".to_owned(),
    });
    golden("privileged", &case);
}

#[test]
fn capabilities_are_added_and_dropped() {
    golden(
        "capabilities",
        &Case::host(|host| {
            host.cap_add = strings(&["SYS_ADMIN", "cap_net_admin"]);
            host.cap_drop = strings(&["MKNOD"]);
        }),
    );
}

#[test]
fn limits() {
    let mut case = Case::host(|host| {
        host.memory = 64 << 20;
        host.memory_reservation = 32 << 20;
        host.memory_swappiness = Some(10);
        host.nano_cpus = 1_500_000_000;
        host.cpu_shares = 512;
        host.cpuset_cpus = "0-1".to_owned();
        host.pids_limit = Some(100);
        host.blkio_weight = 300;
        host.blkio_device_read_bps = vec![ThrottleDevice {
            path: "/dev/vda".to_owned(),
            rate: 1 << 20,
        }];
        host.oom_score_adj = 500;
    });
    case.devices.block.insert("/dev/vda".to_owned(), (254, 0));
    golden("limits", &case);
}

#[test]
fn unlimited_swap_and_pids() {
    let value = Case::host(|host| {
        host.memory = 64 << 20;
        host.memory_swap = -1;
        host.pids_limit = Some(0);
        host.cpu_quota = 50_000;
    })
    .json();
    assert_eq!(value.pointer("/linux/resources/memory/swap"), None);
    assert_eq!(
        value.pointer("/linux/resources/pids/limit"),
        Some(&Value::from(-1))
    );
    assert_eq!(
        value.pointer("/linux/resources/cpu/quota"),
        Some(&Value::from(50_000))
    );
}

#[test]
fn devices_and_rules() {
    let mut case = Case::host(|host| {
        host.devices = vec![DeviceMapping {
            path_on_host: "/dev/kvm".to_owned(),
            path_in_container: "/dev/kvm".to_owned(),
            cgroup_permissions: "rw".to_owned(),
        }];
        host.device_cgroup_rules = strings(&["c 42:* rmw", "b *:7 r"]);
    });
    case.devices.nodes.push(DeviceNode {
        path: "/dev/kvm".into(),
        kind: DeviceKind::Character,
        major: 10,
        minor: 232,
        mode: 0o660,
        uid: 0,
        gid: 107,
        access: "rw".to_owned(),
    });
    golden("devices", &case);
}

#[test]
fn ulimits_sysctls_and_annotations() {
    let mut case = Case::host(|host| {
        host.ulimits = vec![Ulimit {
            name: "nofile".to_owned(),
            soft: 1024,
            hard: -1,
        }];
        host.sysctls
            .insert("net.core.somaxconn".to_owned(), "1024".to_owned());
        host.sysctls.insert(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "1024".to_owned(),
        );
        host.sysctls
            .insert("kernel.shmmax".to_owned(), "65536".to_owned());
        host.annotations.insert("a".to_owned(), "b".to_owned());
    });
    case.domainname = "example.org";
    golden("ulimits-sysctls", &case);
}

#[test]
fn host_namespaces() {
    let mut case = Case::host(|host| {
        host.network_mode = "host".to_owned();
        host.pid_mode = "host".to_owned();
        host.ipc_mode = "host".to_owned();
        host.uts_mode = "host".to_owned();
        host.cgroupns_mode = "host".to_owned();
        host.init = Some(true);
    });
    case.netns = None;
    golden("host-namespaces", &case);
}

#[test]
fn namespaces_of_another_container() {
    let case = Case::host(|host| {
        host.network_mode = "container:x".to_owned();
        host.pid_mode = "container:x".to_owned();
        host.ipc_mode = "container:x".to_owned();
    });
    golden("joined-namespaces", &case);
}

#[test]
fn init() {
    let mut case = Case::host(|host| host.init = Some(true));
    golden("init", &case);
    case.init = None;
    assert_eq!(
        case.error(),
        "exec: \"docker-init\": executable file not found in $PATH"
    );
}

#[test]
fn terminal_user_and_directory() {
    let mut case = Case::host(|host| {
        host.console_size = [24, 80];
        host.security_opt = strings(&["no-new-privileges", "seccomp=unconfined"]);
    });
    case.config.tty = true;
    case.config.working_dir = "/srv".to_owned();
    case.config.entrypoint = Some(strings(&["/entry", "--flag"]));
    case.user = User {
        uid: 1000,
        gid: 7,
        additional_gids: vec![7],
        home: "/".to_owned(),
    };
    golden("terminal", &case);
}

#[test]
fn the_same_bytes_each_time() {
    let mut case = Case::host(|host| {
        host.privileged = true;
        for i in 0..20 {
            host.sysctls.insert(format!("net.x{i}"), "1".to_owned());
            host.annotations.insert(format!("a{i}"), "1".to_owned());
        }
    });
    case.netns = Some("/run/netns".into());
    let first = encode(&case.build().unwrap()).unwrap();
    for _ in 0..10 {
        assert_eq!(encode(&case.build().unwrap()).unwrap(), first);
    }
}

#[test]
fn the_hosts_network_is_never_a_mistake() {
    let mut case = Case::new();
    case.netns = None;
    assert_eq!(
        case.error(),
        "no network namespace was made for network mode \"bridge\""
    );
}
