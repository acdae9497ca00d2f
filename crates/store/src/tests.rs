use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use berth_errdefs::{Classify, Kind};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Durability, Error, Records, read_json, write_json};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    name: String,
    tags: BTreeMap<String, u64>,
}

fn record(name: &str) -> Record {
    Record {
        name: name.to_owned(),
        tags: BTreeMap::from([("é\n".to_owned(), u64::MAX)]),
    }
}

fn id(digit: u8) -> String {
    format!("{digit:x}").repeat(64)
}

fn records() -> (tempfile::TempDir, Records) {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path().join("containers")).unwrap();
    (dir, records)
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn replacing_never_brings_a_removed_folder_back() {
    let (_dir, records) = records();
    let replace =
        |value: &str| records.replace(&id(1), "state.json", &record(value), Durability::Renamed);
    assert!(!replace("none").expect("no error"));
    assert!(!records.folder(&id(1)).expect("an id").exists());
    records
        .save(&id(1), "state.json", &record("old"), Durability::Renamed)
        .expect("saved");
    assert!(replace("new").expect("no error"));
    let now: Record = records.load(&id(1), "state.json").expect("there");
    assert_eq!(now, record("new"));
    records.remove(&id(1)).expect("removed");
    assert!(!replace("late").expect("no error"));
    assert!(!records.folder(&id(1)).expect("an id").exists());
}

#[test]
fn what_is_saved_is_loaded_by_file() {
    let (_dir, records) = records();
    for durability in [Durability::Synced, Durability::Renamed] {
        records
            .save(&id(1), "config.json", &record("config"), durability)
            .unwrap();
        records
            .save(&id(1), "state.json", &record("state"), durability)
            .unwrap();
        assert_eq!(
            records.load::<Record>(&id(1), "config.json").unwrap(),
            record("config")
        );
        assert_eq!(
            records.load::<Record>(&id(1), "state.json").unwrap(),
            record("state")
        );
    }
    let folder = records.folder(&id(1)).unwrap();
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        2,
        "nothing else is left beside"
    );
}

#[test]
fn folders_and_records_are_private() {
    let (_dir, records) = records();
    records
        .save(&id(1), "config.json", &record("a"), Durability::Synced)
        .unwrap();
    let folder = records.create_folder(&id(1)).unwrap();
    assert_eq!(mode(records.root()), 0o700);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("config.json")), 0o600);
}

#[test]
fn no_id_and_no_name_leads_out() {
    let (_dir, records) = records();
    let upper = "A".repeat(64);
    let (short, long) = ("a".repeat(63), "a".repeat(65));
    let dots = format!("../{}", "a".repeat(61));
    for bad in [
        "",
        ".",
        "..",
        "/etc/passwd",
        short.as_str(),
        long.as_str(),
        upper.as_str(),
        dots.as_str(),
    ] {
        let saved = records.save(bad, "config.json", &1, Durability::Renamed);
        assert!(matches!(saved, Err(Error::InvalidId(_))), "{bad}");
        assert!(
            matches!(
                records.load::<u8>(bad, "config.json"),
                Err(Error::InvalidId(_))
            ),
            "{bad}"
        );
        assert!(
            matches!(records.remove(bad), Err(Error::InvalidId(_))),
            "{bad}"
        );
        assert!(
            matches!(records.folder(bad), Err(Error::InvalidId(_))),
            "{bad}"
        );
        assert!(
            matches!(records.create_folder(bad), Err(Error::InvalidId(_))),
            "{bad}"
        );
    }
    for bad in ["", ".", "..", ".hidden", "../x", "a/b", "a\0b"] {
        let saved = records.save(&id(1), bad, &1, Durability::Renamed);
        assert!(matches!(saved, Err(Error::InvalidName(_))), "{bad:?}");
        assert!(
            matches!(records.load::<u8>(&id(1), bad), Err(Error::InvalidName(_))),
            "{bad:?}"
        );
        assert!(
            matches!(records.load_all::<u8>(bad), Err(Error::InvalidName(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn a_missing_record_is_told_apart_from_a_damaged_one() {
    let (_dir, records) = records();
    let missing = records.load::<Record>(&id(1), "config.json").unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }));
    assert_eq!(missing.kind(), Kind::NotFound);
    let folder = records.create_folder(&id(1)).unwrap();
    fs::write(folder.join("config.json"), "{\"name\":").unwrap();
    let damaged = records.load::<Record>(&id(1), "config.json").unwrap_err();
    assert!(matches!(damaged, Error::Corrupt { .. }));
    assert_eq!(damaged.kind(), Kind::Internal);
}

#[test]
fn damaged_records_are_moved_aside_and_the_rest_is_loaded() {
    let (_dir, records) = records();
    records
        .save(&id(1), "config.json", &record("one"), Durability::Renamed)
        .unwrap();
    records
        .save(&id(9), "config.json", &record("nine"), Durability::Renamed)
        .unwrap();
    let whole = serde_json::to_string(&record("x")).unwrap();
    let damage = [
        &whole.as_bytes()[..whole.len() - 1],
        b"",
        b"\0\0\0\0",
        b"[]",
        b"\xff\xfe",
        b"{} {}",
    ];
    for (digit, bytes) in (2..).zip(damage) {
        fs::write(
            records
                .create_folder(&id(digit))
                .unwrap()
                .join("config.json"),
            bytes,
        )
        .unwrap();
    }
    // Things that are no folders of ours.
    fs::write(records.root().join("note"), "x").unwrap();
    fs::create_dir(records.root().join("lost+found")).unwrap();
    // No record, and one that is a directory.
    records.create_folder(&id(10)).unwrap();
    fs::create_dir(records.create_folder(&id(11)).unwrap().join("config.json")).unwrap();

    let (loaded, quarantined) = records.load_all::<Record>("config.json").unwrap();
    assert_eq!(loaded, [(id(1), record("one")), (id(9), record("nine"))]);
    let ids: Vec<_> = quarantined.iter().map(|q| q.id.clone()).collect();
    assert_eq!(ids, [2, 3, 4, 5, 6, 7, 10, 11].map(id));
    for (found, bytes) in quarantined.iter().zip(damage) {
        assert!(
            found.path.ends_with("config.json.corrupt-1"),
            "{:?}",
            found.path
        );
        assert_eq!(fs::read(&found.path).unwrap(), bytes, "the bytes are kept");
    }
    assert!(matches!(quarantined[6].reason, Error::Missing { .. }));
    assert!(matches!(quarantined[7].reason, Error::Io { .. }));
    // The next time they are missing; damage of the same record gets another name.
    let path = records.folder(&id(2)).unwrap().join("config.json");
    fs::write(&path, "again").unwrap();
    let (_, quarantined) = records.load_all::<Record>("config.json").unwrap();
    assert!(quarantined[0].path.ends_with("config.json.corrupt-2"));
    assert!(matches!(quarantined[1].reason, Error::Missing { .. }));
}

#[test]
fn removal_takes_everything_and_follows_no_link() {
    let (dir, records) = records();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    let folder = records.create_folder(&id(1)).unwrap();
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    fs::write(folder.join("deep/er/file"), "x").unwrap();
    symlink(&outside, folder.join("deep/link")).unwrap();
    records
        .save(&id(1), "config.json", &record("a"), Durability::Renamed)
        .unwrap();
    records.remove(&id(1)).unwrap();
    records.remove(&id(1)).unwrap();
    assert_eq!(fs::read_dir(records.root()).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "x");
}

/// Runs a test of this file in a mount namespace of its own, after `script`.
fn in_mount_namespace(script: &str, test: &str, dir: &std::path::Path) {
    let script = format!("{script} && exec \"$0\" --ignored --exact tests::{test}");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("DIR", dir)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn given_dir() -> PathBuf {
    std::env::var_os("DIR")
        .expect("a prepared directory")
        .into()
}

#[test]
fn removal_does_not_enter_mounts() {
    let (dir, records) = records();
    fs::create_dir(dir.path().join("user")).unwrap();
    fs::write(dir.path().join("user/precious"), "x").unwrap();
    fs::create_dir(records.create_folder(&id(1)).unwrap().join("mnt")).unwrap();
    let script = format!(
        "mount --bind \"$DIR/user\" \"$DIR/containers/{}/mnt\"",
        id(1)
    );
    in_mount_namespace(&script, "removal_beside_a_mount", dir.path());
    assert_eq!(
        fs::read_to_string(dir.path().join("user/precious")).unwrap(),
        "x"
    );
    // With the mount gone, the sweep finishes the job.
    assert!(records.sweep().is_empty());
    assert_eq!(fs::read_dir(records.root()).unwrap().count(), 0);
}

#[test]
#[ignore = "run by removal_does_not_enter_mounts"]
fn removal_beside_a_mount() {
    let records = Records::open(given_dir().join("containers")).unwrap();
    let busy = records.remove(&id(1)).unwrap_err();
    assert!(
        matches!(&busy, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::ResourceBusy),
        "{busy}"
    );
}

#[test]
fn a_full_disk_keeps_the_old_record() {
    let dir = tempfile::tempdir().unwrap();
    in_mount_namespace(
        "mount -t tmpfs -o size=64k tmpfs \"$DIR\"",
        "saving_on_a_small_disk",
        dir.path(),
    );
}

#[test]
#[ignore = "run by a_full_disk_keeps_the_old_record"]
fn saving_on_a_small_disk() {
    let records = Records::open(given_dir().join("containers")).unwrap();
    records
        .save(&id(1), "state.json", &record("old"), Durability::Renamed)
        .unwrap();
    let big = record(&"x".repeat(100_000));
    for durability in [Durability::Renamed, Durability::Synced] {
        let full = records
            .save(&id(1), "state.json", &big, durability)
            .unwrap_err();
        assert!(full.is_disk_full(), "{full}");
        assert_eq!(
            records.load::<Record>(&id(1), "state.json").unwrap(),
            record("old")
        );
    }
    assert_eq!(
        fs::read_dir(records.folder(&id(1)).unwrap())
            .unwrap()
            .count(),
        1,
        "no unfinished file stays"
    );
    records
        .save(&id(1), "state.json", &record("new"), Durability::Renamed)
        .unwrap();
}

#[test]
fn a_value_that_cannot_be_encoded_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    write_json(&path, &record("old"), Durability::Renamed).unwrap();
    let keys = BTreeMap::from([((1, 2), 3)]);
    let error = write_json(&path, &keys, Durability::Renamed).unwrap_err();
    assert!(matches!(error, Error::Encode { .. }));
    assert_eq!(read_json::<Record>(&path).unwrap(), record("old"));
}

#[test]
fn readers_never_see_half_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let long = record(&"x".repeat(50_000));
    write_json(&path, &record("short"), Durability::Renamed).unwrap();
    std::thread::scope(|scope| {
        for value in [record("short"), long.clone()] {
            let path = &path;
            scope.spawn(move || {
                (0..300).for_each(|_| write_json(path, &value, Durability::Renamed).unwrap())
            });
        }
        for _ in 0..300 {
            let read: Record = read_json(&path).unwrap();
            assert!(read == long || read == record("short"));
        }
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// One change, and where in it the machine stopped.
#[derive(Clone, Debug)]
enum Op {
    Save(u8, bool, String),
    /// The temporary file is there, with so many bytes of the record; the old record is too.
    SaveCut(u8, bool, usize),
    Remove(u8),
    /// Renamed away; of the files in it, so many are deleted.
    RemoveCut(u8, usize),
    Sweep,
}

fn file(config: bool) -> &'static str {
    if config { "config.json" } else { "state.json" }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4u8, any::<bool>(), "[a-z]{0,8}").prop_map(|(id, config, name)| Op::Save(id, config, name)),
        2 => (0..4u8, any::<bool>(), 0..30usize).prop_map(|(id, config, cut)| Op::SaveCut(id, config, cut)),
        1 => (0..4u8).prop_map(Op::Remove),
        1 => (0..4u8, 0..4usize).prop_map(|(id, deleted)| Op::RemoveCut(id, deleted)),
        1 => Just(Op::Sweep),
    ]
}

fn apply(records: &Records, model: &mut BTreeMap<(String, bool), Record>, op: Op, count: usize) {
    match op {
        Op::Save(digit, config, name) => {
            let durability = if config {
                Durability::Synced
            } else {
                Durability::Renamed
            };
            records
                .save(&id(digit), file(config), &record(&name), durability)
                .unwrap();
            model.insert((id(digit), config), record(&name));
        }
        Op::SaveCut(digit, config, cut) => {
            let folder = records.create_folder(&id(digit)).unwrap();
            let bytes = serde_json::to_vec(&record("cut")).unwrap();
            let name = format!(".{}.tmp-{}-{count}", file(config), std::process::id());
            fs::write(folder.join(name), &bytes[..cut.min(bytes.len())]).unwrap();
        }
        Op::Remove(digit) => {
            records.remove(&id(digit)).unwrap();
            model.retain(|(owner, _), _| *owner != id(digit));
        }
        Op::RemoveCut(digit, deleted) => {
            let away = records
                .root()
                .join(format!(".removing-{}-{count}", id(digit)));
            if fs::rename(records.folder(&id(digit)).unwrap(), &away).is_ok() {
                for entry in fs::read_dir(&away).unwrap().take(deleted) {
                    fs::remove_file(entry.unwrap().path()).unwrap();
                }
            }
            model.retain(|(owner, _), _| *owner != id(digit));
        }
        Op::Sweep => assert!(records.sweep().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_crash_at_any_step_leaves_old_or_new(ops in prop::collection::vec(op(), 0..25)) {
        let (_dir, records) = records();
        let mut model = BTreeMap::new();
        for (count, op) in ops.into_iter().enumerate() {
            apply(&records, &mut model, op, count);
            for config in [true, false] {
                let (loaded, quarantined) = records.load_all::<Record>(file(config)).unwrap();
                let expected: Vec<_> = model
                    .iter()
                    .filter(|((_, of_config), _)| *of_config == config)
                    .map(|((id, _), record)| (id.clone(), record.clone()))
                    .collect();
                prop_assert_eq!(loaded, expected);
                // A folder may be without a record, but what is there is never half written.
                let only_missing = quarantined.iter().all(|q| matches!(q.reason, Error::Missing { .. }));
                prop_assert!(only_missing);
            }
        }
        prop_assert!(records.sweep().is_empty());
        let left = Command::new("find").arg(records.root()).args(["-name", ".*"]).output().unwrap();
        prop_assert_eq!(String::from_utf8(left.stdout).unwrap(), "", "the sweep left something");
    }
}

#[test]
fn a_folder_is_made_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open_named(dir.path().join("volumes")).unwrap();
    let fill = |folder: &std::path::Path| fs::create_dir(folder.join("_data"));
    records
        .make("data.1", "v.json", &record("a"), fill)
        .unwrap();
    let folder = records.folder("data.1").unwrap();
    assert!(folder.join("_data").is_dir());
    assert_eq!(
        records.load::<Record>("data.1", "v.json").unwrap(),
        record("a")
    );
    // Twice is an error that leaves the first as it is.
    assert!(
        records
            .make("data.1", "v.json", &record("b"), |_| Ok(()))
            .is_err()
    );
    assert_eq!(
        records.load::<Record>("data.1", "v.json").unwrap(),
        record("a")
    );
    let full = |_: &std::path::Path| Err(std::io::ErrorKind::StorageFull.into());
    assert!(records.make("full", "v.json", &record("a"), full).is_err());
    assert_eq!(fs::read_dir(records.root()).unwrap().count(), 1);
    // What a crash leaves is swept, and is no record until then.
    fs::create_dir(records.root().join(".creating-torn")).unwrap();
    fs::write(records.root().join("metadata.db"), "of dockerd").unwrap();
    let (loaded, damaged) = records.load_all::<Record>("v.json").unwrap();
    assert_eq!((loaded.len(), damaged.len()), (1, 0));
    assert!(records.sweep().is_empty());
    assert_eq!(fs::read_dir(records.root()).unwrap().count(), 2);
    records.remove("data.1").unwrap();
    assert_eq!(fs::read_dir(records.root()).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn no_name_leads_out_of_named_folders(name in ".{0,16}") {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open_named(dir.path()).unwrap();
        if let Ok(folder) = records.folder(&name) {
            prop_assert_eq!(folder.parent(), Some(dir.path()));
        }
    }
}
