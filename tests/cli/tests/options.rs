//! Options of `docker run` that shape the container: each is checked from the inside, or in the
//! container's cgroup.

use testkit::{Output, shared, unique};

/// `docker run --rm OPTIONS busybox sh -c SCRIPT`.
fn sh(options: &[&str], script: &str) -> Output {
    let cli = shared().cli(["run", "--rm"]).args(options);
    cli.args(["busybox", "sh", "-c", script]).run()
}

/// The daemon's own: what `ALL` means.
fn own_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    u64::from_str_radix(line.expect("it is there").trim(), 16).expect("it is there")
}

/// What [`sh`] prints, its lines joined by blanks.
fn words(options: &[&str], script: &str) -> String {
    let output = sh(options, script).ok();
    output
        .out()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn users_and_groups() {
    let id = "id -u; id -g; id -G";
    assert_eq!(words(&["-u", "1234:56"], id), "1234 56 56");
    assert_eq!(words(&["-u", "1234"], id), "1234 0 0");
    assert_eq!(words(&["-u", "nobody"], id), "65534 65534 65534");
    // Groups that /etc/group lists the user in come along.
    assert_eq!(words(&["-u", "operator"], id), "37 37 37 29");
    assert_eq!(words(&["-u", "www-data:staff"], "id -u; id -g"), "33 50");
    let more = ["-u", "5", "--group-add", "777", "--group-add", "staff"];
    let groups = words(&more, "id -G");
    assert!(groups.contains("777") && groups.contains("50"), "{groups}");
    sh(&["-u", "root:nosuchgroup"], "true")
        .exits(125)
        .err_has("unable to find group nosuchgroup: no matching entries in group file");
}

#[test]
fn host_and_domain_name() {
    let options = ["-h", "box", "--domainname", "example.org"];
    let names = words(&options, "hostname; cat /proc/sys/kernel/domainname");
    assert_eq!(names, "box example.org");
    let hosts = words(&options, "grep box /etc/hosts");
    assert!(hosts.ends_with("box.example.org box"), "{hosts}");
    assert_eq!(words(&options, "cat /etc/hostname"), "box");
    let own = sh(&[], "hostname").ok();
    assert_eq!(own.out().len(), 12, "{own}");
}

#[test]
fn hosts_file() {
    let options = [
        "--add-host",
        "foo:192.0.2.7",
        "--add-host",
        "gw:host-gateway",
    ];
    let script = "cat /etc/hosts; ip -o -4 addr show eth0 | sed 's/.*inet /own /;s,/.*,,'";
    let output = sh(&options, script).ok();
    let lines: Vec<Vec<_>> = output
        .stdout
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let address_of = |name: &str| {
        let mut found = lines
            .iter()
            .filter(|words| words.iter().skip(1).any(|word| *word == name));
        found
            .next()
            .unwrap_or_else(|| panic!("no {name}: {output}"))[0]
            .to_owned()
    };
    assert_eq!(address_of("localhost"), "127.0.0.1");
    assert_eq!(address_of("ip6-localhost"), "::1");
    assert_eq!(address_of("foo"), "192.0.2.7");
    assert_eq!(address_of("gw"), "172.17.0.1");
    let own = lines.iter().find(|words| words[0] == "own").unwrap()[1];
    let last = &lines[lines.len() - 2];
    assert!(last[0] == own && last[1].len() == 12, "{output}");
    // It is the container's own file, and writable.
    assert_eq!(
        words(
            &[],
            "echo 192.0.2.9 mine >>/etc/hosts; grep -c mine /etc/hosts"
        ),
        "1"
    );
    sh(&["--add-host", "nocolon"], "true").exits(125);
}

#[test]
fn resolv_conf() {
    let options = [
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "s.example",
        "--dns-option",
        "ndots:3",
    ];
    let text = sh(&options, "cat /etc/resolv.conf").ok();
    for line in [
        "nameserver 192.0.2.53",
        "search s.example",
        "options ndots:3",
    ] {
        assert!(
            text.stdout.lines().any(|l| l == line),
            "no [{line}]: {text}"
        );
    }
    // Without options: the host's servers, but for those on loopback.
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let text = sh(&[], "cat /etc/resolv.conf").ok();
    let servers = host.lines().filter(|line| line.starts_with("nameserver "));
    for line in servers.filter(|line| !line.contains(" 127.") && !line.contains("::1")) {
        assert!(text.stdout.contains(line), "no [{line}]: {text}");
    }
    assert!(!text.stdout.contains("nameserver 127."), "{text}");
    sh(&["--dns", "nonsense"], "true").exits(125);
}

#[test]
fn read_only() {
    let script = "touch /run/a && touch /dev/shm/b && touch /c";
    sh(&["--read-only", "--tmpfs", "/run"], script)
        .exits(1)
        .err_has("/c: Read-only file system");
    sh(&[], "touch /c").ok();
}

#[test]
fn capabilities() {
    let effective = "grep CapEff /proc/self/status | cut -f2";
    let of = |options: &[&str]| u64::from_str_radix(&words(options, effective), 16).unwrap();
    const DEFAULT: u64 = 0xa804_25fb;
    const CHOWN: u64 = 1;
    const NET_ADMIN: u64 = 1 << 12;
    assert_eq!(of(&[]), DEFAULT);
    let changed = of(&["--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN"]);
    assert_eq!(changed, (DEFAULT | NET_ADMIN) & !CHOWN);
    assert_eq!(of(&["--cap-drop", "ALL"]), 0);
    assert_eq!(of(&["--cap-drop", "all", "--cap-add", "cap_chown"]), CHOWN);
    // 20.10 grants what the kernel knows, even where the daemon itself lacks some of it.
    if !shared().is_old_dockerd() {
        assert_eq!(of(&["--cap-add", "ALL"]), own_capabilities());
    }
    assert_eq!(of(&["-u", "1000"]), 0);
    sh(&["--cap-add", "NOSUCH"], "true")
        .exits(125)
        .err_has("NOSUCH");
}

#[test]
fn what_a_plain_container_may_not() {
    let script = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status | cut -f2; \
        mount -t tmpfs none /tmp 2>/dev/null || echo nomount; \
        echo x 2>/dev/null >/proc/sys/vm/swappiness || echo nosysctl; \
        cat /proc/kcore 2>/dev/null | head -c 9 | wc -c; cat /proc/timer_list 2>/dev/null | wc -c; \
        grep -c ' /sys sysfs ro' /proc/mounts; test -e /dev/kmsg || echo nokmsg";
    let wanted = "0 2 nomount nosysctl 0 0 1 nokmsg";
    // A masked file is empty, whether the kernel has it or not.
    assert_eq!(words(&[], script), wanted);
    let dev = words(&[], "ls /dev");
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "shm", "mqueue", "fd",
        "stdin", "stdout", "stderr",
    ] {
        assert!(
            dev.split(' ').any(|have| have == name),
            "no /dev/{name}: {dev}"
        );
    }
    let made = "mknod /dev/km c 1 11 && (: </dev/km) 2>/dev/null || echo denied";
    assert_eq!(words(&[], made), "denied");
}

#[test]
fn privileged() {
    let full = (1 << 36) - 1;
    if shared().is_old_dockerd() && own_capabilities() & full != full {
        eprintln!("not tested: 20.10 cannot run privileged containers without all capabilities");
        return;
    }
    let script = "grep Seccomp: /proc/self/status | cut -f2; mount -t tmpfs none /tmp && echo mounted; \
        grep -c ' /sys sysfs rw' /proc/mounts; test -e /dev/kmsg && echo kmsg; \
        test -w /proc/sys/vm/swappiness && grep -q ' /proc proc rw' /proc/mounts && echo proc";
    assert_eq!(words(&["--privileged"], script), "0 mounted 1 kmsg proc");
    let effective = words(&["--privileged"], "grep CapEff /proc/self/status | cut -f2");
    assert_eq!(
        u64::from_str_radix(&effective, 16).unwrap(),
        own_capabilities()
    );
}

#[test]
fn security_options() {
    let status = |word: &str| format!("grep {word}: /proc/self/status | cut -f2");
    assert_eq!(
        words(
            &["--security-opt", "no-new-privileges"],
            &status("NoNewPrivs")
        ),
        "1"
    );
    assert_eq!(
        words(
            &["--security-opt", "seccomp=unconfined"],
            &status("Seccomp")
        ),
        "0"
    );
    let profile = shared().write(
        "profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    let option = format!("seccomp={}", profile.display());
    sh(&["--security-opt", &option], "mkdir /x")
        .exits(1)
        .err_has("Operation not permitted");
    sh(&["--security-opt", &option], "touch /y").ok();
    sh(&["--security-opt", "nonsense=1"], "true").exits(125);
}

#[test]
fn ulimits_and_sysctls() {
    let options = ["--ulimit", "nofile=1024:2048", "--ulimit", "core=0"];
    assert_eq!(
        words(&options, "ulimit -Sn; ulimit -Hn; ulimit -c"),
        "1024 2048 0"
    );
    let options = [
        "--sysctl",
        "net.core.somaxconn=300",
        "--sysctl",
        "kernel.msgmax=4096",
    ];
    let script = "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax";
    assert_eq!(words(&options, script), "300 4096");
    // The host's own are not the container's to set.
    let output = sh(&["--sysctl", "vm.swappiness=1"], "true");
    assert!(
        output.code != 0 && output.stderr.contains("vm.swappiness"),
        "{output}"
    );
    let host = ["--network", "host", "--sysctl", "net.core.somaxconn=300"];
    let output = sh(&host, "true");
    assert!(
        output.code != 0 && output.stderr.contains("net.core.somaxconn"),
        "{output}"
    );
}

#[test]
fn devices() {
    let script = "head -c 3 /dev/xz | wc -c; echo x >/dev/xz && echo written";
    assert_eq!(
        words(&["--device", "/dev/zero:/dev/xz"], script),
        "3 written"
    );
    let read_only = ["--device", "/dev/kmsg:/dev/km:r"];
    assert_eq!(
        words(&read_only, "(echo x >/dev/km) 2>/dev/null || echo denied"),
        "denied"
    );
    sh(&["--device", "/dev/nosuch"], "true")
        .exits(127)
        .err_has("error gathering device information while adding custom device \"/dev/nosuch\"");
    sh(&["--device", "/dev/zero:/dev/x:q"], "true").exits(125);
}

#[test]
fn tmpfs_and_shm() {
    let script = "grep ' /t ' /proc/mounts; stat -c %a /t";
    let mount = words(&["--tmpfs", "/t:size=2m,mode=1770"], script);
    assert!(
        mount.starts_with("tmpfs /t tmpfs rw,nosuid,nodev,noexec"),
        "{mount}"
    );
    assert!(
        mount.contains("size=2048k") && mount.ends_with("1770"),
        "{mount}"
    );
    let long = [
        "--mount",
        "type=tmpfs,target=/t,tmpfs-size=1048576,tmpfs-mode=700",
    ];
    let mount = words(&long, script);
    assert!(
        mount.contains("size=1024k") && mount.ends_with("700"),
        "{mount}"
    );
    let size = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(words(&[], size), "65536");
    assert_eq!(words(&["--shm-size", "8m"], size), "8192");
    sh(&["--tmpfs", "/t:nonsense"], "true").exits(125);
}

#[test]
fn init_reaps() {
    // PID 1 is not ours, and what we leave behind does not stay as a zombie.
    let script = "test $$ != 1 && echo second; sh -c 'sleep 0.05 & echo $! >/left'; \
        while [ -e /proc/$(cat /left) ]; do usleep 20000; done; echo reaped";
    assert_eq!(words(&["--init"], script), "second reaped");
    sh(&["--init"], "exit 5").exits(5);
}

#[test]
fn limits_stand_in_the_cgroup() {
    let name = unique("limits");
    let options = [
        "-m",
        "64m",
        "--memory-swap",
        "128m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "50",
        "--oom-score-adj",
        "100",
    ];
    let run = shared().cli(["run", "-d", "--name", &name]).args(options);
    run.args(["busybox", "sleep", "1000"]).run().ok();
    let value = |controller: &str, v1: &str, v2: &str| shared().cgroup(&name, controller, v1, v2);
    let mib = |count: u64| (count << 20).to_string();
    assert_eq!(
        value("memory", "memory.limit_in_bytes", "memory.max"),
        mib(64)
    );
    let soft = value("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(soft, mib(32));
    assert_eq!(value("pids", "pids.max", "pids.max"), "50");
    assert_eq!(value("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    let cpu = |v1: &str, v2: &str| value("cpu", v1, v2);
    if testkit::has_unified_cgroups() {
        assert_eq!(cpu("", "cpu.max"), "50000 100000");
        assert_eq!(value("memory", "", "memory.swap.max"), mib(64));
    } else {
        assert_eq!(cpu("cpu.cfs_quota_us", ""), "50000");
        assert_eq!(cpu("cpu.cfs_period_us", ""), "100000");
        assert_eq!(cpu("cpu.shares", ""), "512");
    }
    let pid = shared().format(&name, "{{.State.Pid}}");
    let score = shared().sandbox().proc().join(pid).join("oom_score_adj");
    assert_eq!(std::fs::read_to_string(score).unwrap().trim(), "100");
    shared().remove(&[&name]);
}

#[test]
fn limits_hold() {
    let forks = "for i in 1 2 3 4 5 6 7 8; do sleep 20 & done; wait";
    let output = sh(&["--pids-limit", "4"], forks);
    assert!(output.stderr.contains("can't fork"), "{output}");
    let name = unique("oom");
    let run = shared().cli(["run", "--name", &name, "-m", "8m", "--memory-swap", "8m"]);
    let eat = [
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64M",
        "count=1",
    ];
    run.args(eat).run().exits(137);
    // In 20.10 the kernel's word and the exit race.
    if !shared().is_old_dockerd() {
        assert_eq!(shared().format(&name, "{{.State.OOMKilled}}"), "true");
    }
    shared().remove(&[&name]);
    sh(&["-m", "1m"], "true")
        .exits(125)
        .err_has("Minimum memory limit allowed is 6MB");
    sh(&["--cpus", "1000"], "true")
        .exits(125)
        .err_has("ange of CPUs is from 0.01 to ");
    sh(&["--cpuset-cpus", "77"], "true")
        .exits(125)
        .err_has("Requested CPUs are not available");
}

#[test]
fn stdin_open_without_a_client_keeps_reading() {
    let name = unique("open");
    shared().run_d(&name, ["-i", "busybox", "cat"]);
    let wanted = "{{.Config.OpenStdin}} {{.Config.StdinOnce}} {{.State.Status}}";
    assert_eq!(shared().format(&name, wanted), "true false running");
    shared().remove(&[&name]);
}
