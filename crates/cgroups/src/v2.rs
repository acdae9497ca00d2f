//! Figures where there is one hierarchy for all.

use std::path::Path;

use berth_wire::{BlkioStats, CpuUsage, MemoryStats, PidsStats, ThrottlingData};

use crate::files::Files;
use crate::parse::{io, number, table};

/// What of `memory.stat` Docker shows.
const MEMORY: [&str; 31] = [
    "anon",
    "file",
    "kernel_stack",
    "slab",
    "sock",
    "shmem",
    "file_mapped",
    "file_dirty",
    "file_writeback",
    "anon_thp",
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
    "slab_reclaimable",
    "slab_unreclaimable",
    "pgfault",
    "pgmajfault",
    "workingset_refault",
    "workingset_activate",
    "workingset_nodereclaim",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "pgactivate",
    "pgdeactivate",
    "pglazyfree",
    "pglazyfreed",
    "thp_fault_alloc",
    "thp_collapse_alloc",
];

/// `cpu.stat`, which holds both the usage and the throttling.
pub(crate) fn cpu(files: &Files, group: &Path) -> (CpuUsage, ThrottlingData) {
    let text = files.read_or_empty(&group.join("cpu.stat"));
    let table = table(&text);
    let at = |name: &str| table.get(name).copied().unwrap_or(0);
    let nanos = |name: &str| at(name).saturating_mul(1000);
    let usage = CpuUsage {
        total_usage: nanos("usage_usec"),
        percpu_usage: Vec::new(),
        usage_in_kernelmode: nanos("system_usec"),
        usage_in_usermode: nanos("user_usec"),
    };
    let throttling = ThrottlingData {
        periods: at("nr_periods"),
        throttled_periods: at("nr_throttled"),
        throttled_time: nanos("throttled_usec"),
    };
    (usage, throttling)
}

pub(crate) fn memory(files: &Files, group: &Path) -> MemoryStats {
    let text = files.read_or_empty(&group.join("memory.stat"));
    let events = files.read_or_empty(&group.join("memory.events"));
    let stat = table(&text);
    let at = |name: &&str| {
        (
            (*name).to_owned(),
            stat.get(*name).copied().unwrap_or_default(),
        )
    };
    MemoryStats {
        usage: value(files, group, "memory.current"),
        max_usage: 0,
        stats: MEMORY.iter().map(at).collect(),
        failcnt: table(&events).get("oom").copied().unwrap_or(0),
        limit: value(files, group, "memory.max"),
    }
}

pub(crate) fn pids(files: &Files, group: &Path) -> PidsStats {
    PidsStats {
        current: value(files, group, "pids.current"),
        limit: value(files, group, "pids.max"),
    }
}

pub(crate) fn block_io(files: &Files, group: &Path) -> BlkioStats {
    let bytes = io(&files.read_or_empty(&group.join("io.stat")));
    BlkioStats {
        io_service_bytes_recursive: (!bytes.is_empty()).then_some(bytes),
        ..BlkioStats::default()
    }
}

fn value(files: &Files, group: &Path, name: &str) -> u64 {
    number(&files.read_or_empty(&group.join(name))).unwrap_or(0)
}
