//! Hosts made of files: of version 1 as recorded on Linux 6.18, of version 2 as its documentation
//! has it, and hybrid.

use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::hierarchies::{Hierarchies, memberships, of_container};
use crate::{parse, proc};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const GIB: u64 = 1 << 30;

const V1_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
";
const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const HYBRID_MOUNT: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

struct World(TempDir);

impl World {
    fn new(mounts: &str, membership: &str) -> World {
        let world = World(tempfile::tempdir().unwrap());
        world.write("/proc/self/mountinfo", mounts);
        world.write("/proc/7/cgroup", membership);
        world
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.path().join(path.trim_start_matches('/'))).unwrap()
    }

    fn host(&self) -> Host {
        Host::at(self.0.path(), 8 * GIB)
    }

    /// The group of version 1 as this kernel shows it.
    fn write_v1(&self, parent: &str) {
        let file = |controller: &str, name: &str, text: &str| {
            self.write(
                &format!("/sys/fs/cgroup/{controller}{parent}/{ID}/{name}"),
                text,
            );
        };
        let (cpu, memory) = ("cpu,cpuacct", "memory");
        file(cpu, "cpuacct.usage", "29912000\n");
        file(cpu, "cpuacct.usage_percpu", "20000000 9912000 \n");
        file(cpu, "cpuacct.stat", "user 2\nsystem 1\n");
        let stat = "nr_periods 10\nnr_throttled 3\nthrottled_time 123456\nnr_bursts 0\n";
        file(cpu, "cpu.stat", stat);
        file(memory, "memory.usage_in_bytes", "4321280\n");
        file(memory, "memory.max_usage_in_bytes", "6000000\n");
        file(memory, "memory.limit_in_bytes", "9223372036854771712\n");
        file(memory, "memory.failcnt", "2\n");
        let stat = "cache 4096\nrss 100\nswap 5\nhierarchical_memory_limit 64\n\
                    total_cache 8192\ntotal_inactive_file 1024\n";
        file(memory, "memory.stat", stat);
        file("pids", "pids.current", "3\n");
        file("pids", "pids.max", "max\n");
        let io = "254:0 Read 4096\n254:0 Write 0\n254:0 Total 4096\nTotal 4096\n";
        file("blkio", "blkio.throttle.io_service_bytes_recursive", io);
        file(
            "blkio",
            "blkio.throttle.io_serviced",
            "254:0 Read 1\nTotal 1\n",
        );
    }
}

fn v1_membership(parent: &str) -> String {
    [
        "5:cpu,cpuacct",
        "4:memory",
        "3:blkio",
        "2:pids",
        "1:name=systemd",
    ]
    .map(|line| format!("{line}:{parent}/{ID}\n"))
    .concat()
}

#[test]
fn a_process_began_when_the_kernel_says() {
    let world = World::new(V1_MOUNTS, "");
    let stat = "7 (a) b 9) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1 2\n";
    world.write("/proc/7/stat", stat);
    world.write("/proc/stat", "cpu  1 2\nbtime 1700000000\nprocesses 9\n");
    let began = world.host().started(7).unwrap();
    assert_eq!(began.to_string(), "2023-11-14T22:15:23.45Z");
    assert_eq!(world.host().started(8), None);
}

#[test]
fn version_1() {
    let world = World::new(V1_MOUNTS, &v1_membership("/docker"));
    world.write_v1("/docker");
    let host = world.host();
    let group = host.group(7, ID).unwrap();
    let before = host.reads();
    let sample = host.sample(&group);
    assert_eq!(host.reads() - before, 13);
    assert_eq!(sample.cpu.total_usage, 29_912_000);
    assert_eq!(sample.cpu.percpu_usage, [20_000_000, 9_912_000]);
    assert_eq!(
        (sample.cpu.usage_in_usermode, sample.cpu.usage_in_kernelmode),
        (20_000_000, 10_000_000)
    );
    let throttling = &sample.throttling;
    assert_eq!(
        (
            throttling.periods,
            throttling.throttled_periods,
            throttling.throttled_time
        ),
        (10, 3, 123_456)
    );
    let memory = &sample.memory;
    assert_eq!(
        (memory.usage, memory.max_usage, memory.failcnt),
        (4_321_280, 6_000_000, 2)
    );
    assert_eq!(memory.limit, 8 * GIB, "none is the host's memory");
    assert_eq!(memory.stats["total_inactive_file"], 1024);
    assert_eq!(memory.stats["hierarchical_memory_limit"], 64);
    assert_eq!(memory.stats["total_pgfault"], 0, "Docker shows all");
    assert_eq!((memory.stats.len(), memory.stats.get("swap")), (32, None));
    assert_eq!((sample.pids.current, sample.pids.limit), (3, 0));
    let bytes = sample.blkio.io_service_bytes_recursive.unwrap();
    let told: Vec<_> = bytes
        .iter()
        .map(|entry| (entry.op.as_str(), entry.value))
        .collect();
    assert_eq!(told, [("Read", 4096), ("Write", 0), ("Total", 4096)]);
    assert_eq!(sample.blkio.io_serviced_recursive.unwrap().len(), 1);
    assert_eq!(sample.blkio.sectors_recursive, Some(Vec::new()));
}

#[test]
fn a_scheduler_that_accounts_is_asked_first() {
    let world = World::new(V1_MOUNTS, &v1_membership("/docker"));
    world.write_v1("/docker");
    let blkio = format!("/sys/fs/cgroup/blkio/docker/{ID}");
    world.write(
        &format!("{blkio}/blkio.io_serviced_recursive"),
        "8:0 Read 7\n",
    );
    let host = world.host();
    let sample = host.sample(&host.group(7, ID).unwrap());
    let value = sample.blkio.io_service_bytes_recursive.unwrap()[0].value;
    assert_eq!(value, 4096, "it accounts nothing: the disk has another one");
    world.write(
        &format!("{blkio}/blkio.io_service_bytes_recursive"),
        "8:0 Read 512\n",
    );
    world.write(&format!("{blkio}/blkio.sectors_recursive"), "8:0 1\n");
    let sample = host.sample(&host.group(7, ID).unwrap());
    assert_eq!(
        sample.blkio.io_service_bytes_recursive.unwrap()[0].value,
        512
    );
    assert_eq!(sample.blkio.sectors_recursive.unwrap()[0].op, "");
}

#[test]
fn version_2() {
    let world = World::new(
        V2_MOUNT,
        &format!("0::/system.slice/docker-{ID}.scope/init.scope\n"),
    );
    let file = |name: &str, text: &str| {
        let group = format!("/sys/fs/cgroup/system.slice/docker-{ID}.scope");
        world.write(&format!("{group}/{name}"), text);
    };
    let cpu = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 2\n\
               throttled_usec 30\n";
    file("cpu.stat", cpu);
    file("memory.current", "4096\n");
    file("memory.max", "67108864\n");
    file("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n");
    file(
        "memory.stat",
        "anon 1\nfile 2\ninactive_file 1024\nsec_pagetables 0\n",
    );
    file("pids.current", "1\n");
    file("pids.max", "max\n");
    let io = "254:0 rbytes=4096 wbytes=10 rios=1 wios=1 dbytes=0 dios=0\n7:0 \nx y=z\n";
    file("io.stat", io);
    let host = world.host();
    let group = host.group(7, ID).unwrap();
    let before = host.reads();
    let sample = host.sample(&group);
    assert_eq!(host.reads() - before, 8);
    assert_eq!(sample.cpu.total_usage, 1_500_000);
    assert_eq!(sample.cpu.usage_in_kernelmode, 500_000);
    assert!(sample.cpu.percpu_usage.is_empty());
    assert_eq!(sample.throttling.throttled_time, 30_000);
    assert_eq!((sample.memory.usage, sample.memory.limit), (4096, 64 << 20));
    assert_eq!((sample.memory.failcnt, sample.memory.max_usage), (1, 0));
    assert_eq!(sample.memory.stats["inactive_file"], 1024);
    assert_eq!(sample.memory.stats.len(), 31);
    assert_eq!((sample.pids.current, sample.pids.limit), (1, u64::MAX));
    let bytes = sample.blkio.io_service_bytes_recursive.unwrap();
    let told: Vec<_> = bytes
        .iter()
        .map(|entry| (entry.op.as_str(), entry.value))
        .collect();
    assert_eq!(told, [("read", 4096), ("write", 10)]);
    assert_eq!(sample.blkio.io_serviced_recursive, None);
    assert!(host.ran_out_of_memory(&group));
}

#[test]
fn devices_are_limited_in_the_words_of_either_version() {
    let world = World::new(V1_MOUNTS, &v1_membership("/docker"));
    world.write_v1("/docker");
    let limit = |what, most| DeviceLimit {
        what,
        device: (8, 16),
        most,
    };
    let host = world.host();
    let group = host.group(7, ID).unwrap();
    let file = format!("/sys/fs/cgroup/blkio/docker/{ID}/blkio.throttle.read_iops_device");
    assert!(host.limit_device(&group, limit(Limited::Reads, 5)).is_err());
    world.write(&file, "");
    host.limit_device(&group, limit(Limited::Reads, 5)).unwrap();
    assert_eq!(world.read(&file), "8:16 5");
    let world = World::new(V2_MOUNT, &format!("0::/docker/{ID}\n"));
    let file = format!("/sys/fs/cgroup/docker/{ID}/io.max");
    world.write(&file, "");
    let host = world.host();
    let group = host.group(7, ID).unwrap();
    host.limit_device(&group, limit(Limited::WrittenBytes, 9))
        .unwrap();
    assert_eq!(world.read(&file), "8:16 wbps=9");
    world.write(&file, "");
    host.limit_device(&group, limit(Limited::ReadBytes, 0))
        .unwrap();
    assert_eq!(world.read(&file), "8:16 rbps=max");
}

/// On a hybrid host what version 1 has not is in the unified hierarchy.
#[test]
fn hybrid() {
    let without_pids: String = V1_MOUNTS
        .lines()
        .filter(|line| !line.ends_with("pids"))
        .map(|line| format!("{line}\n"))
        .collect();
    let membership = v1_membership("/docker").replace("2:pids", "2:freezer");
    let membership = format!("{membership}0::/docker/{ID}\n");
    let world = World::new(&format!("{without_pids}{HYBRID_MOUNT}"), &membership);
    world.write_v1("/docker");
    let unified = format!("/sys/fs/cgroup/unified/docker/{ID}");
    world.write(&format!("{unified}/pids.current"), "9\n");
    world.write(
        &format!("/sys/fs/cgroup/memory/docker/{ID}/cgroup.procs"),
        "7\n",
    );
    let host = world.host();
    let group = host.group(7, ID).unwrap();
    let sample = host.sample(&group);
    assert_eq!((sample.pids.current, sample.memory.usage), (9, 4_321_280));
    assert_eq!(host.processes(&group).unwrap(), [7]);
}

/// A daemon in a container sees a part of the hierarchy only.
#[test]
fn the_kernel_counts_whom_it_kills_for_want_of_memory() {
    let world = World::new(V1_MOUNTS, &v1_membership("/docker"));
    let file = format!("/sys/fs/cgroup/memory/docker/{ID}/memory.oom_control");
    let host = world.host();
    let group = host.group(7, ID).unwrap();
    assert!(!host.ran_out_of_memory(&group), "no file");
    for (kills, told) in [(0, false), (2, true)] {
        world.write(
            &file,
            &format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n"),
        );
        assert_eq!(host.ran_out_of_memory(&group), told);
    }
}

#[test]
fn a_part_of_a_hierarchy_is_mounted() {
    let mounts = V1_MOUNTS.replace(" / /sys/fs/cgroup/", " /docker/outer /sys/fs/cgroup/");
    let world = World::new(&mounts, &v1_membership("/docker/outer/docker"));
    world.write_v1("/docker");
    let host = world.host();
    let sample = host.sample(&host.group(7, ID).unwrap());
    assert_eq!(sample.pids.current, 3);
    let world = World::new(&mounts, &v1_membership("/../docker"));
    let error = world.host().group(7, ID).unwrap_err();
    assert!(matches!(error, Error::NotThere { pid: 7 }));
}

#[test]
fn another_processes_group_is_not_taken_for_the_containers() {
    let world = World::new(V1_MOUNTS, &v1_membership("/docker").replace(ID, "other"));
    assert!(world.host().group(7, ID).is_err());
    assert!(
        world.host().group(8, ID).is_err(),
        "there is no such process"
    );
}

#[test]
fn processes_of_groups_below_count_too() {
    let world = World::new(V2_MOUNT, &format!("0::/docker/{ID}\n"));
    let own = format!("/sys/fs/cgroup/docker/{ID}");
    world.write(&format!("{own}/cgroup.procs"), "7\n0\n");
    world.write(&format!("{own}/a/cgroup.procs"), "9\n8\n");
    world.write(&format!("{own}/a/b/cgroup.procs"), "10\n");
    let host = world.host();
    let group = host.group(7, ID).unwrap();
    assert_eq!(host.processes(&group).unwrap(), [7, 8, 9, 10]);
    std::fs::remove_dir_all(world.0.path().join(own.trim_start_matches('/'))).unwrap();
    assert!(host.processes(&group).is_err());
    assert_eq!(
        host.sample(&group).pids.current,
        0,
        "what is gone uses nothing"
    );
}

#[test]
fn the_hosts_processors() {
    let text = "cpu  10 20 30 40 50 60 70 1000 9 9\ncpu0 1 2\ncpu1 1 2\nintr 5 6\ncpu9 0\n";
    let told = proc::system_cpu(text).unwrap();
    assert_eq!((told.usage, told.online), (280 * 10_000_000, 2));
    assert_eq!(proc::system_cpu("intr 0\n"), None);
}

#[test]
fn interfaces_are_those_of_the_engine() {
    let text = "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                eth0:5338 36 1 2 0 0 0 0 648 8 3 4 0 0 0 0\ndocker0: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n\
                eth10: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\nethx: 1\neth2: 1 2\n";
    let found = proc::interfaces(text);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0", "eth10"]);
    let eth0 = &found["eth0"];
    assert_eq!(
        (
            eth0.rx_bytes,
            eth0.rx_packets,
            eth0.rx_errors,
            eth0.rx_dropped
        ),
        (5338, 36, 1, 2)
    );
    assert_eq!(
        (
            eth0.tx_bytes,
            eth0.tx_packets,
            eth0.tx_errors,
            eth0.tx_dropped
        ),
        (648, 8, 3, 4)
    );
}

#[test]
fn mount_points_are_unescaped() {
    let text = "1 2 0:1 / /with\\040blank rw - cgroup2 c rw\nx\n1 2 3 - cgroup\n";
    let found = Hierarchies::parse(text);
    assert_eq!(found.v2.unwrap().point, Path::new("/with blank"));
}

proptest! {
    #[test]
    fn nothing_panics(text in "([a-z0-9:/=., \n\t\\\\-]|cpu|eth0:|max|18446744073709551615|cgroup2| - ){0,80}") {
        let _ = (parse::number(&text), parse::numbers(&text), parse::table(&text));
        let _ = (parse::blkio(&text), parse::io(&text));
        let _ = (proc::system_cpu(&text), proc::interfaces(&text));
        let _ = (Hierarchies::parse(&text), memberships(&text), of_container(&text, "a"));
        let world = World::new(&text, &text);
        for name in ["cpu.stat", "memory.stat", "io.stat", "memory.max"] {
            world.write(&format!("/sys/fs/cgroup/a/{name}"), &text);
        }
        world.write("/proc/self/mountinfo", V2_MOUNT);
        world.write("/proc/7/cgroup", "0::/a\n");
        let host = world.host();
        let _ = host.sample(&host.group(7, "a").unwrap());
    }
}
