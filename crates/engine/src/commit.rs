//! What a container has changed, and images made of it.

use std::path::Path;
use std::sync::Arc;

use berth_images::Commit;
use berth_reference::Reference;
use berth_rootfs::{Change, Naming, Walk};
use berth_wire as wire;
use rustix::fs::OFlags;

use crate::archive::{ByteStream, produce};
use crate::changed::Changed;
use crate::container::handle::{Handle, Wish};
use crate::container::record::Status;
use crate::shared::{Shared, blocking};
use crate::tree::{self, Access, Shown};
use crate::{Error, Result, create, fault};

/// How an image is made of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// What the image is called; dangling where not given.
    pub reference: Option<Reference>,
    /// Who made it; as its parent says where empty.
    pub author: String,
    /// What to say of it in its history.
    pub comment: String,
    /// Dockerfile instructions for its configuration.
    pub changes: Vec<String>,
    /// Its configuration, which the container's completes.
    pub config: Option<wire::ContainerConfig>,
}

/// What differs between a container and its image.
pub(crate) async fn changes(shared: Arc<Shared>, handle: Arc<Handle>) -> Result<Vec<Change>> {
    let changed = Changed::of(&shared, &handle).await?;
    blocking(move || changed.list()).await
}

/// The container's root file system as an archive.
pub(crate) async fn export(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    name: &str,
) -> Result<ByteStream> {
    tree::check_there(&handle, "export")?;
    let failed = format!("Error exporting container {name}");
    let (view, walk) = {
        let (shared, handle) = (shared.clone(), handle.clone());
        let opened = blocking(move || {
            let view = tree::open(&shared, &handle, Shown::RootOnly, Access::Read, None)?;
            let root = view.open_at(Path::new("/"), OFlags::PATH | OFlags::DIRECTORY);
            Ok((view, Walk::new(root.map_err(Error::from_lower)?)))
        });
        opened.await.map_err(|error| error.context(failed))?
    };
    let record = handle.view().record.clone();
    produce(move |out| {
        let _view = view;
        berth_rootfs::pack(walk, &Naming::Relative, out)?;
        shared.events.container(&record, "export", &[]);
        Ok(())
    })
}

/// Makes an image of the container; its id. Dropping the future leaves nothing.
pub(crate) async fn commit(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    options: CommitOptions,
) -> Result<String> {
    tree::check_there(&handle, "commit")?;
    let record = handle.view().record.clone();
    let mut config = options.config.unwrap_or_else(|| record.config.clone());
    create::merge(&mut config, &image_config(&record.config));
    let mut commit = Commit {
        parent: record.image.clone(),
        config: image_config(&config),
        changes: options.changes,
        author: options.author,
        comment: options.comment.clone(),
        created_by: record.config.cmd.clone().unwrap_or_default().join(" "),
        reference: options.reference.clone(),
    };
    commit.apply_changes().map_err(Error::from_lower)?;
    let paused = match options.pause {
        true => Paused::pause(&handle).await,
        false => None,
    };
    fault::point("commit:frozen");
    let committed = layered(&shared, &handle, commit).await;
    fault::point("commit:made");
    if let Some(paused) = paused {
        paused.resume().await;
    }
    let id = committed?;
    let reference = options.reference.map(|reference| reference.familiar());
    shared.events.container(
        &record,
        "commit",
        &[
            ("comment", options.comment),
            ("imageID", id.clone()),
            ("imageRef", reference.unwrap_or_default()),
        ],
    );
    Ok(id)
}

async fn layered(shared: &Arc<Shared>, handle: &Arc<Handle>, commit: Commit) -> Result<String> {
    let changed = Arc::new(Changed::of(shared, handle).await?);
    let list = {
        let changed = changed.clone();
        blocking(move || changed.list()).await?
    };
    let layer = match list.is_empty() {
        true => None,
        false => Some(produce(move |out| {
            changed.pack(out)?;
            fault::point("commit:packed");
            Ok(())
        })?),
    };
    let id = shared.images.commit(commit, layer).await;
    id.map(|id| id.to_string()).map_err(Error::from_lower)
}

/// What of a container's configuration an image can have.
fn image_config(config: &wire::ContainerConfig) -> wire::ImageConfig {
    let config = config.clone();
    wire::ImageConfig {
        user: config.user,
        exposed_ports: config.exposed_ports,
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes,
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck,
        on_build: config.on_build,
        shell: config.shell,
    }
}

/// A container that is frozen until this is dropped.
struct Paused(Option<Arc<Handle>>);

impl Paused {
    /// `None` when it does not run, or somebody else has frozen it.
    async fn pause(handle: &Arc<Handle>) -> Option<Paused> {
        if handle.view().run.status != Status::Running {
            return None;
        }
        let paused = Paused(Some(handle.clone()));
        match handle.ask(Wish::Freeze).await {
            Ok(_) => Some(paused),
            Err(error) => {
                tracing::debug!(id = %handle.id(), %error, "pausing a container to commit it");
                paused.keep();
                None
            }
        }
    }

    fn keep(mut self) {
        self.0 = None;
    }

    async fn resume(mut self) {
        if let Some(handle) = self.0.take() {
            resume(handle).await;
        }
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            tokio::spawn(resume(handle));
        }
    }
}

async fn resume(handle: Arc<Handle>) {
    if let Err(error) = handle.ask(Wish::Unpause).await {
        tracing::warn!(id = %handle.id(), %error, "resuming a container after a commit");
    }
}
