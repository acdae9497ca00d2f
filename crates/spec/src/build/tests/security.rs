//! What keeps a container in.

use super::*;

#[test]
fn sysctls_that_would_reach_the_host() {
    let with = |name: &str, change: fn(&mut HostConfig)| {
        let mut case = Case::host(|host| {
            host.sysctls.insert(name.to_owned(), "1".to_owned());
            change(host);
        });
        if case.host.network_mode == "host" {
            case.netns = None;
        }
        case.error()
    };
    assert_eq!(
        with("net.ipv4.ip_forward", |host| host.network_mode =
            "host".to_owned()),
        "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace"
    );
    assert_eq!(
        with("vm.swappiness", |_| ()),
        "sysctl \"vm.swappiness\" is not in a separate kernel namespace"
    );
    assert_eq!(
        with("kernel.sem", |host| host.ipc_mode = "host".to_owned()),
        "sysctl \"kernel.sem\" is not allowed in the hosts ipc namespace"
    );
    with("net/../kernel/core_pattern", |_| ());
    with("net..x", |_| ());
}

#[test]
fn cgroup_parents() {
    let path = |parent: &str| {
        let case = Case::host(|host| host.cgroup_parent = parent.to_owned());
        case.json()["linux"]["cgroupsPath"]
            .as_str()
            .unwrap()
            .replace(ID, "ID")
    };
    assert_eq!(path(""), "/docker/ID");
    assert_eq!(path("/a/b/"), "/a/b/ID");
    assert_eq!(path("a"), "a/ID");
    assert_eq!(path("/../../x"), "/x/ID");
    assert_eq!(path("../../x"), "x/ID");
}

#[test]
fn security_options() {
    let mut case = Case::host(|host| host.security_opt = strings(&["writable-cgroups"]));
    let cgroup = |case: &Case| {
        let value = case.json();
        let mounts = value["mounts"].as_array().unwrap().clone();
        mounts
            .into_iter()
            .find(|mount| mount["type"] == "cgroup")
            .unwrap()["options"]
            .clone()
    };
    assert_eq!(
        cgroup(&case),
        serde_json::json!(["nosuid", "noexec", "nodev"])
    );
    case.host.security_opt = strings(&["x"]);
    assert_eq!(case.error(), "invalid --security-opt 1: \"x\"");
    case.host.security_opt.clear();
    case.facts.apparmor = true;
    assert_eq!(case.json()["process"].get("apparmorProfile"), None);
    case.facts.apparmor_default = true;
    assert_eq!(case.json()["process"]["apparmorProfile"], "docker-default");
    case.facts.seccomp = false;
    assert_eq!(case.json()["linux"].get("seccomp"), None);
    case.host.security_opt = strings(&["seccomp={}"]);
    assert!(
        case.error()
            .starts_with("seccomp is not enabled in your kernel")
    );
}
