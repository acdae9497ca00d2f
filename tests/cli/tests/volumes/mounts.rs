//! Volumes in containers.

use serde_json::{Value, json};
use testkit::{Compression, Image, shared, unique};

use super::{names, sh};

#[test]
fn named_volumes_are_shared_and_stay() {
    let (daemon, name) = (shared(), unique("data"));
    let bind = format!("{name}:/d");
    sh(daemon, &["-v", &bind], "echo kept >/d/f").ok();
    sh(daemon, &["-v", &bind], "cat /d/f").ok().out_is("kept");
    let read_only = format!("{bind}:ro");
    sh(daemon, &["-v", &read_only], "touch /d/x")
        .exits(1)
        .err_has("Read-only file system");
    let long = format!("type=volume,source={name},target=/m,readonly");
    sh(daemon, &["--mount", &long], "cat /m/f; touch /m/x")
        .exits(1)
        .out_is("kept")
        .err_has("Read-only file system");
    daemon.docker(["volume", "rm", &name]).ok();
}

#[test]
fn anonymous_volumes_go_with_their_container() {
    let (daemon, container) = (shared(), unique("anon"));
    let create = ["create", "--name", &container, "-v", "/data"];
    daemon
        .cli(create)
        .args(["--mount", "type=volume,target=/m", "busybox"])
        .run()
        .ok();
    let mounts = daemon.inspect(&container)["Mounts"].clone();
    let volumes: Vec<_> = mounts
        .as_array()
        .expect("a list")
        .iter()
        .map(|mount| mount["Name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(volumes.len(), 2, "{mounts}");
    let there = |name: &String| names(daemon, &[]).contains(name);
    assert!(volumes.iter().all(there));
    daemon.docker(["rm", "-v", &container]).ok();
    assert!(!volumes.iter().any(there), "rm -v removes them");
    // Without -v they stay, and --rm removes them.
    daemon
        .docker(["create", "--name", &container, "-v", "/data", "busybox"])
        .ok();
    let kept = daemon.inspect(&container)["Mounts"][0]["Name"].clone();
    daemon.docker(["rm", &container]).ok();
    let kept = kept.as_str().expect("a name").to_owned();
    assert!(there(&kept));
    daemon.docker(["volume", "rm", &kept]).ok();
    let run = ["run", "-d", "--rm", "--name", &container, "-v", "/data"];
    daemon
        .cli(run)
        .args(["busybox", "sleep", "1000"])
        .run()
        .ok();
    let gone = daemon.inspect(&container)["Mounts"][0]["Name"].clone();
    daemon.docker(["kill", &container]).ok();
    daemon.docker(["wait", &container]);
    let gone = gone.as_str().expect("a name").to_owned();
    testkit::eventually("--rm removes them", testkit::PATIENCE, || {
        (!there(&gone)).then_some(())
    });
}

#[test]
fn an_image_s_volumes_are_made() {
    let daemon = shared();
    let image = format!("{}:1", unique("withvolumes"));
    let archive = Image::busybox(&image)
        .set("Volumes", json!({"/data": {}, "/var/x/../y": {}}))
        .docker_archive(Compression::None);
    daemon.cli(["load"]).stdin(archive).run().ok();
    let container = unique("imagevolumes");
    let output = daemon
        .docker([
            "create", "--name", &container, "-v", "/srv", "--tmpfs", "/data", &image,
        ])
        .ok();
    assert_eq!(output.stderr, "", "nothing to warn of");
    let mounts = daemon.inspect(&container)["Mounts"].clone();
    let mut places: Vec<_> = mounts
        .as_array()
        .expect("a list")
        .iter()
        .map(|mount| mount["Destination"].as_str().expect("a path"))
        .collect();
    places.sort_unstable();
    assert_eq!(places, ["/srv", "/var/y"], "a tmpfs takes the place");
    daemon.docker(["rm", "-v", &container]).ok();
}

#[test]
fn inspect_tells_all_of_them() {
    let (daemon, name, container) = (shared(), unique("told"), unique("told"));
    let (bind, long) = (
        format!("{name}:/a:ro"),
        format!("type=volume,source={name},target=/b,volume-nocopy,volume-label=x=y"),
    );
    let create = [
        "create", "--name", &container, "-v", &bind, "--mount", &long,
    ];
    daemon.cli(create).args(["-v", "/c", "busybox"]).run().ok();
    let mounts = daemon.inspect(&container)["Mounts"].clone();
    let source = daemon.data_root().join("volumes").join(&name).join("_data");
    let wanted = |destination: &str, mode: &str, rw: bool| {
        json!({"Type": "volume", "Name": name, "Source": source, "Destination": destination,
            "Driver": "local", "Mode": mode, "RW": rw, "Propagation": ""})
    };
    assert_eq!(mounts[0], wanted("/a", "ro", false));
    assert_eq!(mounts[1], wanted("/b", "z", true));
    assert_eq!(mounts[2]["Mode"], "");
    assert_eq!(mounts[2]["Name"].as_str().map(str::len), Some(64));
    let binds = daemon.inspect(&container)["HostConfig"]["Binds"].clone();
    assert_eq!(binds, json!([bind]));
    daemon.docker(["rm", "-v", &container]).ok();
    daemon.docker(["volume", "rm", &name]).ok();
}

#[test]
fn volumes_from_another_container() {
    let (daemon, name, donor, taker) = (shared(), unique("from"), unique("donor"), unique("taker"));
    let bind = format!("{name}:/d");
    let create = [
        "create", "--name", &donor, "-v", &bind, "-v", "/anon", "busybox",
    ];
    daemon.docker(create).ok();
    sh(
        daemon,
        &["--volumes-from", &donor],
        "echo q >/d/f; echo a >/anon/f",
    )
    .ok();
    let read_only = format!("{donor}:ro");
    sh(
        daemon,
        &["--volumes-from", &read_only],
        "cat /d/f /anon/f; touch /d/x /anon/x",
    )
    .exits(1)
    .out_is("q\na")
    .err_has("Read-only file system");
    // One's own mount in the same place wins, but not a place without a name.
    let own = format!("{name}own:/d");
    sh(daemon, &["--volumes-from", &donor, "-v", &own], "ls /d")
        .ok()
        .out_is("");
    sh(daemon, &["--volumes-from", &donor, "-v", "/d"], "ls /d")
        .ok()
        .out_is("f");
    daemon.docker(["volume", "rm", &format!("{name}own")]).ok();
    sh(daemon, &["--volumes-from", "nosuch"], "true")
        .exits(125)
        .err_has("No such container: nosuch");
    sh(daemon, &["--volumes-from", &format!("{donor}:odd")], "true")
        .exits(125)
        .err_has("invalid mode: odd");
    // Who took them over keeps them when the first is gone.
    let create = [
        "create",
        "--name",
        &taker,
        "--volumes-from",
        &donor,
        "busybox",
    ];
    daemon
        .cli(create)
        .args(["cat", "/d/f", "/anon/f"])
        .run()
        .ok();
    daemon.docker(["rm", "-v", &donor]).ok();
    daemon.docker(["start", "-a", &taker]).ok().out_is("q\na");
    let anonymous = mount_name(&daemon.inspect(&taker)["Mounts"], "/anon");
    daemon.docker(["rm", "-v", &taker]).ok();
    assert!(
        !names(daemon, &[]).contains(&anonymous),
        "nobody has it any more"
    );
    daemon.docker(["volume", "rm", &name]).ok();
}

fn mount_name(mounts: &Value, destination: &str) -> String {
    let all = mounts.as_array().expect("a list").iter();
    let mut here = all.filter(|mount| mount["Destination"] == destination);
    let mount = here.next().expect("there is one");
    mount["Name"].as_str().expect("a name").to_owned()
}

#[test]
fn a_place_has_one_mount() {
    let (daemon, name) = (shared(), unique("twice"));
    let (first, second) = (format!("{name}a:/m"), format!("{name}b:/m"));
    sh(daemon, &["-v", &first, "-v", &second], "true")
        .exits(125)
        .err_has("Duplicate mount point: /m");
    let long = format!("type=volume,source={name},target=/m/");
    sh(daemon, &["-v", &first, "--mount", &long], "true")
        .exits(125)
        .err_has("Duplicate mount point: /m");
    sh(daemon, &["-v", &first, "--tmpfs", "/m"], "true")
        .exits(125)
        .err_has("Duplicate mount point: /m");
    assert!(
        !names(daemon, &[])
            .iter()
            .any(|there| there.starts_with(&name))
    );
}

/// Creates and starts a container that shows a path of a volume, over the API: CLIs before 26 do
/// not know the option. What the daemon says when it cannot.
fn subpath(volume: &str, path: &str) -> Result<String, String> {
    let (daemon, name) = (shared(), unique("subpath"));
    let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", "ls /s; touch /s/made"],
        "HostConfig": {"Mounts": [{"Type": "volume", "Source": volume, "Target": "/s",
            "VolumeOptions": {"Subpath": path}}]}});
    let created = daemon.api(
        "POST",
        &format!("/containers/create?name={name}"),
        Some(&body),
    );
    if created.status != 201 {
        return Err(created.message());
    }
    let output = daemon.docker(["start", "-a", &name]);
    daemon.docker(["rm", "-f", &name]).ok();
    match output.stderr.contains("Error response from daemon") {
        true => Err(output.stderr),
        false => Ok(output.stdout),
    }
}

#[test]
fn a_path_in_a_volume_never_leads_out_of_it() {
    let (daemon, name) = (shared(), unique("sub"));
    let script = "mkdir -p /d/a/b /d/real; echo x >/d/a/b/f; ln -s real /d/link; ln -s / /d/root; \
        ln -s ../../../.. /d/up; ln -s /etc /d/abs; echo file >/d/file";
    sh(daemon, &["-v", &format!("{name}:/d")], script).ok();
    assert_eq!(subpath(&name, "a/b").as_deref(), Ok("f\n"));
    assert_eq!(subpath(&name, "a/../a/b").as_deref(), Ok("f\nmade\n"));
    assert!(subpath(&name, "link").is_ok(), "a link that stays within");
    let data = daemon.data_root().join("volumes").join(&name).join("_data");
    assert!(data.join("real/made").exists());
    for out in ["..", "/", "a/../../x"] {
        let error = subpath(&name, out).expect_err(out);
        assert!(
            error.contains("subpath must be a relative path within the volume"),
            "{error}"
        );
    }
    for out in ["root", "root/etc", "up", "abs", "up/etc"] {
        let error = subpath(&name, out).expect_err(out);
        assert!(
            error.contains("escapes the base directory"),
            "{out}: {error}"
        );
    }
    let error = subpath(&name, "missing/x").expect_err("missing");
    assert!(error.contains("cannot access path"), "{error}");
    daemon.docker(["volume", "rm", &name]).ok();
}
