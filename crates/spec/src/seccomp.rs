//! Seccomp: Docker's default policy and profiles that a client sends, both as OCI filters for one
//! container on one host.
//!
//! ```text
//! policy (data) ──> default() ─┐
//!                              ├─> Rule { names, when } ── fits the Host? ──> LinuxSeccomp
//! JSON of a client ─> load() ──┘
//! ```

mod policy;
mod profile;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};

use crate::capabilities::CapSet;
use crate::error::{Error, Result};

pub use profile::load;

/// What a filter's conditions are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The machine, by Go's name (`amd64`, `arm64`).
    pub architecture: &'a str,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// The capabilities that the container is granted.
    pub granted: CapSet,
}

/// The default profile for a container on `host`.
///
/// # Errors
/// None in practice: the policy is data of ours.
pub fn default(host: Host<'_>) -> Result<LinuxSeccomp> {
    let mut calls = vec![allow(policy::ALWAYS, Vec::new())];
    if host.kernel >= (4, 8) {
        calls.push(allow(policy::SINCE_4_8, Vec::new()));
    }
    let below = arg(
        0,
        policy::SOCKET_FAMILIES_BELOW,
        LinuxSeccompOperator::ScmpCmpLt,
    )?;
    calls.push(allow("socket", vec![below]));
    for (first, length) in blocks(&policy::SOCKET_FAMILIES) {
        let block = LinuxSeccompArgBuilder::default()
            .index(0usize)
            .value(!(length - 1))
            .value_two(first)
            .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
            .build()
            .map_err(invalid)?;
        calls.push(allow("socket", vec![block]));
    }
    for value in policy::PERSONALITIES {
        let equal = arg(0, value, LinuxSeccompOperator::ScmpCmpEq)?;
        calls.push(allow("personality", vec![equal]));
    }
    let native = native_name(host.architecture);
    for (architectures, names) in policy::BY_ARCH {
        if architectures.contains(&native) {
            calls.push(allow(names, Vec::new()));
        }
    }
    for (capability, names) in policy::BY_CAPABILITY {
        if host.granted.contains(capability) {
            calls.push(allow(names, Vec::new()));
        }
    }
    if !host.granted.contains("CAP_SYS_ADMIN") {
        // s390 takes clone's arguments in another order.
        let index = if native.starts_with("s390") { 1 } else { 0 };
        let masked = arg(
            index,
            policy::NAMESPACE_FLAGS,
            LinuxSeccompOperator::ScmpCmpMaskedEq,
        )?;
        calls.push(allow("clone", vec![masked]));
        calls.push(syscall(
            vec!["clone3".to_owned()],
            LinuxSeccompAction::ScmpActErrno,
            Some(policy::CLONE3_ERRNO),
            Vec::new(),
        ));
    }
    let mut filter = LinuxSeccomp::default();
    filter
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(policy::DEFAULT_ERRNO))
        .set_architectures(architectures(host.architecture)?)
        .set_syscalls(Some(calls));
    Ok(filter)
}

/// The architectures of the default filter on `machine`, `None` where the native one alone is
/// meant.
fn architectures(machine: &str) -> Result<Option<Vec<Arch>>> {
    let Some((_, names)) = policy::ARCHITECTURES
        .iter()
        .find(|(name, _)| *name == machine)
    else {
        return Ok(None);
    };
    names
        .iter()
        .map(|name| parse_arch(name))
        .collect::<Result<_>>()
        .map(Some)
}

fn parse_arch(name: &str) -> Result<Arch> {
    name.parse()
        .map_err(|_| Error::invalid(format!("unknown architecture in seccomp profile: {name}")))
}

/// Go's name for a machine as profiles spell it.
fn native_name(machine: &str) -> &str {
    match machine {
        "386" => "x86",
        "mips64le" => "mipsel64",
        "mipsle" => "mipsel",
        "loong64" => "loongarch64",
        other => other,
    }
}

fn allow(names: &str, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let names = names.split_ascii_whitespace().map(str::to_owned).collect();
    syscall(names, LinuxSeccompAction::ScmpActAllow, None, args)
}

fn syscall(
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut call = LinuxSyscall::default();
    call.set_names(names)
        .set_action(action)
        .set_errno_ret(errno)
        .set_args((!args.is_empty()).then_some(args));
    call
}

/// Ascending `values` as aligned blocks of a power of two (first value and length): the runtime
/// compiles each rule at every start and exec, and one masked comparison covers a whole block.
fn blocks(values: &[u64]) -> Vec<(u64, u64)> {
    let mut blocks: Vec<(u64, u64)> = Vec::new();
    for &value in values {
        blocks.push((value, 1));
        while let [.., (first, length), (next, same)] = blocks[..]
            && length == same
            && next == first + length
            && first % (2 * length) == 0
        {
            blocks.truncate(blocks.len() - 2);
            blocks.push((first, 2 * length));
        }
    }
    blocks
}

fn arg(index: usize, value: u64, op: LinuxSeccompOperator) -> Result<LinuxSeccompArg> {
    LinuxSeccompArgBuilder::default()
        .index(index)
        .value(value)
        .op(op)
        .build()
        .map_err(invalid)
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("invalid seccomp argument: {error}"))
}

#[cfg(test)]
mod tests;
