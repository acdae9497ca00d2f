//! What a start needs of the file system: the container's files, its shared memory, its log, and
//! the specification of what is to run. All of it blocks.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_config::Live;
use berth_ctrd::{FifoSet, Streams};
use berth_logs::{LogConfig, Logger, Subject};
use berth_spec::modes::Mode;
use berth_spec::{BindMount, Devices, Inputs, User};

use super::handle::View;
use super::record::{Files, Record};
use crate::files::Resolving;
use crate::network::{self, Plan};
use crate::shared::Shared;
use crate::tree::Root;
use crate::{Error, Result, files, mounts, shm};

/// What the preparation gives.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The OCI specification as JSON.
    pub(crate) spec: Vec<u8>,
    pub(crate) fifos: FifoSet,
    /// Our ends of the FIFOs.
    pub(crate) streams: Streams,
    pub(crate) logger: Option<Logger>,
}

/// What a container gets from outside itself: namespaces, files, shared memory.
#[derive(Debug)]
pub(crate) struct Surroundings {
    files: FileSources,
    netns: Option<PathBuf>,
    pidns: Option<PathBuf>,
    ipcns: Option<PathBuf>,
    shm: Option<PathBuf>,
}

/// Whose hosts, resolv.conf and hostname files the container shows.
#[derive(Debug)]
enum FileSources {
    /// Its own.
    Own(Resolving),
    /// Those of the container whose network it joined.
    Of(Files),
}

impl Surroundings {
    /// Looks up what `record` joins; nothing blocks, nothing is made.
    ///
    /// # Errors
    /// Docker's words for a container that there is not, does not run, or does not share.
    pub(crate) fn of(plan: &Plan, shared: &Shared, record: &Record) -> Result<Surroundings> {
        let namespace =
            |pid: u32, kind: &str| Some(PathBuf::from(format!("/proc/{pid}/ns/{kind}")));
        let netns = match plan {
            Plan::Host => None,
            Plan::Joined { netns, .. } => Some(netns.clone()),
            Plan::None | Plan::Bridges(_) => Some(shared.net.netns_path(&record.id)),
        };
        let pidns = match Mode::of(&record.host.pid_mode) {
            Mode::Container(other) => namespace(donor(shared, other, "PID")?.run.pid, "pid"),
            _ => None,
        };
        let (ipcns, shm) = match Mode::of(&record.host.ipc_mode) {
            Mode::Container(other) => {
                let donor = donor(shared, other, "IPC")?;
                if donor.record.host.ipc_mode != shm::SHAREABLE {
                    return Err(Error::invalid(format!(
                        "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                        donor.record.id
                    )));
                }
                (
                    namespace(donor.run.pid, "ipc"),
                    Some(shm::path(shared, &donor.record.id)),
                )
            }
            Mode::Named(shm::SHAREABLE) => (None, Some(shm::path(shared, &record.id))),
            _ => (None, None),
        };
        let files = match plan {
            Plan::Joined { of, .. } => FileSources::Of(shared.files(&of.record.id)?),
            Plan::Host => FileSources::Own(Resolving::AsHost),
            plan if plan.has_dns() => FileSources::Own(Resolving::Internal),
            _ => FileSources::Own(Resolving::External),
        };
        Ok(Surroundings {
            files,
            netns,
            pidns,
            ipcns,
            shm,
        })
    }
}

/// The container whose namespace another one wants to join.
fn donor(shared: &Shared, other: &str, what: &str) -> Result<Arc<View>> {
    network::running(shared, other, |view| {
        let id = &view.record.id;
        format!("failed to join {what} namespace: container {id} is not running")
    })
}

/// Writes and opens what the container needs. Blocks.
pub(crate) fn prepare(
    shared: &Shared,
    record: &Record,
    live: &Live,
    surroundings: &Surroundings,
) -> Result<Prepared> {
    let files = shared.files(&record.id)?;
    if let FileSources::Own(resolving) = surroundings.files {
        let host_network = resolving == Resolving::AsHost;
        files::write_resolv_conf(&files, record, live, resolving)?;
        files::write_hostname(&files, record)?;
        files::write_hosts(&files, record, live, shared, host_network, &[])?;
    }
    if record.host.ipc_mode == shm::SHAREABLE {
        shm::mount(shared, record)?;
    }
    let mounts = all_mounts(shared, &files, record, &surroundings.files)?;
    let edits = berth_spec::fulfil(&record.host, live.cdi_spec_dirs.as_deref());
    let edits = edits.map_err(Error::from_lower)?;
    let spec = with_inputs(shared, record, live, surroundings, &mounts, |inputs| {
        let mut spec = berth_spec::build(inputs).map_err(Error::from_lower)?;
        edits.apply(&mut spec, |path| has_own_mount(record, &mounts, path));
        berth_spec::encode(&spec).map_err(Error::from_lower)
    })?;
    let directory = shared.io_dir(&record.id);
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory);
    made.map_err(|error| Error::internal(format!("mkdir {}: {error}", directory.display())))?;
    let fifos = FifoSet::new(
        &directory,
        "init",
        record.config.open_stdin,
        record.config.tty,
    );
    let streams = fifos.create().map_err(Error::from_lower)?;
    Ok(Prepared {
        spec,
        fifos,
        streams,
        logger: open_log(&files, record)?,
    })
}

/// What a client mounts itself no device mounts over.
fn has_own_mount(record: &Record, mounts: &[BindMount], path: &Path) -> bool {
    let tmpfs = record.host.tmpfs.keys();
    let of_mounts = record.host.mounts.iter();
    let of_mounts = of_mounts.filter(|mount| mount.kind == "tmpfs");
    let tmpfs = tmpfs.chain(of_mounts.map(|mount| &mount.target));
    let binds = mounts.iter().map(|mount| mount.destination.as_path());
    tmpfs.map(Path::new).chain(binds).any(|own| own == path)
}

/// The process of an exec in a running container, as JSON. Blocks.
pub(crate) fn exec_process(
    shared: &Shared,
    record: &Record,
    live: &Live,
    request: &berth_wire::ExecCreate,
    size: Option<[u32; 2]>,
) -> Result<Vec<u8>> {
    let user = match request.user.as_str() {
        "" => None,
        name => Some(resolve_user(shared, record, name)?),
    };
    let exec = berth_spec::Exec {
        args: &request.cmd,
        env: &request.env,
        working_dir: &request.working_dir,
        user: user.as_ref(),
        tty: request.tty,
        console_size: size,
        privileged: request.privileged,
    };
    let surroundings = Surroundings {
        files: FileSources::Own(Resolving::External),
        netns: None,
        pidns: None,
        ipcns: None,
        shm: None,
    };
    with_inputs(shared, record, live, &surroundings, &[], |inputs| {
        let process = berth_spec::exec_process(inputs, &exec).map_err(Error::from_lower)?;
        berth_spec::encode_process(&process).map_err(Error::from_lower)
    })
}

fn all_mounts(
    shared: &Shared,
    own: &Files,
    record: &Record,
    sources: &FileSources,
) -> Result<Vec<BindMount>> {
    mounts::ensure_sources(&record.mounts)?;
    let mut all = mounts::bound(shared, record, &record.id);
    let files = match sources {
        FileSources::Own(_) => own,
        FileSources::Of(others) => others,
    };
    let places = [
        (files.resolv_conf(), "/etc/resolv.conf"),
        (files.hostname(), "/etc/hostname"),
        (files.hosts(), "/etc/hosts"),
    ];
    for (source, destination) in places {
        // A client's own mount in that place wins.
        if source.exists()
            && !all
                .iter()
                .any(|bind| bind.destination == Path::new(destination))
        {
            all.push(BindMount {
                source,
                destination: destination.into(),
                readonly: record.host.readonly_rootfs,
                ..Default::default()
            });
        }
    }
    Ok(all)
}

/// Looks up users, devices and limits, and hands everything to `work`.
fn with_inputs<T>(
    shared: &Shared,
    record: &Record,
    live: &Live,
    surroundings: &Surroundings,
    mounts: &[BindMount],
    work: impl FnOnce(&Inputs<'_>) -> Result<T>,
) -> Result<T> {
    let user = resolve_user(shared, record, &record.config.user)?;
    let devices = Devices::resolve(&record.host).map_err(Error::from_lower)?;
    let limit = |limit: &berth_config::Ulimit| berth_wire::Ulimit {
        name: limit.name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    };
    let ulimits: Vec<_> = live.ulimits.iter().map(limit).collect();
    let init = files::init_binary(live);
    work(&Inputs {
        id: &record.id,
        config: &record.config,
        host: &record.host,
        hostname: record.hostname(),
        domainname: &record.config.domainname,
        user: &user,
        netns: surroundings.netns.as_deref(),
        pidns: surroundings.pidns.as_deref(),
        ipcns: surroundings.ipcns.as_deref(),
        shm: surroundings.shm.as_deref(),
        mounts,
        devices: &devices,
        facts: &shared.facts,
        init_default: live.user.init,
        init_binary: init.as_deref(),
        cgroup_parent: &live.user.cgroup_parent,
        systemd_cgroup: live.cgroup_driver == berth_config::CgroupDriver::Systemd,
        no_new_privileges: live.user.no_new_privileges,
        default_ulimits: &ulimits,
        seccomp_default: live.seccomp.as_deref(),
        rootfs_path: "rootfs",
    })
}

/// The user, looked up in the root file system as it is.
pub(crate) fn resolve_user(shared: &Shared, record: &Record, name: &str) -> Result<User> {
    let root = Root::of(shared, record)?;
    User::resolve(name, &record.host.group_add, &root).map_err(Error::from_lower)
}

/// Opens the container's log; `None` when it keeps none. Blocks.
pub(crate) fn open_log(files: &Files, record: &Record) -> Result<Option<Logger>> {
    let wanted = &record.host.log_config;
    let config = LogConfig::parse(&wanted.kind, &wanted.config).map_err(Error::from_lower)?;
    if config == LogConfig::None {
        return Ok(None);
    }
    let subject = Subject {
        id: &record.id,
        name: &record.name,
        image_id: &record.image,
        image_name: &record.config.image,
        command: record.command(),
        env: &record.config.env,
        labels: Some(&record.config.labels),
    };
    let logger = Logger::open(&config, &files.log(record), &subject);
    logger
        .map(Some)
        .map_err(|error| Error::from_lower(error).context("failed to initialize logging driver"))
}
