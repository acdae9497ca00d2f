//! Trees packed and unpacked, by friends and enemies.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use berth_rootfs::{Naming, Unpacking, View, Walk, pack, unpack};
use proptest::prelude::*;
use rustix::fs::{CWD, OFlags, XattrFlags};

use crate::world::World;

const ALL: Unpacking = Unpacking {
    keep_kinds: false,
    owner: None,
};

fn packed(tree: &Path, naming: &Naming) -> Vec<u8> {
    let view = View::of_dir(tree).expect("view");
    let root = view.open_at(Path::new("/"), OFlags::PATH).expect("root");
    let mut out = Vec::new();
    pack(Walk::new(root), naming, &mut out).expect("pack");
    out
}

/// Everything below a directory: what it is and what it holds.
fn listing(tree: &Path) -> BTreeMap<PathBuf, (u32, i64, String)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(path) = waiting.pop() {
        let stat = fs::symlink_metadata(&path).expect("stat");
        let contents = if stat.is_symlink() {
            fs::read_link(&path).expect("link").display().to_string()
        } else if stat.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .expect("dir")
                    .map(|e| e.expect("entry").path()),
            );
            String::new()
        } else {
            fs::read_to_string(&path).unwrap_or_default()
        };
        let name = path.strip_prefix(tree).expect("below").to_owned();
        if name != Path::new("") {
            found.insert(name, (stat.mode(), stat.mtime(), contents));
        }
    }
    found
}

/// An archive of one entry, whose names are taken as they are.
fn entry(kind: tar::EntryType, name: &[u8], link: &[u8], contents: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(contents.len() as u64);
    let fields = header.as_ustar_mut().expect("ustar");
    fields.name[..name.len()].copy_from_slice(name);
    fields.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(contents);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn world() -> (World, View) {
    let world = World::new();
    world.put("tmp/here", "here");
    let view = View::of_dir(&world.path("lower")).expect("view");
    (world, view)
}

#[test]
fn what_is_packed_is_unpacked() {
    let (world, view) = world();
    let from = world.path("from");
    let long = "n".repeat(120);
    fs::create_dir_all(from.join(&long)).expect("mkdir");
    let file = from.join(&long).join("a file");
    fs::write(&file, vec![b'x'; 700_000]).expect("write");
    fs::hard_link(&file, from.join("z other")).expect("link");
    symlink(format!("/{}", "t".repeat(200)), from.join("link")).expect("symlink");
    std::os::unix::fs::chown(&file, Some(3_000_000), Some(5)).expect("chown");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).expect("chmod");
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(
        &file,
        "security.capability",
        capability,
        XattrFlags::empty(),
    )
    .expect("setxattr");
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).expect("socket");
    let archive = packed(&from, &Naming::Relative);
    unpack(&view, Path::new("/tmp"), &archive[..], ALL).expect("unpack");
    let into = world.path("lower/tmp");
    let mut expected = listing(&from);
    expected.remove(Path::new("socket"));
    let mut found = listing(&into);
    found.remove(Path::new("here"));
    assert_eq!(found, expected);
    let file = into.join(&long).join("a file");
    let stat = fs::metadata(&file).expect("stat");
    assert_eq!((stat.uid(), stat.gid(), stat.nlink()), (3_000_000, 5, 2));
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(&file, "security.capability", &mut value[..]);
    assert_eq!(&value[..length.expect("capability")], capability);
}

#[test]
fn entries_are_named_as_dockerd_names_them() {
    let (world, _) = world();
    let names = |naming: &Naming| {
        let archive = packed(&world.path("lower"), naming);
        let mut archive = tar::Archive::new(&archive[..]);
        let name = |entry: std::io::Result<tar::Entry<'_, _>>| {
            String::from_utf8_lossy(&entry.expect("entry").path_bytes()).into_owned()
        };
        archive
            .entries()
            .expect("entries")
            .map(name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&Naming::Relative), ["tmp/", "tmp/here"]);
    assert_eq!(
        names(&Naming::Under("x".into())),
        ["x/", "x/tmp/", "x/tmp/here"]
    );
    assert_eq!(
        names(&Naming::Under("".into())),
        ["/", "/tmp/", "/tmp/here"]
    );
    assert_eq!(
        names(&Naming::Under(".".into())),
        ["./", "./tmp/", "./tmp/here"]
    );
}

#[test]
fn a_tar_command_reads_what_is_packed() {
    let (world, _) = world();
    let long = world.path(&format!("lower/{}", "d".repeat(150)));
    fs::create_dir(&long).expect("mkdir");
    let sparse = fs::File::create(long.join("sparse")).expect("create");
    sparse.set_len(3 << 20).expect("truncate");
    let mut tar = std::process::Command::new("tar")
        .args(["-tvf", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("tar");
    let archive = packed(&world.path("lower"), &Naming::Relative);
    let mut stdin = tar.stdin.take().expect("stdin");
    stdin.write_all(&archive).expect("write");
    drop(stdin);
    let told = tar.wait_with_output().expect("tar");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains(&format!("{}/sparse", "d".repeat(150))),
        "{told}"
    );
    assert!(told.contains("3145728"), "{told}");
}

#[test]
fn hostile_archives_stay_inside() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let (world, view) = world();
    let outside = world.path("outside").display().to_string();
    let secret = format!("{outside}/secret");
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        (
            "dots",
            vec![entry(Regular, b"../../../../outside/a", b"", b"x")],
        ),
        (
            "absolute",
            vec![entry(Regular, format!("{outside}/a").as_bytes(), b"", b"x")],
        ),
        (
            "through a link",
            vec![
                entry(Symlink, b"l", outside.as_bytes(), b""),
                entry(Regular, b"l/a", b"", b"x"),
            ],
        ),
        (
            "through dots in a link",
            vec![
                entry(Symlink, b"l", b"../../../../../..", b""),
                entry(Regular, format!("l{outside}/a").as_bytes(), b"", b"x"),
            ],
        ),
        (
            "a hard link to outside",
            vec![
                entry(Link, b"h", secret.as_bytes(), b""),
                entry(Regular, b"h", b"", b"x"),
            ],
        ),
        (
            "a directory over a link",
            vec![
                entry(Symlink, b"d", outside.as_bytes(), b""),
                entry(Directory, b"d", b"", b""),
                entry(Regular, b"d/a", b"", b"x"),
            ],
        ),
        (
            "a file over a link",
            vec![
                entry(Symlink, b"f", secret.as_bytes(), b""),
                entry(Regular, b"f", b"", b"x"),
            ],
        ),
    ];
    for (case, entries) in cases {
        let archive = entries.concat();
        let _ = unpack(&view, Path::new("/tmp"), &archive[..], ALL);
        let left: Vec<_> = listing(&world.path("outside")).into_keys().collect();
        assert_eq!(left, [PathBuf::from("secret")], "{case}");
        let secret = fs::read_to_string(world.path("outside/secret")).expect("read");
        assert_eq!(secret, "secret", "{case}");
    }
}

#[test]
fn what_leads_out_is_told_as_dockerd_tells_it() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let (world, view) = world();
    fs::create_dir(world.path("lower/tmp/dir")).expect("mkdir");
    let keep = Unpacking {
        keep_kinds: true,
        owner: None,
    };
    let told = |entry: Vec<u8>| {
        unpack(&view, Path::new("/tmp"), &entry[..], keep)
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        told(entry(Regular, b"../x", b"", b"")),
        r#""../x" is outside of "/tmp""#
    );
    assert_eq!(
        told(entry(Symlink, b"l", b"../../x", b"")),
        r#"invalid symlink "/tmp/l" -> "../../x""#
    );
    assert!(told(entry(Link, b"l", b"../x", b"")).starts_with("invalid hardlink"));
    assert_eq!(
        told(entry(Regular, b"dir", b"", b"")),
        r#"cannot overwrite directory "/tmp/dir" with non-directory "/tmp""#
    );
    assert_eq!(
        told(entry(Directory, b"here", b"", b"")),
        r#"cannot overwrite non-directory "/tmp/here" with directory "/tmp""#
    );
    let mut cut = entry(Regular, b"cut", b"", &[b'x'; 2000]);
    cut.truncate(1000);
    unpack(&view, Path::new("/tmp"), &cut[..], ALL).expect_err("cut off");
    let gigabytes = std::io::repeat(b'x');
    let mut endless = tar::Header::new_ustar();
    endless.set_entry_type(tar::EntryType::XHeader);
    endless.set_size(1 << 33);
    endless.set_cksum();
    let endless = std::io::Read::chain(&endless.as_bytes()[..], gigabytes);
    unpack(&view, Path::new("/tmp"), endless, ALL).expect_err("too much of a header");
}

/// A container that swaps the directory that is unpacked into for a link out of it.
#[test]
fn a_tree_that_changes_meanwhile_is_not_left() {
    let (world, view) = world();
    let (dir, away) = (world.path("lower/tmp/dir"), world.path("lower/tmp/away"));
    fs::create_dir(&dir).expect("mkdir");
    symlink(world.path("outside"), &away).expect("symlink");
    let archive: Vec<u8> = (0..20)
        .flat_map(|n| {
            entry(
                tar::EntryType::Regular,
                format!("dir/{n}").as_bytes(),
                b"",
                b"x",
            )
        })
        .collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(CWD, &dir, CWD, &away, exchange);
            }
        });
        for _ in 0..200 {
            let _ = unpack(&view, Path::new("/tmp"), &archive[..], ALL);
        }
        over.store(true, Ordering::Relaxed);
    });
    let left: Vec<_> = listing(&world.path("outside")).into_keys().collect();
    assert_eq!(left, [PathBuf::from("secret")]);
}

/// A name of a file, or something that would be one.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        "\\PC{1,6}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let parts = prop::collection::vec(part(), 0..5);
    (any::<bool>(), parts).prop_map(|(absolute, parts)| {
        let path = parts.join("/");
        let path = if absolute { format!("/{path}") } else { path };
        path.chars().filter(|c| *c != '\0').take(24).collect()
    })
}

fn kind() -> impl Strategy<Value = tar::EntryType> {
    prop_oneof![
        Just(tar::EntryType::Regular),
        Just(tar::EntryType::Directory),
        Just(tar::EntryType::Symlink),
        Just(tar::EntryType::Link),
        Just(tar::EntryType::Fifo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_archive_reaches_outside(
        entries in prop::collection::vec((kind(), path(), path(), any::<bool>()), 0..12),
    ) {
        let (world, view) = world();
        let outside = world.path("outside").display().to_string();
        for (kind, name, link, out) in entries {
            let link = if out { outside.clone() } else { link };
            let contents: &[u8] = if kind == tar::EntryType::Regular { b"x" } else { b"" };
            let archive = entry(kind, name.as_bytes(), link.as_bytes(), contents);
            let _ = unpack(&view, Path::new("/tmp"), &archive[..], ALL);
        }
        let left: Vec<_> = listing(&world.path("outside")).into_keys().collect();
        prop_assert_eq!(left, [PathBuf::from("secret")]);
        prop_assert_eq!(fs::read_to_string(world.path("outside/secret")).unwrap(), "secret");
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let (_world, view) = world();
        let _ = unpack(&view, Path::new("/tmp"), &bytes[..], ALL);
    }

    #[test]
    fn a_tree_survives_the_way_through_a_tar(
        files in prop::collection::btree_map("[a-d]{1,3}(/[a-d]{1,3}){0,3}", ("\\PC{0,20}", 0o400..0o777u32), 1..12),
    ) {
        let (world, view) = world();
        let from = world.path("from");
        for (name, (contents, mode)) in &files {
            let path = from.join(name);
            // One may lie where another has a directory.
            let made = fs::create_dir_all(path.parent().unwrap())
                .and_then(|()| fs::write(&path, contents));
            if made.is_ok() {
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
        }
        let archive = packed(&from, &Naming::Under("t".into()));
        unpack(&view, Path::new("/tmp"), &archive[..], ALL).unwrap();
        prop_assert_eq!(listing(&world.path("lower/tmp/t")), listing(&from));
    }
}
