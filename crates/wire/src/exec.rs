//! Processes that are started in a running container.

use crate::object::object;

object! {
    /// A process to be started: `POST /containers/{id}/exec`.
    pub struct ExecCreate {
        /// `user`, `uid`, `user:group` …; empty for the container's.
        user: String = "User";
        /// It may do all that root on the host may.
        privileged: bool = "Privileged";
        /// It has a terminal.
        tty: bool = "Tty";
        /// The terminal's first size: height and width, in characters.
        console_size: Option<[u32; 2]> = "ConsoleSize" omit;
        /// The client writes to it.
        attach_stdin: bool = "AttachStdin";
        /// The client wants its error output.
        attach_stderr: bool = "AttachStderr";
        /// The client wants its output.
        attach_stdout: bool = "AttachStdout";
        /// The keys that detach the client.
        detach_keys: String = "DetachKeys";
        /// Variables beside the container's.
        env: Vec<String> = "Env" null;
        /// Where it starts; empty for the container's.
        working_dir: String = "WorkingDir";
        /// The command.
        cmd: Vec<String> = "Cmd" null;
    }

    /// How an exec is started: `POST /exec/{id}/start`.
    pub struct ExecStart {
        /// Nobody is attached.
        detach: bool = "Detach";
        /// It has a terminal.
        tty: bool = "Tty";
        /// The terminal's first size: height and width, in characters.
        console_size: Option<[u32; 2]> = "ConsoleSize" omit;
    }

    /// An exec as it is: `GET /exec/{id}/json`.
    pub struct ExecInspect {
        /// Its ID.
        id: String = "ID";
        /// It runs.
        running: bool = "Running";
        /// How it ended; `None` while it has not.
        exit_code: Option<i64> = "ExitCode";
        /// What it runs.
        process_config: ProcessConfig = "ProcessConfig";
        /// Its input is open.
        open_stdin: bool = "OpenStdin";
        /// Its error output is open.
        open_stderr: bool = "OpenStderr";
        /// Its output is open.
        open_stdout: bool = "OpenStdout";
        /// It can be removed.
        can_remove: bool = "CanRemove";
        /// The container's ID.
        container_id: String = "ContainerID";
        /// The keys that detach a client, as bytes.
        detach_keys: String = "DetachKeys";
        /// Its process ID on the host; 0 when it does not run.
        pid: i64 = "Pid";
    }

    /// What an exec runs.
    pub struct ProcessConfig {
        /// It has a terminal.
        tty: bool = "tty";
        /// The program.
        entrypoint: String = "entrypoint";
        /// Its arguments.
        arguments: Vec<String> = "arguments";
        /// It may do all that root on the host may.
        privileged: Option<bool> = "privileged" omit;
        /// The user; empty for the container's.
        user: String = "user" omit;
    }
}
