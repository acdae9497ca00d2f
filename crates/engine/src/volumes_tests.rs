use super::*;

fn volumes(dir: &tempfile::TempDir) -> Volumes {
    Volumes::open(dir.path().join("volumes"), Events::default()).expect("open")
}

fn named(name: &str) -> Wanted {
    Wanted {
        name: name.to_owned(),
        ..Wanted::default()
    }
}

fn used(name: &str, container: &str) -> Wanted {
    Wanted {
        container: Some(container.to_owned()),
        ..named(name)
    }
}

fn words<T: std::fmt::Debug>(outcome: Result<T>) -> String {
    outcome.expect_err("an error").to_string()
}

#[test]
fn a_volume_is_found_again() {
    let dir = tempfile::tempdir().expect("tempdir");
    let all = volumes(&dir);
    let mut wanted = named("data");
    wanted.labels.insert("tier".into(), "front".into());
    for (key, value) in [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")] {
        wanted.options.insert(key.into(), value.into());
    }
    let made = all.create(wanted).expect("create");
    let anonymous = all.create(named("")).expect("create");
    assert_eq!(anonymous.name.len(), 64);
    assert!(anonymous.is_anonymous() && !made.is_anonymous());
    // The same name means the same volume.
    assert_eq!(
        all.create(named("data")).expect("there").record,
        made.record
    );
    let again = volumes(&dir);
    let found = again.find("data").expect("found");
    assert_eq!((&found.record, &found.mount), (&made.record, &made.mount));
    assert_eq!(again.load().len(), 2);
    again.remove("data", false).expect("remove");
    assert_eq!(words(again.find("data")), "get data: no such volume");
    assert!(!again.data("data").exists());
    assert_eq!(
        words(again.remove("data", false)),
        "get data: no such volume"
    );
    again.remove("data", true).expect("forced");
    assert_eq!(volumes(&dir).load().len(), 1);
}

#[test]
fn what_is_used_stays() {
    let dir = tempfile::tempdir().expect("tempdir");
    let all = volumes(&dir);
    all.create(used("data", "c1")).expect("create");
    all.create(used("data", "c2")).expect("there");
    let name = all.create(used("", "c1")).expect("create").name.clone();
    assert_eq!(
        words(all.remove("data", true)),
        "remove data: volume is in use - [c1, c2]"
    );
    all.hold(&name, "c2").expect("hold");
    // Others use what is to go: it stays, and that is no error.
    assert!(all.release("c1", &["data", &name], &[&name]).is_empty());
    assert!(all.find(&name).is_ok());
    assert!(all.release("c2", &["data", &name], &[&name]).is_empty());
    assert!(all.find(&name).is_err());
    all.remove("data", false).expect("nobody uses it");
    assert_eq!(words(all.hold("data", "c3")), "get data: no such volume");
}

#[test]
fn a_damaged_record_stops_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let all = volumes(&dir);
    for name in ["good", "torn"] {
        all.create(named(name)).expect("create");
    }
    let record = dir.path().join("volumes/torn/volume.json");
    std::fs::write(&record, "{\"created\":").expect("damage");
    let again = volumes(&dir);
    assert!(again.find("good").expect("good").damaged.is_none());
    assert!(again.find("torn").expect("seen").damaged.is_some());
    let list = list(&again, &berth_wire::Filters::new()).expect("list");
    assert_eq!(list.warnings.len(), 1, "{list:?}");
    again.remove("torn", false).expect("can be removed");
    assert_eq!(volumes(&dir).load().len(), 1);
}

#[test]
fn dockerds_volumes_are_taken_over() {
    let dir = tempfile::tempdir().expect("tempdir");
    let root = dir.path().join("volumes");
    std::fs::create_dir_all(root.join("old/_data")).expect("mkdir");
    std::fs::create_dir_all(root.join("fast/_data")).expect("mkdir");
    let options =
        r#"{"MountType":"tmpfs","MountOpts":"size=1m","MountDevice":"tmpfs","Quota":{"Size":0}}"#;
    std::fs::write(root.join("fast/opts.json"), options).expect("write");
    std::fs::write(root.join("metadata.db"), "").expect("write");
    std::fs::create_dir_all(root.join("empty")).expect("mkdir");
    let all = volumes(&dir);
    assert!(all.load().keys().eq(["fast", "old"]));
    let fast = all.find("fast").expect("found");
    assert_eq!(fast.mount.as_ref().expect("options").options, "size=1m");
    assert_eq!(fast.record.options["device"], "tmpfs");
}

#[test]
fn refusals_in_dockers_words() {
    let dir = tempfile::tempdir().expect("tempdir");
    let all = volumes(&dir);
    assert!(words(all.create(named("bad name"))).starts_with(
        "create bad name: \"bad name\" includes invalid characters for a local volume name, only"
    ));
    let mut odd = named("data");
    odd.options.insert("nosuch".into(), "1".into());
    assert_eq!(
        words(all.create(odd)),
        "create data: invalid option: \"nosuch\""
    );
    let mut odd = named("data");
    odd.driver = "nosuch".into();
    let error = all.create(odd).expect_err("no such driver");
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.to_string(),
        "create data: error looking up volume plugin nosuch: plugin \"nosuch\" not found"
    );
    assert_eq!(all.load().len(), 0);
}

#[test]
fn pruning_takes_what_nobody_named_or_uses() {
    let dir = tempfile::tempdir().expect("tempdir");
    let all = volumes(&dir);
    let filters = |pairs: &[(&str, &str)]| {
        let mut filters = berth_wire::Filters::new();
        for (name, value) in pairs {
            filters.add(name, value);
        }
        filters
    };
    let anonymous = all.create(named("")).expect("create").name.clone();
    std::fs::write(all.data(&anonymous).join("f"), [0; 1234]).expect("write");
    all.create(used("", "c1")).expect("create");
    let mut labelled = named("kept");
    labelled.labels.insert("keep".into(), String::new());
    all.create(labelled).expect("create");
    all.create(named("plain")).expect("create");
    let pruned = prune(&all, &filters(&[])).expect("prune");
    assert_eq!(pruned.volumes_deleted, [anonymous]);
    assert_eq!(pruned.space_reclaimed, 1234);
    let pruned = prune(&all, &filters(&[("all", "true"), ("label!", "keep")])).expect("prune");
    assert_eq!(pruned.volumes_deleted, ["plain"]);
    let pruned = prune(&all, &filters(&[("all", "true"), ("label", "keep")])).expect("prune");
    assert_eq!(pruned.volumes_deleted, ["kept"]);
    assert_eq!(all.load().len(), 1);
    for (name, value) in [("all", "maybe"), ("dangling", "true")] {
        let error = words(prune(&all, &filters(&[(name, value)])));
        assert!(error.starts_with("invalid filter"), "{error}");
    }
}
