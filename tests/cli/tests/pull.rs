//! Pulls from registries on loopback.

use serde_json::{Value, json};
use testkit::{Compression, Daemon, Image, Options, Registry, Stub, Tls, shared};

fn image(tag: &str) -> Image {
    Image::busybox(tag).layer(&[("etc/name", 0o644, tag)])
}

fn runs(daemon: &Daemon, name: &str, text: &str) {
    let run = ["run", "--rm", "--pull", "never", name, "cat", "/etc/name"];
    daemon.docker(run).ok().out_is(text);
}

#[test]
fn by_tag_and_by_digest() {
    let registry = Registry::start(shared(), 5000);
    let digest = registry.push(&image("pulled"), "test/pulled", "1", Compression::Gzip);
    let name = format!("{}/test/pulled:1", registry.host());
    let output = shared().docker(["pull", &name]).ok();
    for line in [
        "1: Pulling from test/pulled".to_owned(),
        format!("Digest: {digest}"),
        format!("Status: Downloaded newer image for {name}"),
        name.clone(),
    ] {
        assert!(
            output.stdout.lines().any(|have| have == line),
            "no [{line}]: {output}"
        );
    }
    runs(shared(), &name, "pulled");
    let again = shared().docker(["pull", &name]).ok();
    let line = format!("Status: Image is up to date for {name}");
    assert!(again.stdout.contains(&line), "{again}");
    shared().docker(["pull", "-q", &name]).ok().out_is(&name);
    let by_digest = format!("{}/test/pulled@{digest}", registry.host());
    let digests = shared()
        .docker(["image", "inspect", "-f", "{{json .RepoDigests}}", &name])
        .ok();
    assert_eq!(digests.out(), json!([by_digest]).to_string());
    shared().docker(["rmi", "-f", &name]).ok();
    shared().docker(["pull", &by_digest]).ok();
    runs(shared(), &by_digest, "pulled");
    shared().docker(["rmi", "-f", &by_digest]).ok();
}

#[test]
fn run_pulls_what_is_missing() {
    let registry = Registry::start(shared(), 5010);
    registry.push(&image("wanted"), "wanted", "latest", Compression::Gzip);
    let name = format!("{}/wanted", registry.host());
    let run = ["run", "--rm", &name, "cat", "/etc/name"];
    let output = shared().docker(run).ok();
    let missing = format!("Unable to find image '{name}:latest' locally");
    assert!(output.stderr.contains(&missing), "{output}");
    assert_eq!(output.out(), "wanted");
    shared().docker(["rmi", "-f", &name]).ok();
}

#[test]
fn a_moved_tag_is_fetched_anew() {
    let registry = Registry::start(shared(), 5020);
    registry.push(&image("before"), "moves", "1", Compression::Gzip);
    let name = format!("{}/moves:1", registry.host());
    shared().docker(["pull", &name]).ok();
    registry.push(&image("after"), "moves", "1", Compression::Gzip);
    let output = shared().docker(["pull", &name]).ok();
    assert!(output.stdout.contains("Downloaded newer image"), "{output}");
    runs(shared(), &name, "after");
    shared().docker(["rmi", "-f", &name]).ok();
}

#[test]
fn other_compressions() {
    let registry = Registry::start(shared(), 5030);
    for (tag, compression) in [("none", Compression::None), ("zstd", Compression::Zstd)] {
        if shared().is_old_dockerd() && compression == Compression::Zstd {
            continue;
        }
        registry.push(&image(tag), "packed", tag, compression);
        let name = format!("{}/packed:{tag}", registry.host());
        shared().docker(["pull", "-q", &name]).ok();
        runs(shared(), &name, tag);
        shared().docker(["rmi", "-f", &name]).ok();
    }
}

#[test]
fn over_https() {
    // Loopback registries need no certificate that anyone knows, as with dockerd.
    let tls = Tls::new(shared().sandbox().state());
    let registry = Registry::start_with(shared(), 5040, Some(&tls));
    registry.push(&image("secure"), "secure", "1", Compression::Gzip);
    let name = format!("{}/secure:1", registry.host());
    shared().docker(["pull", &name]).ok();
    runs(shared(), &name, "secure");
    shared().docker(["rmi", "-f", &name]).ok();
}

#[test]
fn at_once() {
    // Two of one image and one that shares a layer: all get theirs.
    let registry = Registry::start(shared(), 5050);
    registry.push(&image("one"), "at/once", "1", Compression::Gzip);
    registry.push(&image("two"), "at/once", "2", Compression::Gzip);
    let name = |tag: &str| format!("{}/at/once:{tag}", registry.host());
    let pulls: Vec<_> = ["1", "1", "2"]
        .map(|tag| shared().cli(["pull", "-q", &name(tag)]).spawn())
        .into();
    for pull in pulls {
        pull.wait().ok();
    }
    runs(shared(), &name("1"), "one");
    runs(shared(), &name("2"), "two");
    shared().docker(["rmi", "-f", &name("1"), &name("2")]).ok();
}

#[test]
fn all_tags_of_a_repository_page_by_page() {
    let daemon = Daemon::start(Options::default());
    let images = ["one", "two", "three"].map(|tag| (tag, image(tag).blobs(Compression::Gzip)));
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        let kind = ("Content-Type", "application/vnd.oci.image.manifest.v1+json");
        let next = ("Link", "</v2/paged/tags/list?last=two&n=2>; rel=\"next\"");
        match asked.target.as_str() {
            "/v2/paged/tags/list" => {
                return wire.answer("200 OK", &[next], r#"{"tags": ["one", "two"]}"#);
            }
            "/v2/paged/tags/list?last=two&n=2" => {
                return wire.answer("200 OK", &[], r#"{"tags": ["three"]}"#);
            }
            "/v2/" => return wire.answer("200 OK", &[], "{}"),
            _ => {}
        }
        for (tag, (manifest, blobs)) in &images {
            let name = format!("sha256:{}", testkit::sha256(manifest));
            if asked.target.ends_with(&format!("/{tag}")) || asked.target.ends_with(&name) {
                return wire.answer("200 OK", &[kind], manifest);
            }
            let blob = blobs.iter().find(|(blob, _)| asked.target.ends_with(blob));
            if let Some((_, blob)) = blob {
                return wire.answer("200 OK", &[], blob);
            }
        }
        wire.answer("404 Not Found", &[], "");
    });
    let name = format!("{}/paged", stub.host());
    let output = daemon.docker(["pull", "-a", &name]).ok();
    let pulled = output
        .stdout
        .lines()
        .filter(|line| line.contains(": Pulling from "));
    let pulled: Vec<_> = pulled.collect();
    let expected = ["one", "two", "three"].map(|tag| format!("{tag}: Pulling from paged"));
    assert_eq!(pulled, expected);
    let status = format!("Status: Downloaded newer image for {name}");
    output.out_has(&status);
    for tag in ["one", "two", "three"] {
        runs(&daemon, &format!("{name}:{tag}"), tag);
    }
    let again = daemon.docker(["pull", "-aq", &name]).ok();
    again.out_is(&name);
    let none = format!("{}/none", stub.host());
    daemon
        .docker(["pull", "-a", &none])
        .exits(1)
        .err_has("not found");
    daemon
        .docker(["pull", "-a", &format!("{name}:one")])
        .exits(1)
        .err_has("tag can't be used with --all-tags/-a");
}

#[test]
fn what_another_namespace_of_containerd_stores_is_not_downloaded() {
    let daemon = Daemon::start(Options::default());
    let image = image("common");
    let file = daemon.write("common.tar", image.oci_layout(Compression::Gzip));
    let mut other = daemon.sandbox().command("ctr");
    other.arg("--address").arg(daemon.containerd_socket());
    other.args(["-n", "other", "images", "import", "--no-unpack"]);
    other.arg(file);
    testkit::run_command(other).ok();
    // It has no layers to give.
    let (manifest, blobs) = image.blobs(Compression::Gzip);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| {
        let kind = ("Content-Type", "application/vnd.oci.image.manifest.v1+json");
        match asked.target.as_str() {
            target if target.contains("/manifests/") => wire.answer("200 OK", &[kind], &manifest),
            target if target.ends_with(&blobs[0].0) => wire.answer("200 OK", &[], &blobs[0].1),
            _ => wire.answer("404 Not Found", &[], ""),
        }
    });
    let name = format!("{}/common:1", stub.host());
    daemon.docker(["pull", "-q", &name]).ok();
    runs(&daemon, &name, "common");
}

#[test]
fn the_progress_is_a_stream_of_json() {
    let registry = Registry::start(shared(), 5060);
    registry.push(&image("stream"), "stream", "1", Compression::Gzip);
    let from = format!("{}/stream", registry.host());
    let target = format!("/images/create?fromImage={from}&tag=1");
    let answer = shared().api("POST", &target, None).is(200);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let lines: Vec<Value> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let status = |line: &Value| line["status"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status(&lines[0]), "Pulling from stream");
    assert_eq!(lines[0]["id"], "1");
    let done = lines.iter().filter(|line| status(line) == "Pull complete");
    assert!(done.clone().count() >= 1, "{lines:?}");
    assert!(
        done.clone()
            .all(|line| line["id"].as_str().unwrap().len() == 12),
        "{lines:?}"
    );
    let last = status(lines.last().unwrap());
    assert_eq!(last, format!("Status: Downloaded newer image for {from}:1"));
    shared().docker(["rmi", "-f", &format!("{from}:1")]).ok();
}

#[test]
fn errors() {
    let registry = Registry::start(shared(), 5070);
    registry.push(&image("there"), "there", "1", Compression::Gzip);
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    for missing in ["there:nosuch", "nosuch:1"] {
        let output = shared().docker(["pull", &name(missing)]).exits(1);
        assert!(
            output.stderr.starts_with("Error response from daemon: "),
            "{output}"
        );
        assert!(output.stderr.contains("not found"), "{output}");
    }
    // Before its first byte a pull that fails is a plain HTTP error.
    let target = format!("/images/create?fromImage={}&tag=nosuch", name("there"));
    shared().api("POST", &target, None).is(404);
    shared()
        .docker(["pull", "127.0.0.1:9/none:1"])
        .exits(1)
        .err_has("connection refused");
    let run = ["run", "--rm", "127.0.0.1:9/none:1", "true"];
    shared()
        .docker(run)
        .exits(125)
        .err_has("connection refused");
    shared()
        .docker(["pull", "a//b"])
        .exits(1)
        .err_has("invalid reference format");
    shared()
        .api("POST", "/images/create?fromImage=UPPER", None)
        .is(400);
}

#[test]
fn a_layer_that_is_not_what_it_should_be() {
    let daemon = Daemon::start(Options::default());
    let registry = Registry::start(&daemon, 5000);
    registry.push(&image("bad"), "bad", "1", Compression::Gzip);
    // The storage loses a few bytes of every layer.
    let script = "for f in $(find \"$1\" -path '*/blobs/*/data' -size +100k); do printf xxxx | dd of=$f bs=1 seek=5000 conv=notrunc; done";
    let mut spoil = std::process::Command::new("sh");
    spoil
        .args(["-c", script, "sh"])
        .arg(daemon.sandbox().state().join("registry-5000"));
    testkit::run_command(spoil).ok();
    let name = format!("{}/bad:1", registry.host());
    let output = daemon.docker(["pull", &name]).exits(1);
    assert!(!output.err().is_empty(), "{output}");
    daemon
        .api("GET", &format!("/images/{name}/json"), None)
        .is(404);
}
