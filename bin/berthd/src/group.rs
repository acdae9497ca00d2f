//! Groups by name.

use std::process::{Command, Stdio};

/// The number of the group `name`, which may be a number itself.
pub(crate) fn lookup(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    find(&text, name)
        .or_else(|| ask(name))
        .or_else(|| name.parse().ok())
}

fn find(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Groups may be elsewhere (LDAP, systemd); `getent` knows them all.
fn ask(name: &str) -> Option<u32> {
    if name.is_empty() || name.starts_with('-') {
        return None;
    }
    // A directory service that hangs must not hang us: `timeout` is in coreutils, as `getent` is
    // in libc's package.
    let output = Command::new("timeout")
        .args(["5", "getent", "group", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    find(&String::from_utf8_lossy(&output.stdout), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number() {
        assert_eq!(lookup("root"), Some(0));
        assert_eq!(lookup("12345"), Some(12345));
        assert_eq!(lookup("no-such-group"), None);
        assert_eq!(lookup(""), None);
        assert_eq!(find("a:x:1:\nab:x:2:u,v\nbad\nc:x:y:", "ab"), Some(2));
        assert_eq!(find("a:x:1:\nbad\nc:x:y:", "c"), None);
        assert_eq!(find("bad", "bad"), None);
    }
}
