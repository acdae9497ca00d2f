//! A further process in a container: `docker exec`.

use oci_spec::runtime::Process;

use crate::capabilities::{self, CapSet};
use crate::error::{Error, Result};
use crate::inputs::Inputs;
use crate::passwd::User;
use crate::process::{self, merge_environment};
use crate::security::SecurityOptions;

/// What the process is to be, apart from the container that it is started in.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// The program and its arguments.
    pub args: &'a [String],
    /// Variables over the container's; a name without `=` takes one away.
    pub env: &'a [String],
    /// Where it starts; empty for the container's directory.
    pub working_dir: &'a str,
    /// The user, resolved in the image; `None` for the container's.
    pub user: Option<&'a User>,
    /// It has a terminal.
    pub tty: bool,
    /// The terminal's first size: height and width, in characters.
    pub console_size: Option<[u32; 2]>,
    /// It gets every capability that the daemon has.
    pub privileged: bool,
}

/// The OCI process of an exec: the container's own with what `exec` says otherwise. Of `inputs`, only
/// what makes the process is looked at: no namespace, mount or device.
///
/// # Errors
/// `No exec command specified`, and those of [`build`](crate::build) about the process.
pub fn exec_process(inputs: &Inputs<'_>, exec: &Exec<'_>) -> Result<Process> {
    if exec.args.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    let (config, host) = (inputs.config, inputs.host);
    let security = SecurityOptions::parse(&host.security_opt)?;
    let granted: CapSet = capabilities::effective(
        &host.cap_add,
        &host.cap_drop,
        host.privileged || exec.privileged,
        inputs.facts.capabilities,
    )?;
    let mut process = process::build(inputs, granted, &security)?;
    let own = process::environment_of(config, inputs.hostname, exec.tty);
    process
        .set_args(Some(exec.args.to_vec()))
        .set_env(Some(merge_environment(own, exec.env)))
        .set_terminal(Some(exec.tty))
        .set_console_size(
            exec.console_size
                .filter(|_| exec.tty)
                .and_then(process::console),
        );
    if !exec.working_dir.is_empty() {
        process.set_cwd(exec.working_dir.into());
    }
    if let Some(user) = exec.user {
        process.set_user(user.into());
    }
    if exec.privileged {
        process.set_apparmor_profile(security.apparmor(true, inputs.facts));
    }
    Ok(process)
}
