//! Copies of trees.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_rootfs::{View, copy};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::world::World;

#[test]
fn a_copy_keeps_all_that_files_are() {
    let world = World::new();
    let file = world.put("data/sub/file", "contents");
    let data = world.path("lower/data");
    fs::hard_link(&file, data.join("other name")).expect("link");
    symlink("/nowhere", data.join("link")).expect("symlink");
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, data.join("pipe"), FileType::Fifo, mode, 0).expect("mknod");
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        CWD,
        data.join("null"),
        FileType::CharacterDevice,
        mode,
        null,
    )
    .expect("mknod");
    std::os::unix::fs::chown(&file, Some(1234), Some(4321)).expect("chown");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).expect("chmod");
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(
        &file,
        "security.capability",
        capability,
        XattrFlags::empty(),
    )
    .expect("setxattr");
    std::os::unix::fs::chown(&data, Some(7), Some(8)).expect("chown");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o1770)).expect("chmod");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
    for path in [&file, &data] {
        let opened = fs::File::open(path).expect("open");
        opened.set_modified(old).expect("set times");
    }
    let view = View::open(&world.base(), &[], &world.over()).expect("view");
    let into = world.path("outside/volume");
    fs::create_dir(&into).expect("mkdir");
    assert!(copy(&view, Path::new("/data"), &into).expect("copy"));
    let of = |name: &str| fs::symlink_metadata(into.join(name)).expect(name);
    let copied = of("sub/file");
    assert_eq!(
        (copied.uid(), copied.gid(), copied.mode() & 0o7777),
        (1234, 4321, 0o4751)
    );
    assert_eq!((copied.mtime(), copied.mtime_nsec()), (1_000_000_000, 5));
    assert_eq!(copied.ino(), of("other name").ino());
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(into.join("sub/file"), "security.capability", &mut value[..]);
    assert_eq!(&value[..length.expect("capability")], capability);
    assert_eq!(
        fs::read_link(into.join("link")).expect("link"),
        Path::new("/nowhere")
    );
    assert!(of("pipe").file_type().is_fifo());
    assert_eq!(of("null").rdev(), null);
    let top = of("");
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (7, 8, 0o1770));
    assert_eq!(top.mtime(), 1_000_000_000);
    assert!(!copy(&view, Path::new("/none"), &into).expect("nothing there"));
}

/// A container that swaps a directory for a link out of it, as fast as it can.
#[test]
fn a_tree_that_changes_meanwhile_is_not_left() {
    let world = World::new();
    world.put("data/inner/secret", "inside");
    world.put("data/z/secret", "inside");
    symlink(world.path("outside"), world.path("lower/data/.away")).expect("symlink");
    let view = View::of_dir(&world.path("lower")).expect("view");
    let data = world.path("lower/data");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (inner, away) = (data.join("inner"), data.join(".away"));
            while !over.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &inner, CWD, &away, exchange).expect("exchange");
            }
        });
        for round in 0..300 {
            let into = world.path(&format!("outside/{round}"));
            fs::create_dir(&into).expect("mkdir");
            let copied = copy(&view, Path::new("/data"), &into);
            let found = fs::read_to_string(into.join("inner/secret"));
            over.store(
                over.load(Ordering::Relaxed) || round == 299,
                Ordering::Relaxed,
            );
            if let (Ok(_), Ok(found)) = (&copied, &found) {
                // Where a link was copied it leads out by itself: that is the container's data.
                let link = fs::symlink_metadata(into.join("inner"))
                    .expect("stat")
                    .is_symlink();
                assert!(
                    link || found == "inside",
                    "read from outside in round {round}"
                );
            }
        }
    });
}
