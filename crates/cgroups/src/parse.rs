//! The few shapes that the kernel's files have. What cannot be understood counts as not there.

use std::collections::BTreeMap;

use berth_wire::BlkioStatEntry;

/// One number; `max` is the largest there is.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

/// Numbers with blanks between them.
pub(crate) fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// `name number` in each line.
pub(crate) fn table(text: &str) -> BTreeMap<&str, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once([' ', '\t'])?;
            Some((name, value.trim().parse().ok()?))
        })
        .collect()
}

/// A device's numbers: `8:16`.
fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Block I/O of version 1: `8:0 Read 4096`, or `8:0 12` in the files that know no operations. The
/// sum of all devices is left out, each device's own is not.
pub(crate) fn blkio(text: &str) -> Vec<BlkioStatEntry> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = device(words.next()?)?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        Some(BlkioStatEntry {
            major,
            minor,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// Block I/O of version 2: `8:0 rbytes=4096 wbytes=0 rios=1 …`, in bytes.
pub(crate) fn io(text: &str) -> Vec<BlkioStatEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else {
            continue;
        };
        let fields: BTreeMap<_, _> = words.filter_map(|word| word.split_once('=')).collect();
        // Some kernels list devices of which there is nothing to tell.
        if fields.is_empty() {
            continue;
        }
        for (op, name) in [("read", "rbytes"), ("write", "wbytes")] {
            let value = fields.get(name).and_then(|value| value.parse().ok());
            entries.push(BlkioStatEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.unwrap_or(0),
            });
        }
    }
    entries
}
