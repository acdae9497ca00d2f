//! What an empty volume gets of the image.

use serde_json::json;
use testkit::{Compression, Daemon, Image, Leaks, Options, PATIENCE, shared, unique};

use super::{names, sh};

/// An image with things in `/data`, which it declares a volume.
fn image(daemon: &Daemon) -> String {
    let name = format!("{}:1", unique("filled"));
    let archive = Image::busybox(&name)
        .layer(&[
            ("data/f", 0o640, "of the image"),
            ("data/sub/run", 0o755, "#!"),
            ("empty/.keep/x", 0o644, ""),
            ("plain", 0o644, "a file"),
        ])
        .set("Volumes", json!({"/data": {}}))
        .docker_archive(Compression::None);
    daemon.cli(["load"]).stdin(archive).run().ok();
    name
}

fn run(daemon: &Daemon, image: &str, options: &[&str], script: &str) -> testkit::Output {
    let cli = daemon.cli(["run", "--rm"]).args(options);
    cli.args([image, "sh", "-c", script]).run()
}

#[test]
fn an_empty_volume_gets_what_the_image_has() {
    let (daemon, name) = (shared(), unique("fill"));
    let image = image(daemon);
    let look = "cat /data/f; stat -c '%a' /data/f /data/sub/run; ls /data/sub";
    let wanted = "of the image640\n755\nrun";
    // Anonymous, of the image; named; long.
    run(daemon, &image, &[], look).ok().out_is(wanted);
    let bind = format!("{name}:/data");
    run(daemon, &image, &["-v", &bind], look)
        .ok()
        .out_is(wanted);
    let long = format!("type=volume,source={name}l,target=/data");
    run(daemon, &image, &["--mount", &long], look)
        .ok()
        .out_is(wanted);
    // What has something in it stays as it is.
    run(
        daemon,
        &image,
        &["-v", &bind],
        "echo own >/data/f; rm -r /data/sub",
    )
    .ok();
    run(daemon, &image, &["-v", &bind], "cat /data/f; ls /data")
        .ok()
        .out_is("own\nf");
    // Nor is it filled where nobody wants that.
    let nocopy = format!("{name}n:/data:nocopy");
    run(daemon, &image, &["-v", &nocopy], "ls /data")
        .ok()
        .out_is("");
    let long = format!("type=volume,source={name}n,target=/data,volume-nocopy");
    run(daemon, &image, &["--mount", &long], "ls /data")
        .ok()
        .out_is("");
    let elsewhere = format!("{name}n:/elsewhere");
    run(daemon, &image, &["-v", &elsewhere], "ls /elsewhere")
        .ok()
        .out_is("");
    for suffix in ["", "l", "n"] {
        daemon
            .docker(["volume", "rm", &format!("{name}{suffix}")])
            .ok();
    }
}

#[test]
fn it_is_filled_at_create_with_owners_links_and_modes() {
    let (daemon, name, container) = (shared(), unique("owned"), unique("owned"));
    let bind = format!("{name}:/var/spool");
    let tag = format!("{}:1", unique("owners"));
    let archive = Image::busybox(&tag)
        .layer(&[("var/spool/f", 0o4711, "x"), ("var/spool/d/g", 0o600, "y")])
        .docker_archive(Compression::None);
    daemon.cli(["load"]).stdin(archive).run().ok();
    daemon
        .docker(["create", "--name", &container, "-v", &bind, &tag])
        .ok();
    let data = daemon.data_root().join("volumes").join(&name).join("_data");
    assert_eq!(
        std::fs::read_to_string(data.join("d/g")).expect("there"),
        "y"
    );
    use std::os::unix::fs::PermissionsExt;
    let mode = data
        .join("f")
        .metadata()
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o4711);
    assert!(!data.parent().expect("a folder").join(".filling").exists());
    daemon.docker(["rm", &container]).ok();
    daemon.docker(["volume", "rm", &name]).ok();
}

#[test]
fn a_file_of_the_image_is_no_place_for_a_volume() {
    let (daemon, name) = (shared(), unique("overfile"));
    let image = image(daemon);
    let bind = format!("{name}:/plain");
    run(daemon, &image, &["-v", &bind], "true")
        .exits(125)
        .err_has("cannot mount volume over existing file, file exists /plain");
    daemon.docker(["volume", "rm", &name]).ok();
}

#[test]
fn many_containers_fill_one_volume_once_and_leave_no_mount() {
    let daemon = Daemon::start(Options::default());
    let image = image(&daemon);
    sh(&daemon, &[], "true").ok();
    let before = Leaks::count(&daemon);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (daemon, image) = (&daemon, &image);
            scope.spawn(move || {
                run(daemon, image, &["-v", "same:/data"], "cat /data/f")
                    .ok()
                    .out_is("of the image");
            });
        }
    });
    before.settle(&daemon, PATIENCE);
    assert_eq!(names(&daemon, &[]), ["same"]);
}
