use oci_spec::runtime::LinuxSyscall;

use super::*;
use crate::capabilities;

fn host(granted: CapSet) -> Host<'static> {
    Host {
        architecture: "amd64",
        kernel: (6, 1),
        granted,
    }
}

fn calls(filter: &LinuxSeccomp) -> &[LinuxSyscall] {
    filter.syscalls().as_deref().unwrap_or_default()
}

fn allows(filter: &LinuxSeccomp, name: &str) -> bool {
    calls(filter).iter().any(|call| {
        call.action() == LinuxSeccompAction::ScmpActAllow
            && call.args().is_none()
            && call.names().iter().any(|n| n == name)
    })
}

#[test]
fn the_default_denies_what_it_must() {
    let filter = default(host(capabilities::default_set())).unwrap();
    for name in [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "bpf",
        "reboot",
        "kexec_load",
        "init_module",
        "add_key",
        "keyctl",
        "io_uring_setup",
        "userfaultfd",
        "perf_event_open",
        "clone",
        "clone3",
        "open_by_handle_at",
        "iopl",
        "swapon",
        "socket",
        "personality",
        "pivot_root",
    ] {
        assert!(!allows(&filter, name), "{name}");
    }
    for name in [
        "read",
        "execve",
        "openat2",
        "chroot",
        "ptrace",
        "arch_prctl",
        "modify_ldt",
    ] {
        assert!(allows(&filter, name), "{name}");
    }
    let clone3 = calls(&filter)
        .iter()
        .find(|c| c.names() == &["clone3"])
        .unwrap();
    assert_eq!(clone3.errno_ret(), Some(38));
}

#[test]
fn capabilities_open_their_calls() {
    let all = default(host(CapSet::KNOWN)).unwrap();
    for name in [
        "mount",
        "clone",
        "clone3",
        "bpf",
        "perf_event_open",
        "reboot",
        "syslog",
    ] {
        assert!(allows(&all, name), "{name}");
    }
    assert!(!allows(&all, "io_uring_setup"));
    assert!(
        !calls(&all)
            .iter()
            .any(|c| c.action() == LinuxSeccompAction::ScmpActErrno)
    );
}

#[test]
fn vsock_and_alg_sockets_stay_closed() {
    let filter = default(host(CapSet::KNOWN)).unwrap();
    let open = |family: u64| {
        calls(&filter)
            .iter()
            .filter(|c| c.names() == &["socket"])
            .any(|call| {
                let argument = call.args().as_ref().unwrap()[0];
                match argument.op() {
                    LinuxSeccompOperator::ScmpCmpLt => family < argument.value(),
                    LinuxSeccompOperator::ScmpCmpMaskedEq => {
                        Some(family & argument.value()) == argument.value_two()
                    }
                    _ => false,
                }
            })
    };
    for family in 0..1000 {
        let wanted =
            family < policy::SOCKET_FAMILIES_BELOW || policy::SOCKET_FAMILIES.contains(&family);
        assert_eq!(open(family), wanted, "{family}");
    }
    assert!(!open(38) && !open(40) && !open(u64::MAX));
}

#[test]
fn architectures_and_kernels() {
    let arm = Host {
        architecture: "arm64",
        ..host(capabilities::default_set())
    };
    let filter = default(arm).unwrap();
    assert!(allows(&filter, "cacheflush") && !allows(&filter, "arch_prctl"));
    assert_eq!(
        filter.architectures().as_deref().unwrap(),
        [Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    );
    let old = Host {
        kernel: (4, 7),
        ..host(capabilities::default_set())
    };
    assert!(!allows(&default(old).unwrap(), "ptrace"));
    for machine in ["mips64le", "s390x", "riscv64", "loong64", "ppc64le"] {
        default(Host {
            architecture: machine,
            ..arm
        })
        .unwrap();
    }
}

const CUSTOM: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
  {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
  "syscalls":[
   {"names":["read","write"],"action":"SCMP_ACT_ALLOW","args":null},
   {"name":"mkdir","action":"SCMP_ACT_LOG","includes":{"caps":["CAP_SYS_ADMIN"]}},
   {"names":["chmod"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_CHOWN"]}},
   {"names":["chown"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"9.0"}},
   {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"valueTwo":0,"op":"SCMP_CMP_EQ"}],"includes":{"arches":["amd64"],"minKernel":"4.8"}}]}"#;

#[test]
fn a_profile_of_the_clients() {
    let filter = load(CUSTOM, host(capabilities::default_set()))
        .unwrap()
        .unwrap();
    let names: Vec<_> = calls(&filter).iter().flat_map(|c| c.names()).collect();
    assert_eq!(names, ["read", "write", "ptrace"]);
    assert_eq!(filter.architectures().as_ref().unwrap().len(), 2);
    let filter = load(CUSTOM, host(CapSet::from_bits(1 << 21)))
        .unwrap()
        .unwrap();
    let names: Vec<_> = calls(&filter).iter().flat_map(|c| c.names()).collect();
    assert_eq!(names, ["read", "write", "mkdir", "chmod", "ptrace"]);
}

#[test]
fn bad_profiles() {
    let fails = |json| load(json, host(CapSet::KNOWN)).unwrap_err().to_string();
    assert!(fails("{").starts_with("Decoding seccomp profile failed: "));
    assert!(
        fails(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#)
            .starts_with("both 'name' and 'names'")
    );
    assert!(
        fails(r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_ARM"],"archMap":[{"architecture":"SCMP_ARCH_ARM"}]}"#)
            .starts_with("both 'architectures' and 'archMap'")
    );
    assert!(load("{}", host(CapSet::KNOWN)).unwrap().is_none());
}
