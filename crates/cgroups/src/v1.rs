//! Figures where each controller has a hierarchy of its own.

use std::collections::BTreeMap;
use std::path::Path;

use berth_wire::{BlkioStats, CpuUsage, MemoryStats, PidsStats, ThrottlingData};

use crate::files::Files;
use crate::parse::{blkio, number, numbers, table};
use crate::proc::TICK;

/// What of `memory.stat` Docker shows, beside the `total_` of each but the limits.
const MEMORY: [&str; 15] = [
    "cache",
    "rss",
    "rss_huge",
    "mapped_file",
    "dirty",
    "writeback",
    "pgpgin",
    "pgpgout",
    "pgfault",
    "pgmajfault",
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
];
const MEMORY_LIMITS: [&str; 2] = ["hierarchical_memory_limit", "hierarchical_memsw_limit"];

pub(crate) fn cpu_usage(files: &Files, group: &Path) -> CpuUsage {
    let modes = files.read_or_empty(&group.join("cpuacct.stat"));
    let modes = table(&modes);
    let ticks = |name: &str| modes.get(name).map_or(0, |n| n.saturating_mul(TICK));
    CpuUsage {
        total_usage: value(files, group, "cpuacct.usage"),
        percpu_usage: numbers(&files.read_or_empty(&group.join("cpuacct.usage_percpu"))),
        usage_in_kernelmode: ticks("system"),
        usage_in_usermode: ticks("user"),
    }
}

pub(crate) fn throttling(files: &Files, group: &Path) -> ThrottlingData {
    let text = files.read_or_empty(&group.join("cpu.stat"));
    let table = table(&text);
    let at = |name: &str| table.get(name).copied().unwrap_or(0);
    ThrottlingData {
        periods: at("nr_periods"),
        throttled_periods: at("nr_throttled"),
        throttled_time: at("throttled_time"),
    }
}

pub(crate) fn memory(files: &Files, group: &Path) -> MemoryStats {
    let text = files.read_or_empty(&group.join("memory.stat"));
    let table = table(&text);
    let at = |name: &str| table.get(name).copied().unwrap_or(0);
    let mut stats = BTreeMap::new();
    for name in MEMORY {
        let total = format!("total_{name}");
        stats.insert(name.to_owned(), at(name));
        stats.insert(total.clone(), at(&total));
    }
    for name in MEMORY_LIMITS {
        stats.insert(name.to_owned(), at(name));
    }
    MemoryStats {
        usage: value(files, group, "memory.usage_in_bytes"),
        max_usage: value(files, group, "memory.max_usage_in_bytes"),
        failcnt: value(files, group, "memory.failcnt"),
        limit: value(files, group, "memory.limit_in_bytes"),
        stats,
    }
}

pub(crate) fn pids(files: &Files, group: &Path) -> PidsStats {
    let limit = value(files, group, "pids.max");
    PidsStats {
        current: value(files, group, "pids.current"),
        // No limit is told as none.
        limit: if limit == u64::MAX { 0 } else { limit },
    }
}

/// What the I/O scheduler accounts for, where it does; else what passed the throttle.
pub(crate) fn block_io(files: &Files, group: &Path) -> BlkioStats {
    let read = |name: String| blkio(&files.read_or_empty(&group.join(name)));
    let scheduler = |name: &str| read(format!("blkio.{name}_recursive"));
    if files.is_there(&group.join("blkio.io_serviced_recursive")) {
        let bytes = scheduler("io_service_bytes");
        // A disk may be under another scheduler, which accounts nothing here.
        if !bytes.is_empty() {
            return BlkioStats {
                io_service_bytes_recursive: Some(bytes),
                io_serviced_recursive: Some(scheduler("io_serviced")),
                io_queue_recursive: Some(scheduler("io_queued")),
                io_service_time_recursive: Some(scheduler("io_service_time")),
                io_wait_time_recursive: Some(scheduler("io_wait_time")),
                io_merged_recursive: Some(scheduler("io_merged")),
                io_time_recursive: Some(scheduler("time")),
                sectors_recursive: Some(scheduler("sectors")),
            };
        }
    }
    let throttle = |name: &str| {
        // Older kernels have only those that leave groups below out.
        let recursive = format!("blkio.throttle.{name}_recursive");
        if files.is_there(&group.join(&recursive)) {
            read(recursive)
        } else {
            read(format!("blkio.throttle.{name}"))
        }
    };
    let none = || Some(Vec::new());
    BlkioStats {
        io_service_bytes_recursive: Some(throttle("io_service_bytes")),
        io_serviced_recursive: Some(throttle("io_serviced")),
        io_queue_recursive: none(),
        io_service_time_recursive: none(),
        io_wait_time_recursive: none(),
        io_merged_recursive: none(),
        io_time_recursive: none(),
        sectors_recursive: none(),
    }
}

fn value(files: &Files, group: &Path, name: &str) -> u64 {
    number(&files.read_or_empty(&group.join(name))).unwrap_or(0)
}
