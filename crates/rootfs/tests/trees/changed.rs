//! What a container has changed.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use berth_rootfs::{ChangeKind, Unpacking, View, Written, changes, pack_changes, unpack};
use rustix::fs::XattrFlags;

use crate::world::World;

/// The view's root as a path, to write to it as a container would.
fn inside(view: &View) -> PathBuf {
    format!("/proc/self/fd/{}", view.root().as_raw_fd()).into()
}

/// The same whether the upper directory is looked at or all of the tree.
fn told(world: &World) -> Vec<String> {
    let upper = told_of(world, &Written::Upper(world.path("upper")));
    let whole = View::open(&world.sealed(), &[], &world.over()).expect("view");
    let mut same = told_of(world, &Written::Whole(whole));
    // What is gone from a directory is told first there.
    let path = |line: &String| line[2..].to_owned();
    same.sort_by_key(path);
    let mut sorted = upper.clone();
    sorted.sort_by_key(path);
    assert_eq!(same, sorted);
    upper
}

fn told_of(world: &World, written: &Written) -> Vec<String> {
    let image = View::of_dir(&world.path("lower")).expect("image");
    let changes = changes(written, Some(&image)).expect("changes");
    let told = |change: berth_rootfs::Change| {
        let kind = match change.kind {
            ChangeKind::Modified => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        };
        format!("{kind} {}", change.path.display())
    };
    changes.into_iter().map(told).collect()
}

fn world() -> World {
    let world = World::new();
    for name in [
        "etc/kept",
        "etc/gone",
        "etc/sub/a",
        "old/x",
        "old/y",
        "bin/tool",
    ] {
        world.put(name, name);
    }
    world
}

#[test]
fn changes_are_told_as_docker_diff_tells_them() {
    let world = world();
    let view = View::open(&world.base(), &[], &world.over()).expect("view");
    let root = inside(&view);
    fs::remove_file(root.join("etc/gone")).expect("rm");
    fs::write(root.join("etc/sub/a"), "other").expect("write");
    fs::write(root.join("etc/new"), "new").expect("write");
    fs::create_dir(root.join("etc/dir")).expect("mkdir");
    fs::write(root.join("etc/dir/file"), "new").expect("write");
    // What comes and goes is no change, nor is a directory that it went through.
    fs::write(root.join("bin/passing"), "x").expect("write");
    fs::remove_file(root.join("bin/passing")).expect("rm");
    let expected = [
        "C /etc",
        "A /etc/dir",
        "A /etc/dir/file",
        "D /etc/gone",
        "A /etc/new",
        "C /etc/sub",
        "C /etc/sub/a",
    ];
    assert_eq!(told(&world), expected);
    // A directory that is made anew hides all of the old one.
    fs::remove_dir_all(root.join("old")).expect("rm");
    fs::create_dir(root.join("old")).expect("mkdir");
    fs::write(root.join("old/y"), "another").expect("write");
    let told = told(&world);
    assert_eq!(&told[7..], ["C /old", "D /old/x", "C /old/y"]);
}

#[test]
fn capabilities_and_owners_are_changes() {
    let world = world();
    let view = View::open(&world.base(), &[], &world.over()).expect("view");
    let root = inside(&view);
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tool = root.join("bin/tool");
    rustix::fs::setxattr(
        &tool,
        "security.capability",
        capability,
        XattrFlags::empty(),
    )
    .expect("setxattr");
    std::os::unix::fs::chown(root.join("old"), Some(7), Some(7)).expect("chown");
    assert_eq!(told(&world), ["C /bin", "C /bin/tool", "C /old"]);
}

/// The layer on top of the image is the container.
#[test]
fn a_layer_holds_the_changes() {
    let world = world();
    let view = View::open(&world.base(), &[], &world.over()).expect("view");
    let root = inside(&view);
    fs::remove_dir_all(root.join("old")).expect("rm");
    fs::create_dir(root.join("old")).expect("mkdir");
    fs::write(root.join("old/y"), "another").expect("write");
    fs::write(root.join("etc/new"), "new").expect("write");
    fs::hard_link(root.join("etc/new"), root.join("etc/twin")).expect("link");
    symlink("/nowhere", root.join("link")).expect("symlink");
    let image = View::of_dir(&world.path("lower")).expect("image");
    let mut layer = Vec::new();
    let written = Written::Upper(world.path("upper"));
    pack_changes(&written, Some(&image), &mut layer).expect("layer");
    let whole = View::open(&world.sealed(), &[], &world.over()).expect("view");
    let mut same = Vec::new();
    pack_changes(&Written::Whole(whole), Some(&image), &mut same).expect("layer");
    assert_eq!(same, layer);
    let unpacked = world.path("unpacked");
    fs::create_dir(&unpacked).expect("mkdir");
    let into = View::of_dir(&unpacked).expect("view");
    unpack(&into, Path::new("/"), &layer[..], Unpacking::default()).expect("unpack");
    let read = |name: &str| fs::read_to_string(unpacked.join(name)).expect(name);
    assert_eq!(
        (read("old/y"), read("etc/twin")),
        ("another".into(), "new".into())
    );
    assert_eq!(read("old/.wh.x"), "");
    assert!(!unpacked.join("etc/kept").exists(), "it is the image's");
    assert!(fs::symlink_metadata(unpacked.join("link")).is_ok());
}
