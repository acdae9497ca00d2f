//! What `docker save` puts into an archive.

use serde_json::{Value, json};
use testkit::{Compression, Image, shared};

fn load(tag: &str) {
    let image = Image::busybox(tag).layer(&[("etc/name", 0o644, tag)]);
    let archive = image.docker_archive(Compression::None);
    shared().cli(["load"]).stdin(archive).run().ok();
}

/// The names in the manifest of an archive of `names`, image by image.
fn saved(names: &[&str]) -> Vec<Value> {
    let script = format!("docker save {} | tar -xO manifest.json", names.join(" "));
    let output = shared().shell(&script).run().ok();
    let manifest: Vec<Value> = serde_json::from_str(&output.stdout).expect("JSON");
    manifest
        .into_iter()
        .map(|image| image["RepoTags"].clone())
        .collect()
}

#[test]
fn a_repository_alone_means_all_its_tags() {
    let daemon = shared();
    for tag in ["saved:a", "saved:b", "saved-too:a"] {
        load(tag);
    }
    daemon.docker(["tag", "saved:a", "saved:c"]).ok();
    let mut all = saved(&["saved"]);
    all.sort_by_key(Value::to_string);
    assert_eq!(
        all,
        [json!(["saved:a", "saved:c"]), json!(["saved:b"])],
        "and no latest is needed"
    );
    assert_eq!(saved(&["saved:b"]), [json!(["saved:b"])]);
    let id = daemon.docker(["inspect", "-f", "{{.Id}}", "saved:b"]).ok();
    let short = id.out().trim_start_matches("sha256:")[..12].to_owned();
    assert_eq!(saved(&[&short]), [Value::Null], "an ID has no name");
    daemon
        .docker(["save", "saved-nowhere"])
        .exits(1)
        .err_has("No such image: saved-nowhere:latest");
    daemon
        .docker(["rmi", "saved:a", "saved:b", "saved:c", "saved-too:a"])
        .ok();
}
