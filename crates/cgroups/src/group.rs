//! The control group of one container.

use std::path::PathBuf;

use crate::files::Files;
use crate::hierarchies::{Hierarchies, memberships, of_container};
use crate::{Error, Result};

/// How deep cgroups in cgroups are looked through, and how many.
const DEEPEST: usize = 32;
const MOST: usize = 4096;

/// Where the files of one controller are, and in which language they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    V1(PathBuf),
    V2(PathBuf),
}

/// The control group of a run of a container: valid as long as the run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub(crate) pid: u32,
    pub(crate) cpu: Option<Place>,
    pub(crate) cpuacct: Option<Place>,
    pub(crate) memory: Option<Place>,
    pub(crate) pids: Option<Place>,
    pub(crate) blkio: Option<Place>,
    /// Where its processes are listed.
    processes: PathBuf,
}

impl Group {
    /// Finds the group of the container `id`, whose init is `pid`.
    pub(crate) fn find(
        files: &Files,
        hierarchies: &Hierarchies,
        pid: u32,
        id: &str,
    ) -> Result<Group> {
        let text = files.read_or_empty(&PathBuf::from(format!("/proc/{pid}/cgroup")));
        let memberships = memberships(&text);
        let own = |controller: &str| of_container(memberships.get(controller)?, id);
        let unified = || hierarchies.v2.as_ref()?.place(&own("")?).map(Place::V2);
        let place = |controller: &str| match hierarchies.v1.get(controller) {
            Some(mount) => mount.place(&own(controller)?).map(Place::V1),
            None => unified(),
        };
        // Of a hybrid host's hierarchies the unified one need not have the container's processes.
        let processes = ["pids", "memory", "cpu", "devices", "name=systemd"]
            .into_iter()
            .filter(|controller| hierarchies.v1.contains_key(*controller))
            .find_map(place)
            .or_else(unified);
        let Some(Place::V1(processes) | Place::V2(processes)) = processes else {
            return Err(Error::NotThere { pid });
        };
        Ok(Group {
            pid,
            cpu: place("cpu"),
            cpuacct: place("cpuacct"),
            memory: place("memory"),
            pids: place("pids"),
            blkio: place("blkio"),
            processes,
        })
    }

    /// The processes in it and in the groups below it, in order. Some may have gone since.
    pub(crate) fn processes(&self, files: &Files) -> Result<Vec<u32>> {
        let own = files.read(&self.processes.join("cgroup.procs"))?;
        let mut found: Vec<u32> = numbers(&own).collect();
        let mut waiting = vec![(self.processes.clone(), 0)];
        let mut seen = 0;
        while let Some((group, depth)) = waiting.pop() {
            if depth == DEEPEST || seen == MOST {
                continue;
            }
            seen += 1;
            for below in files.folders(&group) {
                // A threaded group has no list of its own; one that goes away has none any more.
                found.extend(numbers(&files.read_or_empty(&below.join("cgroup.procs"))));
                waiting.push((below, depth + 1));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// The process ids of a list. 0 stands for one outside of the reader's PID namespace.
fn numbers(text: &str) -> impl Iterator<Item = u32> {
    text.lines()
        .filter_map(|line| line.trim().parse().ok())
        .filter(|pid| *pid != 0)
}
