//! Images of several platforms, and images that containers need.

use serde_json::{Value, json};
use testkit::{Compression, Image, Stub, sha256, shared};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with one index: the image for amd64, the same for arm64, and what attests the first.
struct Hub {
    index: Vec<u8>,
    things: Vec<(String, Vec<u8>)>,
    amd64: String,
    arm64: String,
}

impl Hub {
    /// For one test: what that removes by its digest, no other one has.
    fn new(test: &str) -> Hub {
        let mut things: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |bytes: Vec<u8>| {
            let digest = format!("sha256:{}", sha256(&bytes));
            things.push((digest.clone(), bytes));
            digest
        };
        let image = Image::busybox("x").layer(&[("etc/name", 0o644, "multi")]);
        let image = image.set("Labels", json!({"test": test}));
        let (manifest, blobs) = image.blobs(Compression::Gzip);
        let mut other: Value = serde_json::from_slice(&manifest).expect("JSON");
        for (_, bytes) in &blobs {
            add(bytes.clone());
        }
        let config = String::from_utf8(blobs[0].1.clone()).expect("JSON");
        let config = config.replace("amd64", "arm64").into_bytes();
        other["config"]["size"] = config.len().into();
        other["config"]["digest"] = add(config).into();
        let statement = json!({"predicateType": "https://slsa.dev/provenance/v0.2"}).to_string();
        let size = statement.len();
        let statement = add(statement.into_bytes());
        let proof = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": blobs[0].0, "size": blobs[0].1.len()},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": statement,
                "size": size, "annotations":
                    {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}],
        });
        let (other, proof) = (other.to_string(), proof.to_string());
        let sizes = [manifest.len(), other.len(), proof.len()];
        let amd64 = add(manifest);
        let arm64 = add(other.into_bytes());
        let proof = add(proof.into_bytes());
        let entry = |digest: &str, size: usize, architecture: &str| {
            json!({"mediaType": MANIFEST, "digest": digest, "size": size,
                "platform": {"os": "linux", "architecture": architecture}})
        };
        let mut about = entry(&proof, sizes[2], "unknown");
        about["platform"]["os"] = "unknown".into();
        about["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": amd64});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            entry(&amd64, sizes[0], "amd64"), entry(&arm64, sizes[1], "arm64"), about]});
        Hub {
            index: index.to_string().into_bytes(),
            things,
            amd64,
            arm64,
        }
    }

    /// Loads all of it as an OCI layout.
    fn load(self, name: &str) {
        let folder = tempfile::tempdir().expect("it can be written");
        let blobs = folder.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("it can be written");
        let index = format!("sha256:{}", sha256(&self.index));
        let things = self
            .things
            .into_iter()
            .chain([(index.clone(), self.index.clone())]);
        for (digest, bytes) in things {
            std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes)
                .expect("it can be written");
        }
        let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
            "mediaType": INDEX, "digest": index, "size": self.index.len(),
            "annotations": {"io.containerd.image.name": format!("docker.io/library/{name}")}}]});
        let write = |path: &str, text: String| std::fs::write(folder.path().join(path), text);
        write("index.json", top.to_string()).expect("it can be written");
        write(
            "oci-layout",
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )
        .expect("it can be written");
        let mut tar = std::process::Command::new("tar");
        tar.arg("-C").arg(folder.path()).args(["-c", "."]);
        let archive = testkit::run_command(tar).ok().stdout_bytes;
        shared().cli(["load"]).stdin(archive).run().ok();
    }

    fn start(self, port: u16) -> Stub {
        Stub::start(shared(), port, move |asked, wire| {
            let what = asked.target.rsplit('/').next().unwrap_or_default();
            let found = self.things.iter().find(|(digest, _)| digest == what);
            match found {
                Some((_, bytes)) if asked.target.contains("/manifests/") => {
                    wire.answer("200 OK", &[("Content-Type", MANIFEST)], bytes);
                }
                Some((_, bytes)) => wire.answer("200 OK", &[], bytes),
                None if asked.target.contains("/manifests/") => {
                    wire.answer("200 OK", &[("Content-Type", INDEX)], &self.index);
                }
                None => wire.answer("200 OK", &[], "{}"),
            }
        })
    }
}

fn inspect(name: &str, query: &str) -> Value {
    let target = format!("/images/{name}/json?{query}");
    shared().api("GET", &target, None).is(200).json()
}

fn platform(architecture: &str) -> String {
    format!("%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22{architecture}%22%7D")
}

#[test]
fn one_platform_of_several() {
    let hub = Hub::new("one of several");
    let (amd64, arm64) = (hub.amd64.clone(), hub.arm64.clone());
    let stub = hub.start(5000);
    let name = format!("{}/multi:1", stub.host());
    shared().docker(["pull", "-q", &name]).ok();
    // The other platform is told of, but not here.
    let manifests = inspect(&name, "manifests=1")["Manifests"].clone();
    let of = |digest: &str| {
        let all = manifests.as_array().expect("a list").iter();
        let found = all.clone().find(|m| m["ID"] == digest).cloned();
        found.unwrap_or_else(|| panic!("no {digest}: {manifests}"))
    };
    assert_eq!(
        (&of(&amd64)["Available"], &of(&amd64)["Kind"]),
        (&json!(true), &json!("image"))
    );
    assert!(of(&amd64)["ImageData"]["Size"]["Unpacked"].as_i64() > Some(0));
    assert_eq!(of(&arm64)["Available"], json!(false));
    let other = format!("/images/{name}/json?platform={}", platform("arm64"));
    let message = shared().api("GET", &other, None).is(404).message();
    let words = "was found but does not provide the specified platform (linux/arm64/v8)";
    assert!(message.contains(words), "{message}");
    // It comes beside the first.
    let pull = ["pull", "-q", "--platform", "linux/arm64", &name];
    shared().docker(pull).ok();
    let query = format!("platform={}", platform("arm64"));
    assert_eq!(inspect(&name, &query)["Architecture"], "arm64");
    assert_eq!(inspect(&name, "")["Architecture"], "amd64");
    let history = format!("/images/{name}/history?{query}");
    assert_eq!(
        shared().api("GET", &history, None).is(200).json()[0]["Comment"],
        ""
    );
    let bad = format!("/images/{name}/json?platform=linux");
    shared().api("GET", &bad, None).is(400);
    // Saved alone, it is alone.
    let file = shared()
        .sandbox()
        .state()
        .join("arm64.tar")
        .display()
        .to_string();
    let save = ["save", "--platform", "linux/arm64", "-o", &file, &name];
    shared().docker(save).ok();
    shared().docker(["rmi", "-f", &name]).ok();
    // Not the other one that it once had: containerd may still have its content.
    let load = ["load", "--platform", "linux/s390x", "-i", &file];
    shared()
        .docker(load)
        .exits(1)
        .err_has("does not provide the specified platform");
    shared()
        .docker(["load", "--platform", "linux/arm64", "-i", &file])
        .ok();
    assert_eq!(inspect(&name, &query)["Architecture"], "arm64");
    shared().docker(["rmi", "-f", &name]).ok();
}

/// Whether containerd still has a blob.
fn has(digest: &str) -> bool {
    let mut ctr = std::process::Command::new("ctr");
    ctr.arg("--address").arg(shared().containerd_socket());
    ctr.args(["-n", "moby", "content", "ls", "-q"]);
    testkit::run_command(ctr).ok().stdout.contains(digest)
}

#[test]
fn one_platform_goes_and_what_others_need_stays() {
    let hub = Hub::new("one goes");
    let (amd64, arm64) = (hub.amd64.clone(), hub.arm64.clone());
    let stub = hub.start(5040);
    let name = format!("{}/parts:1", stub.host());
    shared().docker(["pull", "-q", &name]).ok();
    let pull = ["pull", "-q", "--platform", "linux/arm64", &name];
    shared().docker(pull).ok();
    shared().docker(["tag", &name, "parts-too:1"]).ok();
    let query = format!("platform={}", platform("arm64"));
    let config = inspect(&name, "manifests=1")["Manifests"].clone();
    assert_eq!(config[1]["Available"], json!(true), "{config}");
    // Not by the way.
    let plain = ["rmi", "--platform", "linux/arm64", &name];
    let words = "Content will be removed from all images referencing this variant. \
        Use \u{2014}-force to force delete.";
    shared().docker(plain).exits(1).err_has(words);
    // All that was asked for, or nothing.
    let (one, other) = (platform("arm64"), platform("s390x"));
    let target = format!("/images/{name}?force=1&platforms={one}&platforms={other}");
    let message = shared().api("DELETE", &target, None).is(404).message();
    let id = shared().format(&name, "{{.Id}}");
    let words = format!(
        "failed to delete platform linux/s390x for image {id}: image with reference {name} \
         was found but does not provide any platform"
    );
    assert_eq!(message, words);
    let bad = format!("/images/{name}?force=1&platforms=linux");
    shared().api("DELETE", &bad, None).is(400);
    // 386 would run here, but is not what is here.
    let target = format!("/images/{name}?force=1&platforms={}", platform("386"));
    shared().api("DELETE", &target, None).is(404);
    assert_eq!(inspect(&name, &query)["Architecture"], "arm64");

    let rmi = ["rmi", "-f", "--platform", "linux/arm64", &name];
    let removed = shared().docker(rmi).ok();
    removed.out_is(&format!("Deleted: {arm64}"));
    assert!(!has(&arm64));
    let gone = format!("/images/parts-too:1/json?{query}");
    shared().api("GET", &gone, None).is(404);
    // The two have their layers in common.
    let run = ["run", "--rm", &name, "cat", "/etc/name"];
    shared().docker(run).ok().out_is("multi");
    let create = ["create", "--name", "parts", &name, "cat", "/etc/name"];
    shared().docker(create).ok();
    let rmi = ["rmi", "-f", "--platform", "linux/amd64", "parts-too:1"];
    let removed = shared().docker(rmi).ok();
    removed.out_is(&format!("Deleted: {amd64}"));
    // What a container needs stays; its image is what it was, without anything in it.
    let start = shared().docker(["start", "-a", "parts"]).ok();
    start.out_is("multi");
    assert_eq!(shared().format(&name, "{{.Id}}"), id);
    let manifests = inspect(&name, "manifests=1")["Manifests"].clone();
    assert_eq!(manifests[0]["Available"], json!(false), "{manifests}");
    shared().docker(["pull", "-q", &name]).ok();
    shared().docker(run).ok().out_is("multi");
    shared().docker(["rm", "parts"]).ok();
    shared().docker(["rmi", &name, "parts-too:1"]).ok();
}

#[test]
fn a_platform_that_is_none_is_refused_before_anybody_is_asked() {
    let stub = Hub::new("none").start(5050);
    let name = format!("{}/none:1", stub.host());
    for (platform, words) in [
        (
            "nope",
            "\"nope\": unknown operating system or architecture: invalid argument",
        ),
        (
            "a/b/c/d",
            "\"a/b/c/d\": cannot parse platform specifier: invalid argument",
        ),
        ("linux/", "\"\" is an invalid component of \"linux/\""),
    ] {
        let target = format!("/images/create?fromImage={name}&platform={platform}");
        let message = shared().api("POST", &target, None).is(400).message();
        assert!(message.contains(words), "{message}");
        let pull = ["pull", "--platform", platform, &name];
        shared().docker(pull).exits(1).err_has(words);
    }
    assert!(stub.asked().is_empty(), "{:?}", stub.asked());
}

#[test]
fn lists_tell_of_containers_and_manifests() {
    let stub = Hub::new("lists").start(5010);
    let name = format!("{}/listed:1", stub.host());
    shared().docker(["pull", "-q", &name]).ok();
    let listed = |query: &str| {
        let target = format!("/images/json?{query}");
        let all = shared().api("GET", &target, None).is(200).json();
        let all = all.as_array().expect("a list").clone();
        let one = all
            .into_iter()
            .find(|image| image["RepoTags"][0] == json!(name));
        one.expect("it is listed")
    };
    assert_eq!(listed("")["Containers"], 0);
    assert_eq!(listed("").get("Manifests"), None);
    let container = shared()
        .docker(["create", &name, "true"])
        .ok()
        .out()
        .to_owned();
    assert_eq!(listed("")["Containers"], 1);
    let manifests = listed("manifests=1")["Manifests"].clone();
    assert_eq!(manifests.as_array().map(Vec::len), Some(3));
    assert_eq!(manifests[0]["ImageData"]["Containers"], json!([container]));
    assert_eq!(manifests[2]["Kind"], "attestation");
    shared().docker(["rm", &container]).ok();
    shared().docker(["rmi", "-f", &name]).ok();
}

#[test]
fn what_an_index_attests() {
    let image = Image::busybox("single:1").docker_archive(Compression::None);
    shared().cli(["load"]).stdin(image).run().ok();
    let of = |name: &str| format!("/images/{name}/attestations");
    let none = shared().api("GET", &of("single:1"), None).is(200).json();
    assert_eq!(none, json!([]));
    shared().api("GET", &of("nosuch:1"), None).is(404);
    Hub::new("attested").load("attested:1");
    let all = shared().api("GET", &of("attested:1"), None).is(200).json();
    let kind = "https://slsa.dev/provenance/v0.2";
    assert_eq!(all[0]["PredicateType"], kind, "{all}");
    assert_eq!(all[0].get("Statement"), None);
    let query = format!("{}?statement=1&type={kind}", of("attested:1"));
    let whole = shared().api("GET", &query, None).is(200).json();
    assert_eq!(whole[0]["Statement"], json!({"predicateType": kind}));
    let query = format!("{}?type=https://spdx.dev/Document", of("attested:1"));
    let other = shared().api("GET", &query, None).is(200).json();
    assert_eq!(other, json!([]));
    let query = format!("{}?platform={}", of("attested:1"), platform("arm64"));
    assert_eq!(shared().api("GET", &query, None).is(200).json(), json!([]));
    shared().docker(["rmi", "-f", "attested:1"]).ok();
    shared().docker(["rmi", "single:1"]).ok();
}

#[test]
fn an_import_from_a_url() {
    let archive = testkit::rootfs_tar();
    let stub = Stub::start(shared(), 5020, move |asked, wire| {
        match asked.target.as_str() {
            "/root.tar" => wire.answer("200 OK", &[], &archive[..]),
            _ => wire.answer("404 Not Found", &[], ""),
        }
    });
    let url = format!("http://{}/root.tar", stub.host());
    let output = shared()
        .docker(["import", "-m", "fetched", &url, "fetched:1"])
        .ok();
    output
        .out_has("Downloading from http://")
        .out_has("sha256:");
    let run = ["run", "--rm", "fetched:1", "/bin/sh", "-c", "echo runs"];
    shared().docker(run).ok().out_is("runs");
    shared().docker(["rmi", "fetched:1"]).ok();
    let missing = format!("http://{}/none.tar", stub.host());
    let output = shared().docker(["import", &missing, "x:1"]).exits(1);
    output.err_has("with status 404");
}

#[test]
fn a_container_outlives_its_image_and_nothing_else_does() {
    let image = |text: &str| {
        let image = Image::busybox("gone:1").layer(&[("etc/name", 0o644, text)]);
        shared()
            .cli(["load"])
            .stdin(image.docker_archive(Compression::Gzip))
            .run()
            .ok();
    };
    image("old");
    let create = ["create", "--name", "outlives", "gone:1", "cat", "/etc/name"];
    shared().docker(create).ok();
    let old = shared().format("gone:1", "{{.Id}}");
    // Its tag moves, then what was left of it is removed by force.
    image("new");
    shared()
        .docker(["rmi", &old])
        .exits(1)
        .err_has("is being used by stopped container");
    shared().docker(["rmi", "-f", &old]).ok();
    shared().docker(["rmi", "-f", "gone:1"]).ok();
    shared().collect_garbage();
    shared()
        .docker(["start", "-a", "outlives"])
        .ok()
        .out_is("old");
    shared().docker(["rm", "outlives"]).ok();
    shared().collect_garbage();
    let socket = shared().containerd_socket();
    testkit::eventually("its content is collected", testkit::PATIENCE, || {
        let mut ctr = std::process::Command::new("ctr");
        ctr.arg("--address").arg(&socket);
        ctr.args(["-n", "moby", "content", "ls", "-q"]);
        let left = testkit::run_command(ctr).ok();
        (!left.stdout.contains(&old)).then_some(())
    });
}
