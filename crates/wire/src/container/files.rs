//! Containers' files: what is at a path, and what has changed.

use crate::object::object;

object! {
    /// What is at a path in a container: the header `X-Docker-Container-Path-Stat`.
    pub struct ContainerPathStat {
        /// The last part of the path.
        name: String = "name";
        /// The size in bytes.
        size: i64 = "size";
        /// Type and permissions as Go's `os.FileMode` has them.
        mode: u32 = "mode";
        /// When it was last changed.
        mtime: String = "mtime" time;
        /// Of a link: where it leads, inside the container.
        link_target: String = "linkTarget";
    }

    /// A path that differs from the image.
    pub struct FilesystemChange {
        /// Absolute, inside the container.
        path: String = "Path";
        /// 0: changed, 1: new, 2: gone.
        kind: i64 = "Kind";
    }

    /// The answer to a commit.
    pub struct CommitResponse {
        /// The new image's ID.
        id: String = "Id";
    }
}
