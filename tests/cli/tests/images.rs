//! Images: load, import, tag, remove, inspect, list. Pulls stand in `pull.rs`.

use serde_json::{Value, json};
use testkit::{
    Compression, Daemon, Image, Options, Output, PATIENCE, rootfs_tar, run_command, shared, unique,
};

/// An image that no other test has, with one small layer over busybox.
fn image(tag: &str) -> Image {
    Image::busybox(tag).layer(&[("etc/name", 0o644, tag)])
}

fn load(archive: Vec<u8>) -> Output {
    shared().cli(["load"]).stdin(archive).run()
}

fn image_inspect(name: &str) -> Value {
    let answer = shared().api("GET", &format!("/images/{name}/json"), None);
    answer.is(200).json()
}

#[track_caller]
fn runs(name: &str) {
    let run = ["run", "--rm", name, "cat", "/etc/name"];
    shared().docker(run).ok().out_is(name);
}

fn rmi(name: &str) {
    shared().docker(["rmi", "-f", name]).ok();
}

#[test]
fn a_docker_archive_plain_and_compressed() {
    for (tag, compression) in [
        ("plain:1", Compression::None),
        ("gzip:1", Compression::Gzip),
        ("zstd:1", Compression::Zstd),
        ("bzip2:1", Compression::Bzip2),
        ("xz:1", Compression::Xz),
    ] {
        if compression == Compression::Zstd && shared().is_old_dockerd() {
            continue; // 20.10 knows no zstd.
        }
        load(image(tag).docker_archive(compression))
            .ok()
            .out_is(&format!("Loaded image: {tag}"));
        runs(tag);
        rmi(tag);
    }
}

#[test]
fn compressed_layers_in_a_docker_archive() {
    for (tag, compression) in [
        ("in-gzip:1", Compression::Gzip),
        ("in-bzip2:1", Compression::Bzip2),
        ("in-xz:1", Compression::Xz),
    ] {
        load(image(tag).archive_of_packed_layers(compression)).ok();
        runs(tag);
        // Its layers are what its configuration says, whatever they came in.
        let layers = image_inspect(tag)["RootFS"]["Layers"].clone();
        let (manifest, blobs) = image(tag).blobs(compression);
        let config: Value = serde_json::from_slice(&blobs[0].1).expect("JSON");
        assert_eq!(layers, config["rootfs"]["diff_ids"]);
        drop(manifest);
        rmi(tag);
    }
    // What is broken inside is told, and leaves no image.
    let mut broken = image("broken:1").archive_of_packed_layers(Compression::Xz);
    let magic = [0xfd, b'7', b'z', b'X', b'Z', 0];
    let at = broken.windows(6).position(|six| six == magic);
    broken[at.expect("a layer") + 200] ^= 0x55;
    let output = load(broken).exits(1);
    assert!(!output.err().is_empty(), "{output}");
    shared().api("GET", "/images/broken:1/json", None).is(404);
}

#[test]
fn an_archive_that_grows_without_end_takes_little_memory() {
    let daemon = Daemon::start(Options::default());
    // Twice what the daemon may take, of nothing, in a few kilobytes.
    let mut header = tar::Header::new_ustar();
    header.set_path("layer.tar").expect("a short path");
    header.set_size(160 << 20);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bomb = header.as_bytes().to_vec();
    bomb.resize(512 + (160 << 20), 0);
    for compression in [Compression::Xz, Compression::Bzip2] {
        let packed = compression.pack(&bomb);
        daemon.forget_peak_memory();
        let load = daemon.cli(["load"]).stdin(packed).patience(PATIENCE * 5);
        load.run().exits(1).err_has("unrecognized image format");
        let peak = daemon.peak_memory();
        assert!(peak <= 80 << 10, "{compression:?}: {peak} KiB");
    }
}

#[test]
fn an_oci_layout() {
    if shared().is_old_dockerd() {
        return; // Since 25.
    }
    for (tag, compression) in [
        ("oci-plain:1", Compression::None),
        ("oci-gzip:1", Compression::Gzip),
        ("oci-zstd:1", Compression::Zstd),
    ] {
        load(image(tag).oci_layout(compression))
            .ok()
            .out_is(&format!("Loaded image: {tag}"));
        runs(tag);
        rmi(tag);
    }
}

#[test]
fn what_another_namespace_of_containerd_stores_can_be_loaded() {
    let daemon = Daemon::start(Options::default());
    let archive = image("common:1").oci_layout(Compression::Gzip);
    let file = daemon.write("common.tar", &archive);
    let mut other = daemon.sandbox().command("ctr");
    other.arg("--address").arg(daemon.containerd_socket());
    other.args(["-n", "other", "images", "import", "--no-unpack"]);
    other.arg(file);
    run_command(other).ok();
    daemon.cli(["load"]).stdin(archive).run().ok();
    let run = ["run", "--rm", "common:1", "cat", "/etc/name"];
    daemon.docker(run).ok().out_is("common:1");
}

#[test]
fn loading_twice_and_from_a_file() {
    let archive = image("twice:1")
        .tag("twice:2")
        .docker_archive(Compression::None);
    let file = shared().write("twice.tar", &archive);
    let output = shared().docker(["load", "-i", file.to_str().unwrap()]).ok();
    let mut lines: Vec<_> = output.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["Loaded image: twice:1", "Loaded image: twice:2"]);
    let id = image_inspect("twice:1")["Id"].clone();
    load(archive).ok();
    assert_eq!(image_inspect("twice:2")["Id"], id);
    rmi("twice:1");
    runs_as("twice:2", "twice:1");
    rmi("twice:2");
}

#[track_caller]
fn runs_as(name: &str, text: &str) {
    let run = ["run", "--rm", name, "cat", "/etc/name"];
    shared().docker(run).ok().out_is(text);
}

#[test]
fn a_tag_moves_to_the_new_image() {
    load(image("moves:1").docker_archive(Compression::None)).ok();
    let old = image_inspect("moves:1")["Id"].as_str().unwrap().to_owned();
    let new = image("moves:1").set("Labels", json!({"new": "yes"}));
    load(new.docker_archive(Compression::None)).ok();
    let now = image_inspect("moves:1");
    assert_ne!(now["Id"], old.as_str());
    assert_eq!(now["Config"]["Labels"]["new"], "yes");
    rmi("moves:1");
    shared().docker(["rmi", "-f", &old]);
}

#[test]
fn an_untagged_archive() {
    let untagged = image("untagged:1").untagged();
    let output = load(untagged.docker_archive(Compression::None)).ok();
    let id = output.out().strip_prefix("Loaded image ID: ");
    let id = id.unwrap_or_else(|| panic!("{output}")).to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    runs_as(&id, "untagged:1");
    let short = &id["sha256:".len()..][..12];
    runs_as(short, "untagged:1");
    assert_eq!(image_inspect(short)["RepoTags"], json!([]));
    rmi(&id);
}

#[test]
fn garbage_is_refused() {
    let noise: Vec<u8> = (0..4000u32).map(|n| ((n * 7919) >> 5) as u8).collect();
    let output = load(noise).exits(1);
    assert!(!output.err().is_empty(), "{output}");
    // A good archive cut in the middle.
    let whole = image("cut:1").docker_archive(Compression::None);
    let output = load(whole[..whole.len() / 2].to_vec());
    assert_ne!(output.code, 0, "{output}");
    shared().api("GET", "/images/cut:1/json", None).is(404);
}

#[test]
fn import() {
    let import = [
        "import",
        "-c",
        "CMD [\"cat\",\"/etc/group\"]",
        "-c",
        "ENV X=1",
        "-c",
        "WORKDIR /w",
        "-c",
        "LABEL a=b",
        "-m",
        "hello",
        "-",
        "imported:1",
    ];
    let cli = shared().cli(import).stdin(rootfs_tar().to_vec());
    let id = cli.run().ok().out().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let all = image_inspect("imported:1");
    assert_eq!(all["Id"], id.as_str());
    assert_eq!(all["Config"]["Cmd"], json!(["cat", "/etc/group"]));
    assert_eq!(all["Config"]["Env"], json!(["X=1"]));
    assert_eq!(all["Config"]["WorkingDir"], "/w");
    assert_eq!(all["Config"]["Labels"], json!({"a": "b"}));
    assert_eq!(all["Comment"], "hello");
    assert_eq!(
        (&all["Os"], &all["RootFS"]["Type"]),
        (&json!("linux"), &json!("layers"))
    );
    assert_eq!(all["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    shared()
        .docker(["run", "--rm", "-e", "PATH=/bin", "imported:1"])
        .ok()
        .out_has("staff:x:50:");
    rmi("imported:1");
    // Without a name, and compressed.
    let kinds = [Compression::Gzip, Compression::Bzip2, Compression::Xz];
    for packed in kinds.map(|compression| compression.pack(&rootfs_tar())) {
        let id = shared().cli(["import", "-"]).stdin(packed).run().ok();
        assert_eq!(image_inspect(id.out())["RepoTags"], json!([]));
        let run = ["run", "--rm", id.out(), "/bin/sh", "-c", "echo runs"];
        shared().docker(run).ok().out_is("runs");
        rmi(id.out());
    }
    let bad = shared()
        .cli(["import", "-c", "RUN x", "-", "bad:1"])
        .stdin(rootfs_tar().to_vec());
    bad.run().exits(1).err_has(" is not a valid change command");
}

#[test]
fn inspect() {
    let full = image("inspected:1")
        .set("User", json!("nobody"))
        .set("ExposedPorts", json!({"80/tcp": {}}))
        .set("Labels", json!({"k": "v"}))
        .set("Entrypoint", json!(["cat"]))
        .set("StopSignal", json!("SIGUSR1"));
    load(full.docker_archive(Compression::None)).ok();
    let all = image_inspect("inspected:1");
    assert!(all["Id"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(all["RepoTags"], json!(["inspected:1"]));
    assert_eq!(
        (&all["Architecture"], &all["Os"]),
        (&json!("amd64"), &json!("linux"))
    );
    assert_eq!(all["Author"], "testkit");
    assert_eq!(all["Created"], "2025-01-01T00:00:00Z");
    assert_eq!(all["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert!(all["Size"].as_u64().unwrap() > 500_000, "{}", all["Size"]);
    let config = &all["Config"];
    assert_eq!(config["User"], "nobody");
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(config["Labels"], json!({"k": "v"}));
    assert_eq!(config["Entrypoint"], json!(["cat"]));
    assert_eq!(config["StopSignal"], "SIGUSR1");
    assert!(all["GraphDriver"]["Name"].is_string() || !shared().is_old_dockerd());
    // By every name that it has.
    let id = all["Id"].as_str().unwrap();
    for name in [
        id,
        &id[7..],
        &id[7..19],
        "inspected:1",
        "docker.io/library/inspected:1",
    ] {
        assert_eq!(image_inspect(name)["Id"], id, "{name}");
    }
    let missing = shared().docker(["image", "inspect", "nosuch"]).exits(1);
    assert_eq!(missing.out(), "[]");
    assert!(
        missing.stderr.contains("No such image: nosuch"),
        "{missing}"
    );
    let history = shared().docker(["history", "-q", "inspected:1"]).ok();
    assert_eq!(history.stdout.lines().count(), 2, "{history}");
    rmi("inspected:1");
}

#[test]
fn tag() {
    load(image("tagged:1").docker_archive(Compression::None)).ok();
    let id = image_inspect("tagged:1")["Id"].as_str().unwrap().to_owned();
    shared()
        .docker(["tag", "tagged:1", "localhost:5000/some/where:x"])
        .ok();
    shared().docker(["tag", &id[7..19], "other"]).ok();
    let mut tags: Vec<String> =
        serde_json::from_value(image_inspect(&id)["RepoTags"].clone()).unwrap();
    tags.sort();
    assert_eq!(
        tags,
        ["localhost:5000/some/where:x", "other:latest", "tagged:1"]
    );
    for (target, text) in [
        ("repo=UPPER&tag=x", "must be lowercase"),
        ("repo=x&tag=b@d", "invalid"),
    ] {
        let bad = shared().api("POST", &format!("/images/tagged:1/tag?{target}"), None);
        // 20.10 blames itself.
        let old = shared().is_old_dockerd() && bad.status == 500;
        assert!(bad.status == 400 || old, "{target}: {}", bad.status);
        assert!(bad.message().contains(text), "{target}: {}", bad.message());
    }
    shared()
        .docker(["tag", "nosuch:1", "x:1"])
        .exits(1)
        .err_has("No such image: nosuch:1");
    for name in ["localhost:5000/some/where:x", "other", "tagged:1"] {
        shared().docker(["rmi", name]).ok();
    }
    shared()
        .api("GET", &format!("/images/{id}/json"), None)
        .is(404);
}

#[test]
fn remove() {
    load(image("gone:1").docker_archive(Compression::None)).ok();
    shared().docker(["tag", "gone:1", "gone:2"]).ok();
    let id = image_inspect("gone:1")["Id"].as_str().unwrap().to_owned();
    let untagged = shared().docker(["rmi", "gone:1"]).ok();
    assert_eq!(untagged.out(), "Untagged: gone:1");
    let deleted = shared().docker(["rmi", "gone:2"]).ok();
    assert!(
        deleted.stdout.starts_with("Untagged: gone:2\n"),
        "{deleted}"
    );
    assert!(
        deleted.stdout.contains(&format!("Deleted: {id}")),
        "{deleted}"
    );
    shared()
        .docker(["rmi", "gone:1"])
        .exits(1)
        .err_has("No such image: gone:1");
    // By ID with several names: only by force.
    load(
        image("gone:1")
            .tag("elsewhere:1")
            .docker_archive(Compression::None),
    )
    .ok();
    shared()
        .docker(["rmi", &id])
        .exits(1)
        .err_has("image is referenced in multiple repositories");
    shared().docker(["rmi", "-f", &id]).ok();
    shared()
        .api("GET", "/images/elsewhere:1/json", None)
        .is(404);
}

#[test]
fn an_image_in_use() {
    load(image("used:1").docker_archive(Compression::None)).ok();
    let id = image_inspect("used:1")["Id"].as_str().unwrap().to_owned();
    let name = unique("user");
    let container = shared()
        .docker(["create", "--name", &name, "used:1", "sleep", "1000"])
        .ok();
    let short = &container.out()[..12];
    let must = match shared().is_old_dockerd() {
        true => "(must force)",
        false => "(must be forced)",
    };
    let refusal = shared().docker(["rmi", "used:1"]).exits(1);
    assert!(refusal.stderr.contains("conflict: unable to "), "{refusal}");
    assert!(
        refusal
            .stderr
            .contains(&format!("{must} - container {short}")),
        "{refusal}"
    );
    assert_eq!(shared().api("DELETE", "/images/used:1", None).status, 409);
    shared().docker(["start", &name]).ok();
    let refusal = shared().docker(["rmi", "-f", &id]).exits(1);
    assert!(refusal.stderr.contains("(cannot be forced)"), "{refusal}");
    // A container goes on when its image's name is taken away.
    shared().docker(["rmi", "-f", "used:1"]).ok();
    shared().docker(["restart", "-t", "0", &name]).ok();
    assert_eq!(
        shared().format(&name, "{{.State.Running}} {{.Image}}"),
        format!("true {id}")
    );
    shared().remove(&[&name]);
    shared().docker(["rmi", "-f", &id]);
}

#[test]
fn list() {
    for (tag, label) in [("listed:old", "one"), ("listed:new", "two")] {
        let image = image(tag).set("Labels", json!({"listed": label}));
        load(image.docker_archive(Compression::None)).ok();
    }
    let list = |filters: &[&str]| {
        let mut cli = shared().cli(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        for filter in filters {
            cli = cli.args(["-f", filter]);
        }
        let output = cli.run().ok();
        let mut names: Vec<_> = output.stdout.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(list(&["reference=listed:o*"]), "listed:old");
    assert_eq!(list(&["reference=listed"]), "listed:new listed:old");
    assert_eq!(list(&["label=listed"]), "listed:new listed:old");
    assert_eq!(list(&["label=listed=two"]), "listed:new");
    assert_eq!(list(&["label=listed=three"]), "");
    assert_eq!(list(&["reference=listed", "dangling=true"]), "");
    assert!(list(&[]).contains("busybox:latest"));
    shared()
        .docker(["images", "-f", "nosuch=1"])
        .exits(1)
        .err_has("nosuch");
    shared()
        .docker(["images", "listed:old", "--format", "{{.Tag}}"])
        .ok()
        .out_is("old");
    let json = shared().api("GET", "/images/json", None).is(200).json();
    let found = json.as_array().unwrap().iter();
    let mut found = found.filter(|item| item["RepoTags"] == json!(["listed:old"]));
    let item = found.next().unwrap_or_else(|| panic!("{json}"));
    assert_eq!(item["Id"], image_inspect("listed:old")["Id"]);
    assert_eq!(item["Labels"], json!({"listed": "one"}));
    assert_eq!(item["Created"], 1_735_689_600);
    assert!(item["Size"].as_u64().unwrap() > 500_000);
    let quiet = shared()
        .docker(["images", "-q", "--no-trunc", "listed:new"])
        .ok();
    assert_eq!(quiet.out(), image_inspect("listed:new")["Id"]);
    rmi("listed:old");
    rmi("listed:new");
}

#[test]
fn layers_are_shared_and_outlive_one_another() {
    load(image("first:1").docker_archive(Compression::None)).ok();
    load(image("second:1").docker_archive(Compression::None)).ok();
    rmi("first:1");
    runs("second:1");
    rmi("second:1");
    // The image of everybody is unharmed.
    shared().docker(["run", "--rm", "busybox", "true"]).ok();
}
