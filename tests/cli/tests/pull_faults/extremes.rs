//! Layers at, and beyond, the limits of what a tar can say.

use serde_json::json;
use testkit::{Compression, Daemon, Image, Options, PATIENCE, Stored, Stub};

use super::tarball::Tarball;
use super::{Stock, absent, image};

/// As long as a name may be.
const NAME: usize = 255;
/// As long as a link's target may be.
const TARGET: usize = 4095;

/// Each image in a repository of its own, `127.0.0.1:5000/image<n>:1`.
pub(crate) fn serve(daemon: &Daemon, images: &[Image]) -> Stub {
    let stocks: Vec<_> = images
        .iter()
        .map(|image| Stock::of(image, Compression::Gzip))
        .collect();
    Stub::start(daemon, 5000, move |asked, wire| {
        let named = stocks.iter().enumerate();
        let found = named.filter(|(n, _)| asked.target.contains(&format!("/image{n}/")));
        match found.map(|(_, stock)| stock).next() {
            Some(stock) => stock.serve(asked, wire),
            None => wire.answer("200 OK", &[], "{}"),
        }
    })
}

/// A file of whose header `key` says something else.
fn told(key: &str, value: impl AsRef<[u8]>) -> Tarball {
    Tarball::default()
        .pax(&[(key, value.as_ref())])
        .file("file", b"x")
}

/// A file whose name stands in a member of its own, as GNU tar does it.
fn gnu_named(tar: Tarball, name: &str) -> Tarball {
    tar.member(
        "././@LongLink",
        b'L',
        "",
        &[name.as_bytes(), b"\0"].concat(),
    )
    .file("cut", b"gnu")
}

/// Everything that is unusual and fine.
fn fine() -> Vec<u8> {
    let hole = format!("1\n{}\n6\n", (1 << 20) - 6);
    let mut sparse = hole.into_bytes();
    sparse.resize(512, 0);
    sparse.extend(b"sparse");
    let named = |tar: Tarball, name: &str, key: &str, value: &str| {
        tar.pax(&[(key, value.as_bytes())]).file(name, b"x")
    };
    let tar = gnu_named(Tarball::default(), &"g".repeat(NAME))
        .pax(&[("path", "p".repeat(NAME).as_bytes())])
        .file("cut", b"pax")
        .pax(&[("path", ("d/".repeat(500) + "deep").as_bytes())])
        .file("cut", b"deep")
        .pax(&[("linkpath", "t".repeat(TARGET).as_bytes())])
        .member("symlink", b'2', "", b"")
        .pax(&[("linkpath", "p".repeat(NAME).as_bytes())])
        .member("hardlink", b'1', "", b"")
        .pax(&[("path", b"a\nb\xff".as_slice())])
        .file("cut", b"odd")
        .pax(&[("uid", b"2147483648"), ("gid", b"4294967294")])
        .file("owner", b"x")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", b"1048576"),
        ])
        .file("cut", &sparse);
    let tar = named(tar, "negative", "mtime", "-1");
    let tar = named(tar, "future", "mtime", "9223372036854775807");
    let tar = named(tar, "half", "mtime", "1.999999999999999999999999999");
    let tar = named(tar, "attribute", "SCHILY.xattr.user.key", "value");
    let tar = named(tar, "ignored", "SCHILY.xattr.unknown.key", "value");
    let tar = named(tar, "nameless", "path", "");
    let tar = named(tar, "comment", "comment", &"c".repeat(500_000));
    named(tar, "user", "uname", &"u".repeat(100_000)).end()
}

const LOOK: &str = "cd /; cat g*gg p*pp hardlink a?b* $(find d -name deep); echo; \
    readlink symlink | wc -c; stat -c '%u %g' owner; wc -c <sparse; tail -c 6 sparse; echo; \
    stat -c %Y negative future half; cat attribute ignored nameless comment user";
const SEEN: &str = "gnupaxpaxodddeep\n4096\n2147483648 4294967294\n1048576\nsparse\n0\n0\n1\nxxxxx";

#[test]
fn what_is_unusual_and_fine_is_as_it_was_packed() {
    let daemon = Daemon::start(Options::default());
    let before = Stored::count(&daemon);
    let unusual = Image::busybox("unusual:1").raw_layer(fine());
    let stub = serve(&daemon, std::slice::from_ref(&unusual));
    let pulled = format!("{}/image0:1", stub.host());
    daemon.docker(["pull", "-q", &pulled]).ok();
    let look = |name: &str| {
        let run = ["run", "--rm", "--pull", "never", name, "sh", "-c", LOOK];
        daemon.docker(run).ok().out_is(SEEN);
        daemon.run_d("attributes", [name, "sleep", "1000"]);
        let pid = daemon.format("attributes", "{{.State.Pid}}");
        let file = daemon.sandbox().proc().join(pid).join("root/attribute");
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(&file, "user.key", &mut value).expect("it has one");
        assert_eq!(&value[..length], b"value");
        daemon.docker(["rm", "-f", "attributes"]).ok();
        daemon.docker(["rmi", name]).ok();
    };
    look(&pulled);
    before.settle(&daemon, PATIENCE);
    let archive = unusual.docker_archive(Compression::None);
    daemon.cli(["load"]).stdin(archive).run().ok();
    look("unusual:1");
    before.settle(&daemon, PATIENCE);
}

/// Layers that cannot be unpacked, and the reason that is told.
fn impossible() -> Vec<(Vec<u8>, &'static str)> {
    let tar = Tarball::default;
    let (long, invalid) = ("file name too long", "archive/tar: invalid tar header");
    let name = "n".repeat(NAME + 1);
    let link = |length| {
        tar()
            .pax(&[("linkpath", "l".repeat(length).as_bytes())])
            .member("link", b'2', "", b"")
    };
    let mut cut = tar().file("file", &[b'x'; 5000]).end();
    cut.truncate(2000);
    let mut all = vec![
        (told("path", &name), long),
        (gnu_named(tar(), &name), long),
        (told("path", "d/".repeat(2500) + "f"), long),
        (told("path", "d/".repeat(1 << 19)), "header field too long"),
        (
            gnu_named(tar(), &"n".repeat(2 << 20)),
            "header field too long",
        ),
        (link(TARGET + 1), long),
        // As long as an error may be that repeats it.
        (link(1_000_000), long),
        (told("size", "-1"), invalid),
        (told("size", "many"), invalid),
        (told("size", "9223372036854775808"), invalid),
        (told("size", "9223372036854775807"), "unexpected EOF"),
        (told("mtime", "99999999999999999999"), invalid),
        (told("mtime", "nan"), invalid),
        (told("uid", "9223372036854775808"), invalid),
        (told("path", b"a\0b"), invalid),
        (
            told("SCHILY.xattr.user.key", "v".repeat(70_000)),
            "setxattr",
        ),
        (told(&format!("SCHILY.xattr.user.{name}"), "v"), "setxattr"),
        (
            tar().member("pax", b'x', "", b"99 path=x\n").file("f", b""),
            invalid,
        ),
        (
            tar().member("pax", b'x', "", b"5 path=x\n").file("f", b""),
            invalid,
        ),
        (
            tar().member("file", b'Z', "", b""),
            "unhandled tar header type",
        ),
        (
            tar().file("file", b"").file("file/below", b""),
            "not a directory",
        ),
        (tar().file("etc/.wh...", b""), "invalid whiteout name"),
        (tar().file(".wh.", b""), "invalid whiteout name"),
    ]
    .into_iter()
    .map(|(tar, why)| (tar.end(), why))
    .collect::<Vec<_>>();
    all.push((cut, "unexpected EOF"));
    all.push((vec![0xaa; 4096], invalid));
    all
}

#[test]
fn what_cannot_be_unpacked_is_told_and_leaves_nothing() {
    let daemon = Daemon::start(Options::default());
    let all = impossible();
    let of = |(tar, _): &(Vec<u8>, _)| Image::busybox("odd:1").raw_layer(tar.clone());
    let mut images: Vec<_> = all.iter().map(of).collect();
    images.push(image());
    let stub = serve(&daemon, &images);
    // What they have in common is not unpacked each time.
    let whole = format!("{}/image{}:1", stub.host(), all.len());
    daemon.docker(["pull", "-q", &whole]).ok();
    let before = Stored::count(&daemon);
    for (n, (_, why)) in all.iter().enumerate() {
        let name = format!("{}/image{n}:1", stub.host());
        let archive = images[n].docker_archive(Compression::None);
        let pull = daemon.docker(["pull", "-q", &name]);
        let load = daemon.cli(["load"]).stdin(archive).run();
        for output in [pull, load] {
            let words = "failed to extract layer sha256:";
            let output = output.exits(1).err_has(words).err_has(why);
            assert!(output.stderr.len() < 20_000, "{}", output.stderr.len());
        }
        absent(&daemon, &name);
        absent(&daemon, "odd:1");
    }
    before.settle(&daemon, PATIENCE);
}

#[test]
fn archives_at_the_limits_load_or_are_refused() {
    let daemon = Daemon::start(Options::default());
    let good = image().docker_archive(Compression::None);
    let before = Stored::count(&daemon);
    let load = |archive: Vec<u8>| {
        let output = daemon.cli(["load"]).stdin(archive).run();
        daemon.docker(["rmi", "x"]);
        output
    };
    // Before the image in the same archive.
    let with = |tar: Tarball| {
        let mut archive = tar.open();
        archive.extend(&good);
        load(archive)
    };
    // In an archive they are mere names.
    let path = |length| told("path", "d/".repeat(length) + "f");
    let name = "n".repeat(NAME + 1);
    for tar in [
        path(2000),
        told("path", &name),
        gnu_named(Tarball::default(), &name),
        told("mtime", "-99999999999999"),
        told("uid", "9223372036854775808"),
    ] {
        with(tar).ok().out_is("Loaded image: x:latest");
    }
    let (long, invalid) = ("header field too long", "archive/tar: invalid tar header");
    for (tar, why) in [
        (path(2500), "a path is too long"),
        (path(1 << 19), long),
        (gnu_named(Tarball::default(), &"n".repeat(2 << 20)), long),
        (told("size", "18446744073709551615"), invalid),
        (told("size", "9223372036854775807"), "unexpected EOF"),
    ] {
        with(tar).exits(1).err_has("invalid archive").err_has(why);
    }
    for length in [100, 512, 5000, good.len() - 1600] {
        let cut = load(good[..length].to_vec());
        cut.exits(1).err_has("invalid archive");
    }
    before.settle(&daemon, PATIENCE);
}

/// An image of so many layers that are one, as a registry serves it and as an archive.
fn of_layers(count: usize) -> (Stock, Vec<u8>) {
    let ids = (0..count).map(|n| format!("sha256:{n:064x}"));
    let ids: Vec<_> = ids.collect();
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": ids},
    });
    let config = config.to_string().into_bytes();
    let digest = format!("sha256:{}", testkit::sha256(&config));
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let layer = |id: &String| json!({"mediaType": kind, "digest": id, "size": 100});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest, "size": config.len(),
        },
        "layers": ids.iter().map(layer).collect::<Vec<_>>(),
    });
    let layers = vec!["layer"; count];
    let list = json!([{"Config": "config", "RepoTags": ["deep:1"], "Layers": layers}]);
    let archive = Tarball::default()
        .file("config", &config)
        .file("layer", &Tarball::default().file("x", b"").end())
        .file("manifest.json", list.to_string().as_bytes());
    let manifest = manifest.to_string().into_bytes();
    let blobs = vec![(digest, config)];
    (Stock { manifest, blobs }, archive.end())
}

#[test]
fn an_image_of_tens_of_thousands_of_layers_is_refused_at_once() {
    let daemon = Daemon::start(Options::default());
    let before = Stored::count(&daemon);
    let (stock, archive) = of_layers(40_000);
    let stub = Stub::start(&daemon, 5000, move |asked, wire| stock.serve(asked, wire));
    let name = format!("{}/deep:1", stub.host());
    daemon.forget_peak_memory();
    let pull = daemon.docker(["pull", &name]);
    pull.exits(1).err_has("max depth exceeded");
    assert!(
        stub.asked()
            .iter()
            .all(|asked| !asked.target.contains("/blobs/"))
    );
    let load = daemon.cli(["load"]).stdin(archive).run();
    load.exits(1).err_has("max depth exceeded");
    let peak = daemon.peak_memory();
    println!("{peak}");
    assert!(peak <= 96 << 10, "{peak} KiB");
    before.settle(&daemon, PATIENCE);
}
