//! [`Host`]: the one place where the figures come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_wire::{BlkioStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, ThrottlingData};
use jiff::Timestamp;

use crate::files::Files;
use crate::group::{Group, Place};
use crate::hierarchies::Hierarchies;
use crate::parse::table;
use crate::proc::{self, SystemCpu, TICK, interfaces, system_cpu};
use crate::{Error, Result, v1, v2};

/// A host and how its control groups are mounted.
#[derive(Debug)]
pub struct Host {
    files: Files,
    hierarchies: Hierarchies,
    /// Bytes.
    memory: u64,
}

/// What a container has used as of one moment, in Docker's shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Processor time.
    pub cpu: CpuUsage,
    /// How often it had to wait for more.
    pub throttling: ThrottlingData,
    /// Memory; the limit is never above what the host has.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidsStats,
    /// Block I/O.
    pub blkio: BlkioStats,
}

impl Host {
    /// The host that this process runs on, which has `memory` bytes.
    #[must_use]
    pub fn detect(memory: u64) -> Host {
        Host::at(Path::new("/"), memory)
    }

    /// A host whose `/proc` and `/sys` are found under `root`.
    #[must_use]
    pub fn at(root: &Path, memory: u64) -> Host {
        let files = Files::new(root);
        let mountinfo = files.read_or_empty(Path::new("/proc/self/mountinfo"));
        Host {
            hierarchies: Hierarchies::parse(&mountinfo),
            files,
            memory,
        }
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The group of the container `id`, whose init is `pid`. One file.
    ///
    /// # Errors
    /// The process is in none: it has ended.
    pub fn group(&self, pid: u32, id: &str) -> Result<Group> {
        Group::find(&self.files, &self.hierarchies, pid, id)
    }

    /// What the group's container has used. A file that there is not counts as nothing used:
    /// controllers can be missing, and containers end.
    #[must_use]
    pub fn sample(&self, group: &Group) -> Sample {
        let files = &self.files;
        let (cpu, throttling) = match (&group.cpuacct, &group.cpu) {
            (Some(Place::V1(accounts)), cpu) => {
                let throttling = match cpu {
                    Some(Place::V1(cpu)) => v1::throttling(files, cpu),
                    Some(Place::V2(cpu)) => v2::cpu(files, cpu).1,
                    None => ThrottlingData::default(),
                };
                (v1::cpu_usage(files, accounts), throttling)
            }
            (Some(Place::V2(path)), _) => v2::cpu(files, path),
            (None, _) => Default::default(),
        };
        let mut memory = match &group.memory {
            Some(Place::V1(path)) => v1::memory(files, path),
            Some(Place::V2(path)) => v2::memory(files, path),
            None => MemoryStats::default(),
        };
        if self.memory != 0 && memory.limit > self.memory {
            memory.limit = self.memory;
        }
        Sample {
            cpu,
            throttling,
            memory,
            pids: match &group.pids {
                Some(Place::V1(path)) => v1::pids(files, path),
                Some(Place::V2(path)) => v2::pids(files, path),
                None => PidsStats::default(),
            },
            blkio: match &group.blkio {
                Some(Place::V1(path)) => v1::block_io(files, path),
                Some(Place::V2(path)) => v2::block_io(files, path),
                None => BlkioStats::default(),
            },
        }
    }

    /// What passed the interfaces of the network namespace that the process `pid` is in. One file.
    #[must_use]
    pub fn interfaces(&self, pid: u32) -> BTreeMap<String, NetworkStats> {
        let path = PathBuf::from(format!("/proc/{pid}/net/dev"));
        interfaces(&self.files.read_or_empty(&path))
    }

    /// The processes of the group and of those below it, as this host numbers them.
    ///
    /// # Errors
    /// The group is gone.
    pub fn processes(&self, group: &Group) -> Result<Vec<u32>> {
        group.processes(&self.files)
    }

    /// Whether the kernel has killed a process of the group for want of memory. One file; false
    /// where the kernel does not count that, or the group is gone.
    #[must_use]
    pub fn ran_out_of_memory(&self, group: &Group) -> bool {
        let path = match &group.memory {
            Some(Place::V1(path)) => path.join("memory.oom_control"),
            Some(Place::V2(path)) => path.join("memory.events"),
            None => return false,
        };
        let text = self.files.read_or_empty(&path);
        table(&text).get("oom_kill").is_some_and(|&kills| kills > 0)
    }

    /// The time of all processors. One file.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read.
    pub fn system_cpu(&self) -> Result<SystemCpu> {
        let path = Path::new("/proc/stat");
        system_cpu(&self.files.read(path)?).ok_or_else(|| Error::Malformed {
            path: path.to_owned(),
        })
    }

    /// When the process `pid` began, to a second or so; `None` when there is none. Two files.
    #[must_use]
    pub fn started(&self, pid: u32) -> Option<Timestamp> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let ticks = proc::began(&self.files.read(&path).ok()?)?;
        let booted = proc::booted(&self.files.read(Path::new("/proc/stat")).ok()?)?;
        let since = Duration::from_nanos(ticks.checked_mul(TICK)?);
        let booted = Timestamp::from_second(booted.try_into().ok()?).ok()?;
        booted.checked_add(since).ok()
    }

    /// How many files have been read so far: what looking costs.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.files.reads()
    }
}
