use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, XattrFlags};

use super::*;

/// Three layers under a temporary directory, topmost first: `upper`, `mid`, `low`.
struct Layers {
    dir: tempfile::TempDir,
    root: LayeredRoot,
}

impl Layers {
    fn new() -> Layers {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for name in ["upper", "work", "mid", "low"] {
            fs::create_dir(path(name)).unwrap();
        }
        let options = [
            "index=off".to_owned(),
            format!("workdir={}", path("work")),
            format!("upperdir={}", path("upper")),
            format!("lowerdir={}:{}", path("mid"), path("low")),
        ];
        let mount = SnapshotMount {
            kind: "overlay",
            source: "overlay",
            options: &options,
        };
        let root = LayeredRoot::new(&[mount]).unwrap();
        Layers { dir, root }
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    /// Makes a whiteout; `false` where the test may not.
    fn whiteout(&self, path: &str) -> bool {
        rustix::fs::mknodat(
            CWD,
            self.at(path),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .is_ok()
    }

    /// Marks a directory; `false` where the test may not.
    fn mark(&self, path: &str, name: &str, value: &[u8]) -> bool {
        let path = self.at(path);
        fs::create_dir_all(&path).unwrap();
        let name = format!("trusted.overlay.{name}");
        rustix::fs::setxattr(&path, name, value, XattrFlags::empty()).is_ok()
    }

    fn read(&self, path: &str) -> Option<String> {
        let contents = self.root.read_file(path, 1 << 16).unwrap()?;
        Some(String::from_utf8(contents).unwrap())
    }

    fn errno(&self, path: &str) -> Option<i32> {
        match self.root.read_file(path, 1 << 16).unwrap_err() {
            Error::Rootfs { source, .. } => source.raw_os_error(),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn the_topmost_layer_wins_and_directories_merge() {
    let layers = Layers::new();
    layers.file("low/etc/passwd", "low");
    layers.file("low/etc/group", "low");
    layers.file("mid/etc/passwd", "mid");
    layers.file("upper/etc/new", "upper");
    assert_eq!(layers.read("/etc/passwd").as_deref(), Some("mid"));
    assert_eq!(layers.read("etc//./group").as_deref(), Some("low"));
    assert_eq!(layers.read("/etc/new").as_deref(), Some("upper"));
    assert_eq!(layers.read("/etc/none"), None);
    assert_eq!(layers.read("/etc/passwd/x"), None);
}

#[test]
fn links_never_leave_the_root() {
    let layers = Layers::new();
    layers.file("low/etc/secret", "inside");
    layers.file("secret", "outside");
    layers.link("low/a", "/etc/secret");
    layers.link("low/etc/b", "../../../../../../etc/secret");
    layers.link("low/etc/c", "../../../../secret");
    layers.link("mid/host", "/etc/shadow");
    layers.link("upper/up", "..");
    assert_eq!(layers.read("/a").as_deref(), Some("inside"));
    assert_eq!(layers.read("/etc/b").as_deref(), Some("inside"));
    assert_eq!(layers.read("/etc/c"), None);
    assert_eq!(layers.read("/host"), None);
    assert_eq!(layers.read("/../../secret"), None);
    assert_eq!(layers.read("/up/up/up/secret"), None);
    assert_eq!(
        layers.read("/up/etc/../etc/secret").as_deref(),
        Some("inside")
    );
}

#[test]
fn links_in_the_middle_are_followed_in_the_merged_tree() {
    let layers = Layers::new();
    layers.file("low/usr/etc/passwd", "low");
    layers.file("mid/usr/etc/group", "mid");
    layers.link("upper/etc", "usr/etc");
    assert_eq!(layers.read("/etc/passwd").as_deref(), Some("low"));
    assert_eq!(layers.read("/etc/group").as_deref(), Some("mid"));
}

#[test]
fn loops_end() {
    let layers = Layers::new();
    layers.link("low/a", "b");
    layers.link("mid/b", "/a");
    layers.link("mid/self", "self/self");
    assert_eq!(layers.errno("/a"), Some(Errno::LOOP.raw_os_error()));
    assert_eq!(layers.errno("/self/x"), Some(Errno::LOOP.raw_os_error()));
}

#[test]
fn whiteouts_hide_what_is_below() {
    let layers = Layers::new();
    layers.file("low/etc/passwd", "low");
    layers.file("low/opt/a/b", "low");
    if !layers.whiteout("mid/etc/passwd") || !layers.whiteout("mid/opt") {
        return;
    }
    assert_eq!(layers.read("/etc/passwd"), None);
    assert_eq!(layers.read("/opt/a/b"), None);
    layers.file("upper/opt/a/c", "upper");
    assert_eq!(layers.read("/opt/a/b"), None);
    assert_eq!(layers.read("/opt/a/c").as_deref(), Some("upper"));
}

#[test]
fn opaque_directories_hide_what_is_below() {
    let layers = Layers::new();
    layers.file("low/etc/passwd", "low");
    layers.file("upper/etc/group", "upper");
    if !layers.mark("upper/etc", "opaque", b"y") {
        return;
    }
    assert_eq!(layers.read("/etc/passwd"), None);
    assert_eq!(layers.read("/etc/group").as_deref(), Some("upper"));
    layers.file("low/var/x", "low");
    assert!(layers.mark("upper/var", "opaque", b"n"));
    assert_eq!(layers.read("/var/x").as_deref(), Some("low"));
}

#[test]
fn redirected_directories_are_refused() {
    let layers = Layers::new();
    layers.file("low/etc/passwd", "low");
    if layers.mark("upper/etc", "redirect", b"/a/long/old/name") {
        assert_eq!(
            layers.errno("/etc/passwd"),
            Some(Errno::XDEV.raw_os_error())
        );
    }
}

#[test]
fn a_file_over_a_directory_and_the_reverse() {
    let layers = Layers::new();
    layers.file("low/a/x", "low");
    layers.file("mid/a", "file");
    layers.file("low/b", "file");
    layers.file("upper/b/x", "upper");
    layers.file("low/c/x", "low");
    layers.file("mid/c", "file");
    layers.file("upper/c/y", "upper");
    assert_eq!(layers.read("/a").as_deref(), Some("file"));
    assert_eq!(layers.read("/a/x"), None);
    assert_eq!(layers.read("/b/x").as_deref(), Some("upper"));
    assert_eq!(layers.read("/c/x"), None);
    assert_eq!(layers.read("/c/y").as_deref(), Some("upper"));
}

#[test]
fn only_regular_files_of_a_sane_size_are_read() {
    let layers = Layers::new();
    let fifo = layers.at("low/etc/passwd");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    layers.file("low/big", &"x".repeat(100));
    assert_eq!(
        layers.errno("/etc/passwd"),
        Some(Errno::INVAL.raw_os_error())
    );
    assert_eq!(layers.errno("/etc"), Some(Errno::ISDIR.raw_os_error()));
    assert!(layers.root.read_file("/big", 99).is_err());
    assert_eq!(
        layers.root.read_file("/big", 100).unwrap().unwrap().len(),
        100
    );
}

#[test]
fn metadata_of_files_and_directories() {
    let layers = Layers::new();
    layers.file("low/srv/app/x", "12345");
    layers.link("low/app", "/srv/app");
    let found = layers.root.metadata("/app/x").unwrap().unwrap();
    assert_eq!((found.kind, found.size), (FileType::RegularFile, 5));
    assert_eq!(
        layers.root.metadata("/app").unwrap().unwrap().kind,
        FileType::Directory
    );
    assert_eq!(
        layers.root.metadata("/").unwrap().unwrap().kind,
        FileType::Directory
    );
    assert_eq!(layers.root.metadata("/none").unwrap(), None);
}

#[test]
fn plain_directories_and_what_needs_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), "plain").unwrap();
    let source = dir.path().display().to_string();
    let mount = SnapshotMount {
        kind: "bind",
        source: &source,
        options: &[],
    };
    let root = LayeredRoot::new(&[mount]).unwrap();
    assert_eq!(root.read_file("/x", 10).unwrap().unwrap(), b"plain");
    let erofs = SnapshotMount {
        kind: "erofs",
        ..mount
    };
    assert!(matches!(
        LayeredRoot::new(&[erofs]),
        Err(Error::NeedsMount(_))
    ));
    assert!(matches!(LayeredRoot::new(&[]), Err(Error::NeedsMount(_))));
    let none = SnapshotMount {
        kind: "overlay",
        ..mount
    };
    assert!(matches!(
        LayeredRoot::new(&[none]),
        Err(Error::NeedsMount(_))
    ));
}

#[test]
fn lower_directories_with_colons() {
    let split = split_lower(r"/a\:b:/c\\d:/e");
    assert_eq!(split, ["/a:b", r"/c\d", "/e"].map(PathBuf::from));
}

proptest::proptest! {
    /// Whatever the path, only what is inside is ever found.
    #[test]
    fn no_path_escapes(path in "[a-c./]{0,24}") {
        let layers = Layers::new();
        layers.file("secret", "outside");
        layers.file("low/a/b", "inside");
        layers.link("low/c", "../..");
        layers.link("mid/a/a", "/");
        if let Ok(Some(contents)) = layers.root.read_file(&path, 100) {
            proptest::prop_assert_eq!(contents, b"inside");
        }
    }
}
