use berth_wire::{ContainerConfig, HostConfig};

use super::*;
use crate::facts::CgroupVersion;
use crate::facts::tests::able;

fn config() -> ContainerConfig {
    ContainerConfig {
        cmd: Some(vec!["sh".to_owned()]),
        ..ContainerConfig::default()
    }
}

fn check(facts: &HostFacts, change: impl FnOnce(&mut HostConfig)) -> Result<Vec<String>> {
    let mut host = HostConfig::default();
    change(&mut host);
    validate_host_config(&mut host, &config(), facts)
}

fn refused(change: impl FnOnce(&mut HostConfig)) -> String {
    check(&able(CgroupVersion::V1), change)
        .unwrap_err()
        .to_string()
}

fn refused_config(change: impl FnOnce(&mut ContainerConfig)) -> String {
    let mut config = config();
    change(&mut config);
    let facts = able(CgroupVersion::V1);
    validate_host_config(&mut HostConfig::default(), &config, &facts)
        .unwrap_err()
        .to_string()
}

#[test]
fn nothing_asked_for_is_fine() {
    assert!(check(&able(CgroupVersion::V1), |_| ()).unwrap().is_empty());
    assert!(check(&HostFacts::detect(), |_| ()).is_ok());
}

#[test]
fn memory() {
    assert_eq!(
        refused(|h| h.memory = 1),
        "Minimum memory limit allowed is 6MB"
    );
    assert_eq!(
        refused(|h| (h.memory, h.memory_swap) = (8 << 20, 7 << 20)),
        "Minimum memoryswap limit should be larger than memory limit, see usage"
    );
    assert_eq!(
        refused(|h| h.memory_swap = 8 << 20),
        "You should always set the Memory limit when using Memoryswap limit, see usage"
    );
    assert_eq!(
        refused(|h| h.memory_swappiness = Some(101)),
        "Invalid value: 101, valid memory swappiness range is 0-100"
    );
    assert_eq!(
        refused(|h| h.memory_reservation = 1),
        "Minimum memory reservation allowed is 6MB"
    );
    assert_eq!(
        refused(|h| (h.memory, h.memory_reservation) = (8 << 20, 9 << 20)),
        "Minimum memory limit can not be less than memory reservation limit, see usage"
    );
}

#[test]
fn limits_that_the_host_lacks_are_discarded() {
    let mut facts = able(CgroupVersion::V1);
    facts.cgroup.swap_limit = false;
    let mut host = HostConfig {
        memory: 8 << 20,
        memory_swap: 16 << 20,
        ..HostConfig::default()
    };
    let warnings = validate_host_config(&mut host, &config(), &facts).unwrap();
    assert_eq!(
        warnings,
        [
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. \
          Memory limited without swap."
        ]
    );
    assert_eq!((host.memory, host.memory_swap), (8 << 20, -1));
    facts.cgroup = Default::default();
    let warnings = check(&facts, |h| {
        h.memory = 8 << 20;
        h.pids_limit = Some(5);
        h.cpu_shares = 5;
        h.cpu_quota = 5000;
        h.cpuset_cpus = "0".to_owned();
        h.blkio_weight = 100;
        h.oom_kill_disable = Some(true);
    })
    .unwrap();
    assert_eq!(warnings.len(), 7, "{warnings:?}");
}

#[test]
fn processors() {
    assert_eq!(
        refused(|h| h.nano_cpus = 5_000_000_000),
        "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"
    );
    assert_eq!(
        refused(|h| (h.nano_cpus, h.cpu_quota) = (1, 1000)),
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
    );
    assert_eq!(
        refused(|h| h.cpuset_cpus = "3-9".to_owned()),
        "Requested CPUs are not available - requested 3-9, available: 0-3"
    );
    assert_eq!(
        refused(|h| h.cpuset_mems = "1".to_owned()),
        "Requested memory nodes are not available - requested 1, available: 0"
    );
    assert_eq!(
        refused(|h| h.cpuset_cpus = "a".to_owned()),
        "Invalid value a for cpuset cpus: invalid format: a"
    );
    assert_eq!(refused(|h| h.cpu_shares = -1), "shares: invalid argument");
    assert!(refused(|h| h.cpu_period = 1).starts_with("CPU cfs period can not be less than"));
}

#[test]
fn modes_and_numbers() {
    assert_eq!(
        refused(|h| h.ipc_mode = "x".to_owned()),
        "invalid IPC mode: x"
    );
    assert_eq!(
        refused(|h| h.pid_mode = "container:".to_owned()),
        "invalid PID mode: container:"
    );
    assert_eq!(
        refused(|h| h.uts_mode = "x".to_owned()),
        "invalid UTS mode: x"
    );
    assert_eq!(
        refused(|h| h.cgroupns_mode = "x".to_owned()),
        "invalid cgroup namespace mode: x"
    );
    assert_eq!(
        refused(|h| h.shm_size = -1),
        "SHM size can not be less than 0"
    );
    assert_eq!(
        refused(|h| h.oom_score_adj = 1001),
        "Invalid value 1001, range for oom score adj is [-1000, 1000]"
    );
    assert_eq!(
        refused(|h| h.cap_add = vec!["foo".to_owned()]),
        "invalid CapAdd: unknown capability: \"CAP_FOO\""
    );
    assert_eq!(
        refused(|h| h.security_opt = vec!["x".to_owned()]),
        "invalid --security-opt 1: \"x\""
    );
}

#[test]
fn conflicts() {
    let facts = able(CgroupVersion::V1);
    let both = |host: HostConfig, config: ContainerConfig| {
        validate_host_config(&mut host.clone(), &config, &facts)
            .unwrap_err()
            .to_string()
    };
    let named = ContainerConfig {
        hostname: "h".to_owned(),
        ..config()
    };
    let joined = HostConfig {
        network_mode: "container:x".to_owned(),
        ..HostConfig::default()
    };
    assert_eq!(
        both(joined.clone(), named.clone()),
        "conflicting options: hostname and the network mode"
    );
    assert_eq!(
        both(
            HostConfig {
                uts_mode: "host".to_owned(),
                ..HostConfig::default()
            },
            named
        ),
        "conflicting options: hostname and the UTS mode"
    );
    assert_eq!(
        both(
            HostConfig {
                publish_all_ports: true,
                ..joined
            },
            config()
        ),
        "conflicting options: port publishing and the container type network mode"
    );
}

#[test]
fn restart_policies() {
    let policy = |name: &str, retries| {
        let name = name.to_owned();
        refused(move |h| {
            h.restart_policy.name = name;
            h.restart_policy.maximum_retry_count = retries;
        })
    };
    assert_eq!(
        policy("always", 1),
        "invalid restart policy: maximum retry count can only be used with 'on-failure'"
    );
    assert_eq!(
        policy("on-failure", -1),
        "invalid restart policy: maximum retry count cannot be negative"
    );
    assert!(policy("x", 0).starts_with("invalid restart policy: unknown policy 'x'; use one of"));
    assert_eq!(
        refused(|h| {
            h.auto_remove = true;
            h.restart_policy.name = "always".to_owned();
        }),
        "can't create 'AutoRemove' container with restart policy"
    );
}

#[test]
fn configurations() {
    assert_eq!(refused_config(|c| c.cmd = None), "no command specified");
    assert_eq!(
        refused_config(|c| c.working_dir = "x".to_owned()),
        "the working directory 'x' is invalid, it needs to be an absolute path"
    );
    assert_eq!(
        refused_config(|c| c.env = vec!["=x".to_owned()]),
        "invalid environment variable: =x"
    );
    assert!(
        refused_config(|c| c.hostname = "a b".to_owned()).starts_with("invalid hostname format")
    );
    assert!(refused_config(|c| c.hostname = "h".repeat(65)).starts_with("invalid hostname format"));
}

#[test]
fn defaults_are_filled_in() {
    let defaults = Defaults {
        shm_size: 0,
        ipc_mode: "",
        cgroupns_mode: "",
        systemd_cgroup: false,
    };
    let filled = |mut host: HostConfig, version| {
        fill_defaults(&mut host, &able(version), &defaults);
        host
    };
    let host = filled(
        HostConfig {
            memory: 10,
            cpu_shares: 1,
            ..HostConfig::default()
        },
        CgroupVersion::V1,
    );
    assert_eq!(
        (host.memory_swap, host.cpu_shares, host.shm_size),
        (20, 2, 64 << 20)
    );
    assert_eq!(
        (host.ipc_mode.as_str(), host.cgroupns_mode.as_str()),
        ("private", "host")
    );
    assert_eq!(host.masked_paths.unwrap().len(), 12);
    let privileged = || HostConfig {
        privileged: true,
        ..HostConfig::default()
    };
    let host = filled(privileged(), CgroupVersion::V2);
    assert_eq!(host.cgroupns_mode, "private");
    assert!(host.masked_paths.is_none());
    assert_eq!(
        filled(privileged(), CgroupVersion::V1).cgroupns_mode,
        "host"
    );
}

#[test]
fn cgroup_parents_of_systemd() {
    assert!(validate_cgroup_parent("a.slice", true).is_ok());
    assert!(validate_cgroup_parent("", true).is_ok());
    assert!(validate_cgroup_parent("/x", false).is_ok());
    assert!(validate_cgroup_parent("/x", true).is_err());
}

#[test]
fn what_is_not_done_yet_is_refused() {
    assert_eq!(
        refused(|h| h.cgroup = "container:x".to_owned()),
        "joining another container's cgroup is not supported yet"
    );
    assert_eq!(
        refused(|h| h.userns_mode = "private".to_owned()),
        "invalid user namespace mode: private"
    );
    assert!(
        check(&able(CgroupVersion::V1), |h| h.userns_mode =
            "host".to_owned())
        .is_ok()
    );
}

#[test]
fn kernel_memory_is_discarded() {
    let warnings = check(&able(CgroupVersion::V2), |h| {
        (h.kernel_memory, h.kernel_memory_tcp, h.cpu_count) = (1 << 30, 1 << 20, 2);
    });
    assert_eq!(warnings.unwrap().len(), 3);
}
