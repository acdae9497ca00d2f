//! Mounting a volume's data, as `mount(8)` would with the same options.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::{Error, MountOptions, Result};

/// `o=…`, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    flags: u32,
    propagation: u32,
    /// What the file system itself is told.
    data: String,
}

/// Mounts what `options` say on the directory `target`.
///
/// # Errors
/// A host name that cannot be resolved ([`Error::Invalid`]), or the kernel's: [`Error::Mount`].
pub fn mount(options: &MountOptions, target: &Path) -> Result<()> {
    if options.device.is_empty() {
        return Err(Error::invalid("missing device in volume options"));
    }
    let (device, text) = resolve(options)?;
    let Parsed {
        flags,
        propagation,
        data,
    } = parse(&text);
    let failed = |flags: u32| {
        let options = describe(flags, &data);
        let device = device.clone();
        move |error: Errno| Error::Mount {
            device,
            target: target.to_owned(),
            options,
            source: error.into(),
        }
    };
    let nul = |_| Error::invalid("a mount option has a NUL byte");
    let c_data = CString::new(data.as_str()).map_err(nul)?;
    let of = MountFlags::from_bits_retain;
    rustix::mount::mount(
        device.as_str(),
        target,
        options.kind.as_str(),
        of(flags),
        c_data.as_c_str(),
    )
    .map_err(failed(flags))?;
    let finish = || {
        if propagation != 0 {
            let wanted = MountPropagationFlags::from_bits_retain(propagation);
            rustix::mount::mount_change(target, wanted).map_err(failed(propagation))?;
        }
        let read_only_bind = MountFlags::BIND.bits() | MountFlags::RDONLY.bits();
        if flags & read_only_bind == read_only_bind {
            // The kernel takes a bind's flags only in a second step.
            rustix::mount::mount_remount(target, of(flags), c_data.as_c_str())
                .map_err(failed(flags))?;
        }
        Ok(())
    };
    finish().inspect_err(|_| drop(unmount(target)))
}

/// Takes away what is mounted on `target`. What is still used goes when it is not any more.
///
/// # Errors
/// [`Error::Io`]; none when nothing is mounted there.
pub fn unmount(target: &Path) -> Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        Err(error) => Err(Error::io("unmount", target)(error)),
    }
}

/// Where something is mounted at or below `root`. Asks the kernel's table, so a file server that
/// does not answer delays nothing.
///
/// # Errors
/// [`Error::Io`].
pub fn mounted_below(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(table).map_err(Error::io("read", table))?;
    let points = text.split(|byte| *byte == b'\n').filter_map(|line| {
        line.split(|byte| *byte == b' ')
            .nth(4)
            .map(|point| PathBuf::from(unescape(point)))
    });
    Ok(points.filter(|point| point.starts_with(root)).collect())
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        if let (b'\\', Some((digits, after))) = (first, behind.split_at_checked(3))
            && let Ok(digits) = std::str::from_utf8(digits)
            && let Ok(byte) = u8::from_str_radix(digits, 8)
        {
            plain.push(byte);
            rest = after;
        } else {
            plain.push(first);
            rest = behind;
        }
    }
    OsString::from_vec(plain)
}

/// The device and the options with host names as addresses: the kernel knows no names.
fn resolve(options: &MountOptions) -> Result<(String, String)> {
    let (mut device, mut text) = (options.device.clone(), options.options.clone());
    if !matches!(options.kind.as_str(), "nfs" | "nfs4" | "cifs") {
        return Ok((device, text));
    }
    let given = text
        .split(',')
        .find_map(|option| option.strip_prefix("addr="))
        .map(str::to_owned);
    if let Some(host) = given.filter(|host| !host.is_empty()) {
        let address = address(&host)?;
        text = text.replacen(&format!("addr={host}"), &format!("addr={address}"), 1);
    } else if options.kind == "cifs"
        && let Some((before, rest)) = device.split_once("//")
    {
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if !host.is_empty() {
            device = format!("{before}//{}{path}", address(host)?);
        }
    }
    Ok((device, text))
}

fn address(host: &str) -> Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let failed = |why: String| {
        Error::invalid(format!(
            "error resolving passed in network volume address: lookup {host}: {why}"
        ))
    };
    let mut found = (host, 0)
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?;
    let first = found.next().map(|address| address.ip());
    first.ok_or_else(|| failed("no such host".to_owned()))
}

/// Flags that the kernel has bits for; the rest is the file system's own.
fn parse(options: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        if let Some((bits, set)) = flag(option) {
            match set {
                true => parsed.flags |= bits,
                false => parsed.flags &= !bits,
            }
        } else if let Some(bits) = propagation(option) {
            parsed.propagation |= bits;
        } else {
            data.push(option);
        }
    }
    parsed.data = data.join(",");
    parsed
}

fn flag(option: &str) -> Option<(u32, bool)> {
    let (flag, set) = match option {
        "defaults" => (MountFlags::empty(), true),
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "mand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
        "nomand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        "bind" => (MountFlags::BIND, true),
        "rbind" => (MountFlags::BIND | MountFlags::REC, true),
        _ => return None,
    };
    Some((flag.bits(), set))
}

fn propagation(option: &str) -> Option<u32> {
    let (recursive, name) = match option.strip_prefix('r') {
        Some(rest) => (MountPropagationFlags::REC, rest),
        None => (MountPropagationFlags::empty(), option),
    };
    let kind = match name {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some((kind | recursive).bits())
}

/// What an error tells of the options: never a password.
fn describe(flags: u32, data: &str) -> String {
    let mut told = format!("flags: {flags:#x}");
    let masked: Vec<_> = data
        .split(',')
        .filter(|option| !option.is_empty())
        .map(|option| match option.split_once('=') {
            Some((key @ ("password" | "pass" | "password2"), _)) => format!("{key}=********"),
            _ => option.to_owned(),
        })
        .collect();
    if !masked.is_empty() {
        told.push_str(&format!(", data: {}", masked.join(",")));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_data_are_told_apart() {
        let parsed = parse("ro,size=1m,nosuid,uid=5,rslave,defaults");
        let flags = MountFlags::RDONLY | MountFlags::NOSUID;
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        assert_eq!(
            (parsed.flags, parsed.propagation, parsed.data.as_str()),
            (flags.bits(), slave.bits(), "size=1m,uid=5")
        );
        assert_eq!(parse("ro,rw").flags, 0, "the later one counts");
        assert_eq!(parse(""), Parsed::default());
    }

    #[test]
    fn a_password_is_never_told() {
        let told = describe(0, "username=me,password=s3cret,addr=1.2.3.4");
        assert_eq!(
            told,
            "flags: 0x0, data: username=me,password=********,addr=1.2.3.4"
        );
    }

    #[test]
    fn addresses_stay_and_names_are_looked_up() {
        let nfs = |options: &str| MountOptions {
            kind: "nfs".into(),
            device: ":/export".into(),
            options: options.into(),
        };
        let (device, options) = resolve(&nfs("addr=192.0.2.7,rw")).expect("an address");
        assert_eq!((&*device, &*options), (":/export", "addr=192.0.2.7,rw"));
        let (_, options) = resolve(&nfs("rw,addr=localhost")).expect("a name");
        assert!(
            matches!(&*options, "rw,addr=127.0.0.1" | "rw,addr=::1"),
            "{options}"
        );
        let error = resolve(&nfs("addr=nosuch.invalid")).expect_err("no such host");
        assert!(
            error
                .to_string()
                .starts_with("error resolving passed in network volume address")
        );
    }

    #[test]
    fn the_kernels_escapes() {
        assert_eq!(unescape(br"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(br"/plain\9"), r"/plain\9");
    }
}
