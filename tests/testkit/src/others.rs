//! Other tools for images on the daemon's host, with storage of their own.

use std::process::Command;

use crate::{Daemon, Output, binary, run_command};

impl Daemon {
    /// Runs skopeo to its end.
    #[track_caller]
    pub fn skopeo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        let mut command = self.sandbox().command("skopeo");
        command.args(["--insecure-policy", "--tmpdir"]);
        command.arg(self.sandbox().state()).args(args);
        run_command(command)
    }

    /// Runs Debian's podman to its end. What it runs has no network.
    #[track_caller]
    pub fn podman<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        run_command(self.podman_command(args))
    }

    #[track_caller]
    fn podman_command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let (state, run) = (self.sandbox().state(), self.sandbox().run_dir());
        let mut command = self.sandbox().command(binary::podman());
        for (flag, folder) in [
            ("--root", state.join("podman")),
            ("--runroot", run.join("podman")),
            ("--tmpdir", run.join("podman-tmp")),
        ] {
            command.arg(flag).arg(folder);
        }
        let flags = "--storage-driver overlay --cgroup-manager cgroupfs --events-backend none --runtime runc";
        command.args(flags.split(' '));
        let mut args = args.into_iter();
        command.args(args.next());
        if command.get_args().last() == Some("run".as_ref()) {
            // Cgroups by which the janitor knows them.
            let parent = state.file_name().expect("the sandbox's name");
            let parent = format!("/{}", parent.to_string_lossy());
            command.args(["--network", "none", "--cgroup-parent", &parent]);
        }
        command.args(args);
        command
    }
}
