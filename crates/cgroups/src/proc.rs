//! What `/proc` tells: the processors' time, and a network namespace's interfaces.

use std::collections::BTreeMap;

use berth_wire::NetworkStats;

/// Nanoseconds of a tick in `/proc/stat` and `cpuacct.stat`: `USER_HZ` is 100 on all that Docker runs on.
pub(crate) const TICK: u64 = 10_000_000;

/// How many of a processor's numbers count: user, nice, system, idle, iowait, irq and softirq. What
/// guests had is in user's already.
const STATES: usize = 7;

/// What the host's processors did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemCpu {
    /// Their time since the start of the host, busy and idle, in nanoseconds.
    pub usage: u64,
    /// How many are online.
    pub online: u32,
}

/// Decodes `/proc/stat`; `None` when it has no line of the processors.
pub(crate) fn system_cpu(text: &str) -> Option<SystemCpu> {
    let mut all = None;
    let mut online = 0;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            // They come first; the interrupts after them are long.
            break;
        };
        match rest.strip_prefix(' ') {
            Some(numbers) => {
                let numbers = numbers.split_ascii_whitespace().take(STATES);
                let ticks = numbers.filter_map(|number| number.parse::<u64>().ok());
                all = Some(ticks.fold(0, u64::saturating_add));
            }
            None => online += 1,
        }
    }
    Some(SystemCpu {
        usage: all?.saturating_mul(TICK),
        online,
    })
}

/// When a process began, in ticks since the start of the host: the 22nd word of `/proc/<pid>/stat`.
/// The second, its name in brackets, may have anything in it.
pub(crate) fn began(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// When the host was started, in seconds since the epoch, from `/proc/stat`.
pub(crate) fn booted(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let seconds = lines.find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse().ok()
}

/// Decodes `/proc/<pid>/net/dev`: the interfaces that the engine gives containers, `eth0` and on.
/// Loopback, the kernel's fallback tunnels and what is made inside (a bridge of a daemon within,
/// whose traffic would count twice) are not the container's.
pub(crate) fn interfaces(text: &str) -> BTreeMap<String, NetworkStats> {
    text.lines().filter_map(interface).collect()
}

fn interface(line: &str) -> Option<(String, NetworkStats)> {
    let (name, numbers) = line.split_once(':')?;
    let name = name.trim();
    let digits = name.strip_prefix("eth")?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let numbers = crate::parse::numbers(numbers);
    let at = |column: usize| numbers.get(column).copied();
    let stats = NetworkStats {
        rx_bytes: at(0)?,
        rx_packets: at(1)?,
        rx_errors: at(2)?,
        rx_dropped: at(3)?,
        tx_bytes: at(8)?,
        tx_packets: at(9)?,
        tx_errors: at(10)?,
        tx_dropped: at(11)?,
    };
    Some((name.to_owned(), stats))
}
