//! What a view shows, and that nobody else sees it.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use berth_rootfs::{Base, Bind, Error, View};
use rustix::fs::OFlags;

use crate::world::{World, mounts, read};

fn bind(source: &Path, destination: &str, read_only: bool) -> Bind {
    Bind {
        source: source.to_owned(),
        destination: destination.into(),
        read_only,
        recursive: true,
    }
}

#[test]
fn a_view_shows_layers_and_binds_and_is_in_no_mount_table() {
    let world = World::new();
    world.put("etc/name", "image");
    let before = mounts();
    let binds = [
        bind(&world.path("outside"), "/data/deep", false),
        bind(&world.path("outside/secret"), "/etc/file", true),
    ];
    let view = View::open(&world.base(), &binds, &world.over()).expect("view");
    assert_eq!(mounts(), before);
    assert_eq!(read(&view, "etc/name"), "image");
    assert_eq!(read(&view, "/data/deep/secret"), "secret");
    assert_eq!(read(&view, "/etc/file"), "secret");
    let write = view.open_at(Path::new("/etc/file"), OFlags::WRONLY);
    assert_eq!(
        write.expect_err("read-only").errno(),
        Some(rustix::io::Errno::ROFS)
    );
    assert!(
        world.path("upper/data/deep").is_dir(),
        "the mount point is made"
    );
    assert!(fs::read_dir(world.over()).expect("over").next().is_none());
    // Nothing holds the layers any more: the same ones can be mounted anew, and removed.
    drop(view);
    View::open(&world.base(), &[], &world.over()).expect("view again");
    world.folder.close().expect("nothing is mounted there");
}

#[test]
fn links_and_dots_stay_inside() {
    let world = World::new();
    world.put("etc/passwd", "inside");
    world.put("etc/secret", "inside");
    let lower = world.path("lower");
    symlink("/etc", lower.join("absolute")).expect("symlink");
    symlink("../../../../../../etc", lower.join("dots")).expect("symlink");
    symlink(world.path("outside"), lower.join("host")).expect("symlink");
    let mount_point = bind(&world.path("outside"), "/dots/mounted", false);
    let view = View::open(&world.base(), &[mount_point], &world.over()).expect("view");
    for path in [
        "absolute/passwd",
        "/dots/passwd",
        "../../../etc/passwd",
        "/../absolute/secret",
    ] {
        assert_eq!(read(&view, path), "inside", "{path}");
    }
    assert_eq!(read(&view, "/etc/mounted/secret"), "secret");
    let host = view.open_at(Path::new("/host/secret"), OFlags::RDONLY);
    assert_eq!(
        host.expect_err("outside").errno(),
        Some(rustix::io::Errno::NOENT)
    );
}

#[test]
fn an_image_of_hundreds_of_layers_is_mounted() {
    let world = World::new();
    let layers: Vec<_> = (0..200)
        .map(|n| {
            let layer = world.path(&format!("layers/a-long-name-for-a-directory/{n}/fs"));
            fs::create_dir_all(&layer).expect("mkdir");
            fs::write(layer.join(format!("file-{n}")), "x").expect("write");
            layer
        })
        .collect();
    let view = View::open(&world.overlay(&layers), &[], &world.over()).expect("view");
    assert_eq!(read(&view, "file-0"), "x");
    assert_eq!(read(&view, "file-199"), "x");
}

#[test]
fn a_process_is_seen_without_its_mounts_and_whatever_it_made_its_root() {
    let world = World::new();
    let outside = world.path("outside").display().to_string();
    let script = "mount -t tmpfs tmpfs \"$0\" && \
        exec perl -e '$|=1; chroot $ARGV[0] or die; print \"ready\\n\"; <STDIN>' \"$0\"";
    let mut process = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, &outside])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut ready = [0; 5];
    let mut stdout = process.stdout.take().expect("stdout");
    stdout.read_exact(&mut ready).expect("it is ready");
    let base = Base::Process(process.id());
    let view = View::open(&base, &[], &world.over()).expect("view");
    assert_eq!(read(&view, &format!("{outside}/secret")), "secret");
    process.kill().expect("kill");
    process.wait().expect("wait");
    let gone = View::open(&base, &[], &world.over());
    assert!(matches!(gone, Err(Error::Ended)), "{gone:?}");
}

#[test]
fn a_sealed_overlay_shows_the_same_and_takes_no_writes() {
    let world = World::new();
    world.put("etc/gone", "image");
    world.put("etc/kept", "image");
    let open = View::open(&world.base(), &[], &world.over()).expect("view");
    let root = format!("/proc/self/fd/{}", open.root().as_raw_fd());
    fs::remove_file(format!("{root}/etc/gone")).expect("rm");
    fs::write(format!("{root}/etc/new"), "new").expect("write");
    let Base::Snapshot(mut layers) = world.base() else {
        panic!("a snapshot")
    };
    layers[0].seal();
    let base = Base::Snapshot(layers);
    let sealed = View::open(&base, &[], &world.over()).expect("view");
    assert_eq!(
        read(&sealed, "etc/new") + &read(&sealed, "etc/kept"),
        "newimage"
    );
    let errno = |path: &str, flags| {
        let opened = sealed.open_at(Path::new(path), flags);
        opened.expect_err(path).errno()
    };
    assert_eq!(
        errno("etc/gone", OFlags::RDONLY),
        Some(rustix::io::Errno::NOENT)
    );
    assert_eq!(
        errno("etc/new", OFlags::WRONLY),
        Some(rustix::io::Errno::ROFS)
    );
    let missing = [bind(&world.path("outside"), "/data", false)];
    let refused = View::open(&base, &missing, &world.over()).expect_err("no mount point");
    assert_eq!(refused.errno(), Some(rustix::io::Errno::ROFS));
}
