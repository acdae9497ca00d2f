//! Layers to make trees of.

use std::fs;
use std::path::{Path, PathBuf};

use berth_rootfs::{Base, Layer};

/// A folder with an overlay's directories and a place to mount over.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["lower", "upper", "work", "over", "outside"] {
            fs::create_dir(folder.path().join(name)).expect("mkdir");
        }
        fs::write(folder.path().join("outside/secret"), "secret").expect("write");
        World { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn over(&self) -> PathBuf {
        self.path("over")
    }

    /// A file of the image.
    pub(crate) fn put(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path("lower").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, contents).expect("write");
        path
    }

    /// The overlay as containerd tells it.
    pub(crate) fn overlay(&self, lower: &[PathBuf]) -> Base {
        let lower: Vec<_> = lower.iter().map(|l| l.display().to_string()).collect();
        Base::Snapshot(vec![Layer {
            kind: "overlay".into(),
            source: "overlay".into(),
            options: vec![
                "index=off".into(),
                format!("workdir={}", self.path("work").display()),
                format!("upperdir={}", self.path("upper").display()),
                format!("lowerdir={}", lower.join(":")),
            ],
        }])
    }

    /// The same, only to read, so that it may be mounted beside one that is written to.
    pub(crate) fn sealed(&self) -> Base {
        let Base::Snapshot(mut layers) = self.base() else {
            panic!("no snapshot");
        };
        layers.iter_mut().for_each(Layer::seal);
        Base::Snapshot(layers)
    }

    pub(crate) fn base(&self) -> Base {
        self.overlay(&[self.path("lower")])
    }
}

/// What this process sees mounted.
pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("mountinfo")
}

/// What a path in a tree contains, read through the kernel's link to the tree.
pub(crate) fn read(view: &berth_rootfs::View, path: &str) -> String {
    let file = view
        .open_at(Path::new(path), rustix::fs::OFlags::RDONLY)
        .expect("open");
    std::io::read_to_string(fs::File::from(file)).expect("read")
}
