//! What lists of images tell: which there are, and what they take and share.

use serde_json::{Value, json};
use testkit::{Compression, Daemon, Image, Options, PATIENCE, eventually, shared};

/// A size as the docker CLI shows it, with so many digits.
fn human(bytes: i64, digits: usize) -> String {
    let (mut size, mut units) = (bytes as f64, ["B", "kB", "MB", "GB"].iter());
    let mut unit = units.next().expect("there is one");
    while size >= 1000.0 {
        size /= 1000.0;
        unit = units.next().expect("nothing here is larger");
    }
    let digits = digits - (size.max(1.0).log10().floor() as usize + 1);
    let text = format!("{size:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

fn load(daemon: &Daemon, tag: &str, image: Image) {
    let archive = image.docker_archive(Compression::None);
    daemon.cli(["load"]).stdin(archive).run().ok();
    daemon.docker(["image", "inspect", tag]).ok();
}

/// An image that has `bytes` bytes of its own over busybox.
fn over_busybox(tag: &str, bytes: usize) -> Image {
    let own = tag.repeat(bytes / tag.len());
    Image::busybox(tag).layer(&[("own", 0o644, &own)])
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value}"))
}

/// Size and shared size of an image, as the list tells them.
fn sizes(daemon: &Daemon, tag: &str) -> (i64, i64) {
    let list = daemon.api("GET", "/images/json?shared-size=1", None);
    let list = list.is(200).json();
    let mut list = list.as_array().expect("a list").iter();
    let image = list.find(|image| image["RepoTags"] == json!([tag]));
    let image = image.unwrap_or_else(|| panic!("no {tag}"));
    (number(&image["Size"]), number(&image["SharedSize"]))
}

#[test]
fn what_images_share_is_told_and_counted_once() {
    let daemon = Daemon::start(Options::default());
    let tags = ["small:1", "large:1"];
    let (busybox, alone) = sizes(&daemon, "busybox:latest");
    assert_eq!(alone, 0);
    load(&daemon, tags[0], over_busybox(tags[0], 100_000));
    load(&daemon, tags[1], over_busybox(tags[1], 900_000));
    let [(small, base), (large, same)] = tags.map(|tag| sizes(&daemon, tag));
    // All three have one layer in common, unpacked and as a blob; manifest and configuration are their own.
    assert_eq!(base, same);
    assert_eq!(sizes(&daemon, "busybox:latest"), (busybox, base));
    assert!(busybox - base < 4000, "{busybox} {base}");
    let own = |size: i64| size - base;
    assert!((200_000..220_000).contains(&own(small)), "{small} {base}");
    assert!(
        (1_800_000..1_830_000).contains(&own(large)),
        "{large} {base}"
    );
    // Nobody asked.
    let list = daemon.api("GET", "/images/json", None).is(200).json();
    let mut told = list.as_array().expect("a list").iter();
    assert!(told.all(|image| image["SharedSize"] == -1), "{list}");

    daemon.run_d("user", ["small:1", "sleep", "1000"]);
    let usage = daemon
        .api("GET", "/system/df?type=image", None)
        .is(200)
        .json();
    let images = &usage["ImageUsage"];
    let total = base + own(busybox) + own(small) + own(large);
    assert_eq!(number(&images["TotalSize"]), total);
    // What runs needs what is shared.
    assert_eq!(number(&images["Reclaimable"]), own(busybox) + own(large));
    let table = daemon.docker(["system", "df", "-v"]).ok().stdout;
    for (tag, size, users) in [("small", small, 1), ("large", large, 0)] {
        let row = table.lines().find(|line| line.starts_with(tag));
        let row: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
        let sizes = [
            human(size, 3),
            human(base, 4),
            human(own(size), 4),
            users.to_string(),
        ];
        assert!(
            row.ends_with(&sizes.each_ref().map(String::as_str)),
            "{sizes:?}: {table}"
        );
    }
    daemon.remove(&["user"]);
    let usage = daemon
        .api("GET", "/system/df?type=image", None)
        .is(200)
        .json();
    assert_eq!(number(&usage["ImageUsage"]["Reclaimable"]), total);

    daemon.docker(["rmi", "large:1", "busybox"]).ok();
    assert_eq!(sizes(&daemon, "small:1"), (small, 0));
    let old = daemon.api("GET", "/v1.51/system/df?type=image", None);
    assert_eq!(number(&old.is(200).json()["LayersSize"]), small);
}

#[test]
fn both_shapes_of_disk_usage() {
    let daemon = Daemon::start(Options::default());
    daemon.run_d("user", ["-v", "data:/v", "busybox", "sleep", "1000"]);
    let df = |version: &str, query: &str| {
        let target = format!("{version}/system/df?{query}");
        daemon.api("GET", &target, None).is(200).json()
    };
    let kinds = [
        "ImageUsage",
        "ContainerUsage",
        "VolumeUsage",
        "BuildCacheUsage",
    ];
    let lists = ["Images", "Containers", "Volumes", "BuildCache"];
    let many = |value: &Value| value.as_array().map(Vec::len);
    // Sums alone, if one knows what to ask for: with each thing in them.
    let verbose = df("/v1.52", "verbose=1");
    for (kind, list) in kinds.iter().zip(lists) {
        assert_eq!(verbose.get(list), None, "{verbose}");
        let count = number(&verbose[kind]["TotalCount"]);
        let items = many(&verbose[kind]["Items"]).unwrap_or(0);
        assert_eq!(items as i64, count, "{kind}");
        assert_eq!(count, i64::from(*kind != "BuildCacheUsage"), "{kind}");
    }
    assert_eq!(verbose["ImageUsage"]["Items"][0]["Containers"], 1);
    // Without, the lists stand beside them: for clients that ask for no version.
    let both = df("", "");
    for (kind, list) in kinds.iter().zip(lists) {
        assert_eq!(both[kind].get("Items"), None, "{both}");
        assert_eq!(
            both[kind]["TotalSize"], verbose[kind]["TotalSize"],
            "{kind}"
        );
        assert!(both[list].is_array(), "{list}: {both}");
    }
    assert_eq!(both["LayersSize"], both["ImageUsage"]["TotalSize"]);
    let part = df("", "type=volume&type=container");
    let mut names: Vec<_> = part.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["ContainerUsage", "Containers", "VolumeUsage", "Volumes"]
    );
    // Older ones know the lists alone, whatever they ask for.
    let old = df("/v1.51", "verbose=1");
    assert!(kinds.iter().all(|kind| old.get(kind).is_none()), "{old}");
    assert_eq!(
        lists.map(|list| many(&old[list])),
        [Some(1), Some(1), Some(1), Some(0)]
    );
    assert_eq!(old["LayersSize"], both["LayersSize"]);
}

/// Of a name that other tests' images have not, in the order in which they are listed.
fn listed(args: &[&str]) -> String {
    let images = shared().cli(["images", "--no-trunc", "--format", "{{.Tag}}"]);
    let output = images.args(args).run().ok();
    output
        .out()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// An image that is new now, later than all before it.
fn import(tag: &str, label: &str) -> String {
    let label = format!("LABEL kind={label}");
    let import = shared().cli(["import", "-c", &label, "-", tag]);
    let import = import.stdin(testkit::rootfs_tar().to_vec());
    import.run().ok().out().to_owned()
}

#[test]
fn images_are_filtered_by_age_label_and_names() {
    let old = Image::busybox("sieve:old").set("Labels", json!({"kind": "old"}));
    load(shared(), "sieve:old", old);
    let first = import("sieve:first", "new");
    import("sieve:second", "new");
    let list = |filters: &[&str]| {
        let all = ["reference=sieve"].iter().chain(filters);
        let args: Vec<&str> = all.flat_map(|filter| ["-f", filter]).collect();
        listed(&args)
    };
    assert_eq!(list(&[]), "second first old");
    assert_eq!(list(&["before=sieve:first"]), "old");
    assert_eq!(list(&["before=sieve:second"]), "first old");
    assert_eq!(list(&[&format!("since={}", &first[7..19])]), "second");
    assert_eq!(list(&["since=sieve:old", "before=sieve:second"]), "first");
    assert_eq!(list(&["until=2025-01-02T00:00:00Z"]), "old");
    assert_eq!(list(&["until=1h"]), "old");
    assert_eq!(list(&["until=1735689601"]), "old");
    assert_eq!(list(&["until=2024-12-31"]), "");
    assert_eq!(list(&["label=kind=new"]), "second first");
    assert_eq!(list(&["label=kind", "label=kind=old"]), "old");
    assert_eq!(list(&["dangling=false"]), "second first old");
    for (filter, words) in [
        ("before=nosuch:1", "No such image: nosuch:1"),
        ("dangling=maybe", "invalid filter 'dangling=[maybe]'"),
        (
            "until=soon",
            "failed to parse value as time or duration: \"soon\"",
        ),
        ("colour=red", "invalid filter 'colour'"),
    ] {
        let output = shared().docker(["images", "-f", filter]);
        output.exits(1).err_has(words);
    }
    // Its name goes to another one.
    import("sieve:first", "newer");
    let dangling = ["-q", "-f", "label=kind=new", "-f"];
    let ids = |value: &str| {
        let args: Vec<&str> = dangling.into_iter().chain([value]).collect();
        let output = shared().cli(["images", "--no-trunc"]).args(args).run();
        output.ok().out().to_owned()
    };
    assert_eq!(ids("dangling=true"), first);
    assert_eq!(ids("dangling=1"), first);
    let second = shared().format("sieve:second", "{{.Id}}");
    assert_eq!(ids("dangling=false"), second);
    let shown = shared().docker([
        "images",
        "-f",
        "dangling=1",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ]);
    assert!(
        shown
            .ok()
            .stdout
            .lines()
            .any(|line| line == "<none>:<none>")
    );
    shared()
        .docker(["rmi", &first, "sieve:first", "sieve:second", "sieve:old"])
        .ok();
}

#[test]
fn an_id_with_two_names_goes_by_force_alone() {
    let daemon = Daemon::start(Options {
        without_image: true,
        ..Options::default()
    });
    load(&daemon, "twin:1", Image::busybox("twin:1"));
    let id = daemon.format("twin:1", "{{.Id}}");
    let short = &id["sha256:".len()..][..12];
    let words = format!(
        "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    );
    for other in ["twin:2", "other/twin:1"] {
        daemon.docker(["tag", "twin:1", other]).ok();
        let answer = daemon.api("DELETE", &format!("/images/{short}"), None);
        assert_eq!(answer.is(409).message(), words);
        daemon.docker(["rmi", &id]).exits(1).err_has(&words);
        daemon
            .docker(["rmi", other])
            .ok()
            .out_is(&format!("Untagged: {other}"));
    }
    daemon.docker(["tag", "twin:1", "other/twin:1"]).ok();
    let output = daemon.docker(["rmi", "-f", short]).ok();
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines[..2].sort_unstable();
    let deleted = format!("Deleted: {id}");
    assert_eq!(
        lines,
        ["Untagged: other/twin:1", "Untagged: twin:1", &deleted]
    );
    eventually("nothing is listed", PATIENCE, || {
        daemon
            .docker(["images", "-aq"])
            .ok()
            .out()
            .is_empty()
            .then_some(())
    });
}
