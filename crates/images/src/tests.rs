use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use berth_ctrd::ImageRecord;
use berth_reference::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::archive::{self, Part};
use crate::image::dangling_name;
use crate::list::glob;
use crate::manifest::{ConfigFile, Descriptor, Document};
use crate::metadata::Metadata;
use crate::table::Table;
use crate::{Error, Images, Import, Input, Platform, Progress, Pull, PullRequest, changes};

/// The futures of all operations can be spawned.
#[allow(dead_code)]
fn operations_are_send(
    images: Images,
    pull: Pull,
    request: PullRequest,
    input: Input,
    more: Input,
    image: &crate::Image,
) {
    let request_reference = request.reference.clone();
    fn send<T: Send>(_: T) {}
    let progress = Progress::none();
    send(images.pull(request));
    send(pull.run(&progress));
    send(images.load(input, &[], &progress));
    send(images.import(more, Import::default()));
    send(images.refresh());
    send(images.remove("x", false, Arc::new(|_| crate::Usage::default())));
    send(images.tag("x", &request_reference));
    send(images.save(&[], &[]));
    send(images.ensure_unpacked(image));
}

fn metadata(id: &Digest) -> Arc<Metadata> {
    Arc::new(Metadata {
        target: Descriptor::new("x", id.clone(), 1),
        manifest: None,
        config_digest: None,
        layers: Vec::new(),
        config: ConfigFile::default(),
        chain: Vec::new(),
        created: None,
        content_size: 0,
        unpacked_size: 0,
        layer_sizes: Vec::new(),
    })
}

fn table(records: &[(&str, &Digest)]) -> Table {
    let known = records.iter().map(|(_, id)| ((*id).clone(), metadata(id)));
    let records = records.iter().map(|(name, id)| {
        let record = ImageRecord {
            name: (*name).to_owned(),
            labels: BTreeMap::new(),
            target: Descriptor::new("x", (*id).clone(), 1).to_containerd(),
            created: None,
            updated: None,
        };
        ((*name).to_owned(), record)
    });
    Table::new(records.collect(), known.collect::<HashMap<_, _>>())
}

#[test]
fn names_ids_and_prefixes_resolve() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let lost = dangling_name(&b);
    let table = table(&[
        ("docker.io/library/busybox:latest", &a),
        ("docker.io/library/busybox:1", &a),
        (&lost, &b),
    ]);
    let id = |name: &str| table.resolve(name).map(|image| image.id().clone());
    for name in [
        "busybox",
        "busybox:1",
        "docker.io/library/busybox",
        a.as_str(),
        a.encoded(),
    ] {
        assert_eq!(id(name).unwrap(), a, "{name}");
    }
    assert_eq!(id(&format!("busybox@{a}")).unwrap(), a);
    assert_eq!(id(&a.encoded()[..12]).unwrap(), a);
    assert_eq!(id(b.short()).unwrap(), b);
    assert_eq!(id(&lost).unwrap(), b);
    let image = table.resolve("busybox").unwrap();
    assert_eq!(image.tags(), ["busybox:1", "busybox:latest"]);
    assert_eq!(image.digests(), [format!("busybox@{a}")]);
    assert!(table.resolve(b.short()).unwrap().is_dangling());
    for (name, message) in [
        ("nosuch", "No such image: nosuch:latest"),
        ("nosuch:1", "No such image: nosuch:1"),
        ("abcd", "No such image: abcd:latest"),
        ("a//b", "invalid reference format"),
    ] {
        assert_eq!(table.resolve(name).unwrap_err().to_string(), message);
    }
    assert!(table.resolve(&format!("other@{a}")).is_err());
}

#[test]
fn a_document_that_is_both_is_refused() {
    let digest = Digest::of(b"");
    let both = json!({"schemaVersion": 2, "manifests": [], "layers": [], "config": {}});
    for bad in [
        both,
        json!({}),
        json!({"schemaVersion": 2, "layers": 1, "config": 2}),
    ] {
        let data = serde_json::to_vec(&bad).unwrap();
        assert!(Document::parse(&digest, &data).is_err(), "{bad}");
    }
}

#[test]
fn platforms() {
    let parse = |text: &str| Platform::parse(text).unwrap();
    assert_eq!(parse("linux/x86_64").to_string(), "linux/amd64");
    assert_eq!(parse("arm64").to_string(), "linux/arm64/v8");
    assert_eq!(parse("linux/arm/v7").to_string(), "linux/arm/v7");
    assert!(Platform::parse("linux/a b").is_err());
    assert!(Platform::parse("a/b/c/d").is_err());
    assert_eq!(parse("Linux/AMD64").to_string(), "linux/amd64");
    assert_eq!(parse("x86_64").to_string(), "linux/amd64");
    assert_eq!(
        Platform::parse("nope").unwrap_err().to_string(),
        "\"nope\": unknown operating system or architecture: invalid argument"
    );
    let arm7 = parse("linux/arm/v7");
    assert_eq!(arm7.distance(&parse("linux/arm/v7")), Some(0));
    assert_eq!(arm7.distance(&parse("linux/arm/v6")), Some(1));
    assert_eq!(parse("linux/arm/v6").distance(&arm7), None);
    assert_eq!(parse("amd64").distance(&parse("arm64")), None);
}

fn apply(lines: &[&str]) -> crate::Result<Value> {
    let mut config = serde_json::Map::new();
    let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    changes::apply(&mut config, &lines).map(|()| Value::Object(config))
}

#[test]
fn changes_are_dockerfile_instructions() {
    let config = apply(&[
        "ENTRYPOINT [\"/bin/e\"]",
        "CMD echo hi",
        "cmd [\"echo\",\"loaded\"]",
        "ENV a=b c=\"d e\"",
        "ENV a x y",
        "LABEL k=v \"with space\"='1 2'",
        "EXPOSE 80 53/udp 8000-8001",
        "VOLUME [\"/a\", \"/b\"]",
        "USER nobody:nogroup",
        "WORKDIR /a",
        "WORKDIR b/../c",
        "STOPSIGNAL SIGUSR1",
        "HEALTHCHECK --interval=1m30s --retries=3 CMD true || false",
        "ONBUILD RUN x",
    ])
    .unwrap();
    let expected = json!({
        "Entrypoint": ["/bin/e"],
        "Cmd": ["echo", "loaded"],
        "Env": ["a=x y", "c=d e"],
        "Labels": {"k": "v", "with space": "1 2"},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}},
        "Volumes": {"/a": {}, "/b": {}},
        "User": "nobody:nogroup",
        "WorkingDir": "/a/c",
        "StopSignal": "SIGUSR1",
        "Healthcheck":
            {"Test": ["CMD-SHELL", "true || false"], "Interval": 90_000_000_000u64, "Retries": 3},
        "OnBuild": ["RUN x"],
    });
    assert_eq!(config, expected);
    let message = |line: &str| apply(&[line]).unwrap_err().to_string();
    assert_eq!(message("RUN x"), "RUN is not a valid change command");
    assert_eq!(message("USER"), "USER requires exactly one argument");
    assert_eq!(message("EXPOSE x"), "invalid containerPort: x");
}

fn tar_of(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

fn parts_of(data: &[u8]) -> (crate::Result<()>, Vec<Part>) {
    let (tx, mut rx) = mpsc::channel(1000);
    let outcome = archive::read(data, &tx);
    drop(tx);
    let mut parts = Vec::new();
    while let Ok(part) = rx.try_recv() {
        parts.push(part);
    }
    (outcome, parts)
}

fn raw_entry(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, link: &str) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
}

#[test]
fn archives_are_read_whatever_they_are_compressed_with() {
    let data = tar_of(|b| {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_cksum();
        b.append_data(&mut header, "./a/b", &b"xyz"[..]).unwrap();
        raw_entry(b, tar::EntryType::Symlink, "c/d", "../a/b");
    });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &data).unwrap();
    let zstd = zstd::encode_all(&data[..], 1).unwrap();
    for data in [data, gzip.finish().unwrap(), zstd] {
        let (outcome, parts) = parts_of(&data);
        outcome.unwrap();
        assert_eq!(
            parts,
            [
                Part::File {
                    path: "a/b".into(),
                    size: 3
                },
                Part::Data("xyz".into()),
                Part::End,
                Part::Link {
                    path: "c/d".into(),
                    target: "a/b".into()
                },
            ]
        );
    }
}

#[test]
fn hostile_archives_are_refused() {
    use tar::EntryType;
    for (kind, path, link) in [
        (EntryType::Regular, "/etc/passwd", ""),
        (EntryType::Regular, "a/../../b", ""),
        (EntryType::Symlink, "a/b", "/etc/passwd"),
        (EntryType::Symlink, "a/b", "../../x"),
        (EntryType::Link, "a", "../x"),
        (EntryType::Char, "a", ""),
        (EntryType::Fifo, "a", ""),
    ] {
        let (outcome, _) = parts_of(&tar_of(|b| raw_entry(b, kind, path, link)));
        assert!(
            matches!(outcome, Err(Error::Archive(_))),
            "{kind:?} {path} {link}"
        );
    }
}

#[test]
fn endless_names_are_refused_before_they_fill_memory() {
    let name = vec![b'a'; 3 << 20];
    let data = tar_of(|b| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(name.len() as u64);
        header.set_cksum();
        b.append(&header, &name[..]).unwrap();
        raw_entry(b, tar::EntryType::Regular, "x", "");
    });
    let (outcome, parts) = parts_of(&data);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("header field too long"), "{error}");
    assert_eq!(parts, []);
    // A long name as real archives have them.
    let long = "b/".repeat(200) + "c";
    let data = tar_of(|b| {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        b.append_data(&mut header, &long, &b""[..]).unwrap();
    });
    let (outcome, parts) = parts_of(&data);
    outcome.unwrap();
    assert_eq!(
        parts[0],
        Part::File {
            path: long,
            size: 0
        }
    );
}

#[test]
fn truncated_archives_are_refused() {
    let data = tar_of(|b| {
        let mut header = tar::Header::new_gnu();
        header.set_size(5000);
        header.set_cksum();
        b.append_data(&mut header, "a", &[7; 5000][..]).unwrap();
    });
    let (outcome, parts) = parts_of(&data[..3000]);
    assert!(outcome.is_err());
    assert!(!parts.contains(&Part::End));
}

#[test]
fn globs_are_gos() {
    for (pattern, text, fits) in [
        ("busy*", "busybox", true),
        ("busy*:l*", "busybox:latest", true),
        ("*", "a/b", false),
        ("*/*", "a/b", true),
        ("b[a-u]sybox", "busybox", true),
        ("b[^a-u]sybox", "busybox", false),
        ("b?sybox", "busybox", true),
        ("b\\?sybox", "busybox", false),
        ("[", "a", false),
        ("*x*x", "axbxcx", true),
        ("", "", true),
    ] {
        assert_eq!(
            glob(pattern.as_bytes(), text.as_bytes()),
            fits,
            "{pattern} {text}"
        );
    }
}

proptest! {
    /// What is shown can be asked for, and means what it was shown beside.
    #[test]
    fn every_name_shown_resolves(
        names in proptest::collection::vec(("[a-c]{1,2}", "[a-c]?", 0u8..4, any::<bool>()), 0..12),
    ) {
        let ids: Vec<Digest> = (0..4u8).map(|n| Digest::of(&[n])).collect();
        let records: Vec<(String, &Digest)> = names
            .iter()
            .map(|(name, tag, id, digested)| {
                let id = &ids[usize::from(*id)];
                let tag = if tag.is_empty() { String::new() } else { format!(":{tag}") };
                let name = format!("docker.io/library/{name}");
                match (digested, tag.is_empty()) {
                    (true, _) => (format!("{name}{tag}@{id}"), id),
                    (false, true) => (dangling_name(id), id),
                    (false, false) => (format!("{name}{tag}"), id),
                }
            })
            .collect();
        let records: Vec<(&str, &Digest)> = records.iter().map(|(n, id)| (n.as_str(), *id)).collect();
        let table = table(&records);
        for image in table.images() {
            let shown = image.tags().iter().chain(image.digests());
            for name in shown.map(String::as_str).chain([image.id().as_str(), image.id().encoded()]) {
                let found = table.resolve(name).unwrap();
                prop_assert_eq!(found.id(), image.id(), "{}", name);
            }
        }
    }

    #[test]
    fn nothing_makes_the_parsers_fail(text in "\\PC{0,60}", other in "\\PC{0,30}") {
        let _ = glob(text.as_bytes(), other.as_bytes());
        let _ = Platform::parse(&text);
        for word in ["ENV", "LABEL", "EXPOSE", "HEALTHCHECK", "VOLUME", "ONBUILD"] {
            let _ = apply(&[&format!("{word} {text}")]);
        }
        let _ = Document::parse(&Digest::of(b""), text.as_bytes());
    }

    #[test]
    fn paths_never_leave_the_archive(path in "[a./]{0,12}", link in "[a./]{0,12}") {
        let outside = |p: &str| p.starts_with('/') || p.split('/').any(|c| c == "..");
        if let Ok(inner) = archive::inner_path(&path) {
            prop_assert!(!outside(&inner));
            if let Ok(target) = archive::link_target(&inner, &link) {
                prop_assert!(!outside(&target), "{}", target);
            }
        }
    }

    #[test]
    fn archive_reading_never_panics(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parts_of(&data);
    }
}
