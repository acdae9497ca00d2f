use std::os::unix::fs::{FileTypeExt, symlink};

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;

/// A tar of members: kind, path, link, content.
fn tar(members: &[(EntryType, &str, &str, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, link, content) in members {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;

/// Where a test puts things; `None`, with a word, for who may not make devices.
fn place() -> Option<tempfile::TempDir> {
    let place = tempfile::tempdir().unwrap();
    let probe = place.path().join("probe");
    std::fs::write(&probe, "").unwrap();
    match rustix::fs::setxattr(&probe, OPAQUE, b"y", XattrFlags::empty()) {
        Ok(()) => Some(place),
        Err(error) => {
            eprintln!("not tested: no right to mark directories: {error}");
            None
        }
    }
}

#[test]
fn what_lower_layers_have_is_covered_as_overlayfs_has_it() {
    let Some(place) = place() else { return };
    let (at, upper) = (place.path().join("layer"), place.path().join("upper"));
    let layer = tar(&[
        (FILE, "a/.wh.gone", "", ""),
        (FILE, "b/.wh..wh..opq", "", ""),
        (FILE, "b/new", "", "x"),
    ]);
    std::fs::create_dir(&upper).unwrap();
    // With nothing below it means something else.
    let unpacked = Upper::unpack(&at, &layer[..]).unwrap();
    unpacked.place(&upper, &[]).unwrap_err();
    assert!(!at.exists());
    let unpacked = Upper::unpack(&at, &layer[..]).unwrap();
    unpacked.place(&upper, &[place.path().to_owned()]).unwrap();
    assert!(!at.exists());
    let gone = std::fs::symlink_metadata(upper.join("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    assert_eq!(
        rustix::fs::getxattr(upper.join("b"), OPAQUE, &mut value[..]),
        Ok(1)
    );
    assert_eq!(value[0], b'y');
    assert_eq!(std::fs::read_to_string(upper.join("b/new")).unwrap(), "x");
}

#[test]
fn directories_that_are_only_implied_are_as_the_topmost_lower_layer_has_them() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for (lower, mode) in [("1", 0o711), ("2", 0o700)] {
        let folder = at(lower).join("a/b");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::create_dir(at("0")).unwrap();
    std::fs::create_dir(at("upper")).unwrap();
    let layer = tar(&[
        (FILE, "a/b/c/new", "", "x"),
        (FILE, "a/later/new", "", "x"),
        (DIR, "a/later/", "", ""),
    ]);
    let unpacked = Upper::unpack(&at("layer"), &layer[..]).unwrap();
    unpacked
        .place(&at("upper"), &["0", "1", "2"].map(at))
        .unwrap();
    let mode = |path: &str| {
        let stat = std::fs::metadata(at("upper").join(path)).unwrap();
        stat.mode() & 0o7777
    };
    assert_eq!(mode("a/b"), 0o711);
    assert_eq!(mode("a/b/c"), IMPLIED);
    assert_eq!(mode("a/later"), 0o644);
}

#[test]
fn a_place_that_is_taken_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let (at, upper) = (place.path().join("layer"), place.path().join("upper"));
    std::fs::create_dir(&upper).unwrap();
    std::fs::write(upper.join("theirs"), "x").unwrap();
    let unpacked = Upper::unpack(&at, &tar(&[(FILE, "ours", "", "x")])[..]).unwrap();
    let error = unpacked.place(&upper, &[]).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::NOTEMPTY));
    assert!(!at.exists() && upper.join("theirs").exists());
}

#[test]
fn nothing_is_left_of_a_layer_that_cannot_be_unpacked() {
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let whole = tar(&[(FILE, "file", "", &"x".repeat(5000))]);
    let mut behind = tar(&[(FILE, "file", "", "x")]);
    behind.truncate(1536);
    behind.extend(&whole);
    for (n, layer) in [
        whole[..2000].to_vec(),
        behind,
        tar(&[(FILE, "../outside/x", "", "x")]),
        tar(&[(FILE, "a", "", "x"), (FILE, "a/b", "", "x")]),
        tar(&[(EntryType::Continuous, "a", "", "x")]),
        tar(&[(EntryType::Link, "a", "../outside", "")]),
    ]
    .into_iter()
    .enumerate()
    {
        let at = place.path().join(n.to_string());
        Upper::unpack(&at, &layer[..]).unwrap_err();
        assert!(!at.exists(), "{n}");
    }
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none());
}

const NAMES: [&str; 7] = ["a", "b", "out", "up", ".wh.a", "..", "."];

fn path() -> impl Strategy<Value = String> {
    let names = proptest::collection::vec(proptest::sample::select(&NAMES[..]), 1..4);
    (names, any::<bool>()).prop_map(|(names, root)| {
        let path = names.join("/");
        if root { format!("/{path}") } else { path }
    })
}

fn member() -> impl Strategy<Value = (EntryType, String, String)> {
    let kinds = [
        FILE,
        DIR,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
    ];
    let links = prop_oneof![path(), Just("../../outside".to_owned())];
    (proptest::sample::select(kinds.to_vec()), path(), links)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever a layer says, and wherever its links lead.
    #[test]
    fn no_layer_reaches_out_of_its_place(members in proptest::collection::vec(member(), 1..12)) {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("a"), "theirs").unwrap();
        symlink(&outside, place.path().join("out")).unwrap();
        let all: Vec<_> = members
            .iter()
            .map(|(kind, path, link)| {
                let link = if matches!(*kind, EntryType::Symlink | EntryType::Link) { link } else { "" };
                (*kind, path.as_str(), link, "")
            })
            .collect();
        let at = place.path().join("layer");
        let unpacked = Upper::unpack(&at, &tar(&all)[..]);
        prop_assert_eq!(unpacked.is_ok(), at.exists());
        let left: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
        prop_assert_eq!(left, ["a"]);
        prop_assert_eq!(std::fs::read_to_string(outside.join("a")).unwrap(), "theirs");
        let beside = std::fs::read_dir(place.path()).unwrap().count();
        prop_assert_eq!(beside, 2 + usize::from(at.exists()));
    }

    #[test]
    fn any_bytes_are_answered(
        members in proptest::collection::vec(member(), 1..4),
        changed in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let all: Vec<_> = members.iter().map(|(kind, path, link)| (*kind, path.as_str(), link.as_str(), "x")).collect();
        let mut bytes = tar(&all);
        for (at, byte) in changed {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("layer");
        let unpacked = Upper::unpack(&at, &bytes[..]);
        prop_assert_eq!(unpacked.is_ok(), at.exists());
    }
}

#[test]
fn what_directories_take_is_bounded() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("layer");
    let one = tar(&[(DIR, "d/", "", "")]);
    let again = one[..512].repeat(KEPT / KEPT_FOR_EACH);
    let error = Upper::unpack(&at, &again[..]).unwrap_err();
    assert_eq!(error.to_string(), "too many directories");
    assert!(!at.exists());
}

#[test]
fn a_tree_is_removed_however_deep_it_is() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("deep");
    std::fs::create_dir(&at).unwrap();
    let mut folder = std::fs::File::open(&at).unwrap();
    for _ in 0..2000 {
        rustix::fs::mkdirat(&folder, "d", Mode::from_raw_mode(0o755)).unwrap();
        folder = rustix::fs::openat(&folder, "d", FOLDER, Mode::empty())
            .unwrap()
            .into();
    }
    drop(folder);
    remove(&at).unwrap();
    assert!(!at.exists());
}
