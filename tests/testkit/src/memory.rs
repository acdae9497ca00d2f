//! How much memory the daemon takes.

use crate::Daemon;

impl Daemon {
    /// From here on [`Daemon::peak_memory`] counts anew.
    #[track_caller]
    pub fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("root may");
    }

    /// The most memory that it has had at once, in KiB.
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let line = line.expect("VmHWM").trim().trim_end_matches(" kB").trim();
        line.parse().expect("a number")
    }
}
