//! A layer is the same whether berthd unpacks it while it comes, or containerd later from its blob: a
//! pull does the one; what is loaded as xz and has to be packed anew is left to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use testkit::{Compression, Daemon, Image, Options, sha256};

use super::extremes::serve;
use super::tarball::{Attributes, Tarball};

/// What berthd says of a layer that it cannot unpack itself.
const LEFT: &str = "left to containerd";

/// What containerd says of one that it has unpacked.
const APPLIED: &str = "diff applied";

/// The snapshots' directories, in the order in which they were made.
fn snapshots(daemon: &Daemon) -> BTreeSet<u64> {
    let all = std::fs::read_dir(folder(daemon)).expect("containerd has made snapshots");
    let names = all.map(|entry| entry.expect("readable").file_name());
    let numbers = names.filter_map(|name| name.to_str()?.parse().ok());
    numbers.collect()
}

fn folder(daemon: &Daemon) -> PathBuf {
    let root = daemon.data_root().join("containerd/daemon");
    root.join("io.containerd.snapshotter.v1.overlayfs/snapshots")
}

/// Everything that can be told of what `work` adds to the snapshots.
fn added(daemon: &Daemon, work: impl FnOnce()) -> Vec<BTreeMap<PathBuf, String>> {
    daemon.collect_garbage();
    let before = snapshots(daemon);
    work();
    daemon.collect_garbage();
    let now = snapshots(daemon);
    let new = now.difference(&before);
    let trees = new.map(|number| folder(daemon).join(number.to_string()).join("fs"));
    trees.map(|tree| describe(&tree)).collect()
}

fn describe(tree: &Path) -> BTreeMap<PathBuf, String> {
    let (mut all, mut links) = (BTreeMap::new(), BTreeMap::new());
    let mut left = vec![tree.to_owned()];
    while let Some(path) = left.pop() {
        let stat = std::fs::symlink_metadata(&path).expect("it is there");
        let short = path.strip_prefix(tree).expect("it is below");
        let (mode, uid, gid) = (stat.mode(), stat.uid(), stat.gid());
        let mut what = format!("{mode:o} {uid}:{gid} dev {}", stat.rdev());
        let age = SystemTime::now().duration_since(stat.modified().expect("has one"));
        let whiteout = stat.file_type().is_char_device() && stat.rdev() == 0;
        match age {
            // Nobody says when something was changed that stands for what a lower layer has.
            Ok(age) if (whiteout || stat.is_dir()) && age.as_secs() < 3600 => what += " now",
            _ => write!(what, " {}.{:09}", stat.mtime(), stat.mtime_nsec()).expect("fits"),
        }
        if stat.is_dir() {
            let inside = std::fs::read_dir(&path).expect("readable");
            left.extend(inside.map(|entry| entry.expect("readable").path()));
        } else {
            let first = links.entry(stat.ino()).or_insert(short.to_owned());
            write!(what, " {} names, one is {first:?}", stat.nlink()).expect("fits");
        }
        if stat.is_file() {
            let content = std::fs::read(&path).expect("readable");
            write!(what, " {} {}", content.len(), sha256(&content)).expect("fits");
        }
        if stat.is_symlink() {
            write!(what, " {:?}", std::fs::read_link(&path).expect("a link")).expect("fits");
        }
        write!(what, " {:?}", attributes(&path)).expect("fits");
        all.insert(short.to_owned(), what);
        // So that links are counted from the same name in both.
        left.sort_by(|a, b| b.cmp(a));
    }
    all
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0);
    let named = names.filter(|name| !name.is_empty()).map(|name| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("readable");
        value.truncate(length);
        (String::from_utf8_lossy(name).into_owned(), value)
    });
    named.collect()
}

/// How an image was taken in: what it added, or what was said.
type Outcome = Result<Vec<BTreeMap<PathBuf, String>>, String>;

/// Two daemons: one pulls, the other loads what is packed in a way that only containerd unpacks.
struct Pair {
    pulls: Daemon,
    loads: Daemon,
    images: Vec<Image>,
    host: String,
    _stub: testkit::Stub,
}

impl Pair {
    fn of(images: Vec<Image>) -> Pair {
        let start = || Daemon::start(Options::default().args(["--debug"]));
        let (pulls, loads) = (start(), start());
        let stub = serve(&pulls, &images);
        Pair {
            host: stub.host(),
            _stub: stub,
            pulls,
            loads,
            images,
        }
    }

    /// The image, pulled and loaded; and whether containerd unpacked a layer of it for the pull.
    fn take(&self, n: usize) -> (Outcome, Outcome, bool) {
        let (log, other) = (self.pulls.log().len(), self.loads.log().len());
        let mut said = None;
        let pulled = added(&self.pulls, || {
            let name = format!("{}/image{n}:1", self.host);
            let output = self.pulls.docker(["pull", "-q", &name]);
            said = (output.code != 0).then_some(output.stderr);
        });
        let pulled = said.map_or(Ok(pulled), Err);
        let left = self.pulls.log()[log..].contains(LEFT);
        let mut said = None;
        let loaded = added(&self.loads, || {
            let archive = self.images[n].archive_of_packed_layers(Compression::Xz);
            let output = self.loads.cli(["load"]).stdin(archive).run();
            said = (output.code != 0).then_some(output.stderr);
        });
        let log = &self.loads.log()[other..];
        assert!(said.is_some() || log.contains(APPLIED), "{log}");
        let loaded = said.map_or(Ok(loaded), Err);
        (pulled, loaded, left)
    }
}

#[track_caller]
fn same(pulled: &Outcome, loaded: &Outcome, what: &str) {
    let (Ok(pulled), Ok(loaded)) = (pulled, loaded) else {
        let reason = |outcome: &Outcome| {
            let said = outcome.as_ref().err().map(String::as_str).unwrap_or("fine");
            // The CLI and the two ways put different words before it.
            let reason = said.rsplit(": ").next().unwrap_or_default();
            reason.trim().to_owned()
        };
        assert_eq!(reason(pulled), reason(loaded), "{what}");
        return;
    };
    assert_eq!(pulled.len(), loaded.len(), "{what}");
    for (pulled, loaded) in pulled.iter().zip(loaded) {
        for path in pulled.keys().chain(loaded.keys()) {
            let (one, other) = (pulled.get(path), loaded.get(path));
            assert_eq!(one, other, "{}: {what}", path.display());
        }
    }
}

/// What the layers below say of directories that others only have something in.
fn base() -> Vec<u8> {
    let as_is = |mode, uid, mtime| Attributes {
        mode,
        uid,
        gid: uid + 1,
        mtime,
    };
    Tarball::default()
        .pax(&[("SCHILY.xattr.user.of", b"a")])
        .member_as("a/", b'5', "", b"", as_is(0o2750, 5, 1))
        .member_as("a/b/", b'5', "", b"", as_is(0o1777, 6, 2))
        .file("a/b/gone", b"here")
        .file("a/b/stays", b"here")
        .member_as("hidden/", b'5', "", b"", as_is(0o700, 7, 3))
        .file("hidden/gone", b"here")
        .file("hidden/also", b"here")
        .member("to-a", b'2', "a", b"")
        .member("to-none", b'2', "/none", b"")
        .file("file", b"here")
        .member_as("given/", b'5', "", b"", as_is(0o711, 8, 4))
        .end()
}

/// All that layers are made of, as those of real images are.
fn usual() -> Vec<u8> {
    let owned = Attributes {
        mode: 0o6751,
        uid: 1234,
        gid: 4321,
        mtime: 1_700_000_000,
    };
    Tarball::default()
        .member("./", b'5', "", b"")
        .file("a/b/new", b"in directories that are below")
        .file("a/b/.wh.gone", b"")
        .file("hidden/before", b"x")
        .file("hidden/.wh..wh..opq", b"")
        .file("hidden/after", b"x")
        .file("given/later", b"x")
        .pax(&[("SCHILY.xattr.user.own", b"line\x01")])
        .member_as("given/", b'5', "", b"", owned)
        .file("to-a/through", b"a link of the layer below")
        .member_as("own/", b'5', "", b"", owned)
        .member("to-own", b'2', "/own/../own", b"")
        .file("to-own/through", b"a link of this layer")
        .file("to-own/deep/er/through", b"more of it")
        .member("own/up", b'2', "../../../own", b"")
        .file("own/up/inside", b"x")
        .member_as("own/set", b'0', "", &[7; 700_000], owned)
        .member("hard", b'1', "own/set", b"")
        .member("./own/./again", b'1', "/hard", b"")
        .member("dangling", b'2', "nowhere", b"")
        .member_as("hard-link-to-link", b'1', "dangling", b"", owned)
        .member_as("fifo", b'6', "", b"", owned)
        .member_as("null", b'3', "", b"", owned)
        .member_as("disk", b'4', "", b"", owned)
        .file("file-to-folder", b"x")
        .member_as("file-to-folder/", b'5', "", b"", owned)
        .file("file-to-folder/x", b"x")
        .file("implied/to/file", b"x")
        .file("implied", b"no directory any more")
        .file("twice", b"first")
        .file("twice", b"second")
        .member("link-to-file", b'2', "twice", b"")
        .file("link-to-file", b"the link is replaced")
        .file("/absolute/./x/../y", b"x")
        .pax(&[
            ("mtime", b"1700000000.123456789123"),
            ("atime", b"1700000001.5"),
            ("uid", b"70000"),
            ("comment", b"x"),
        ])
        .file("precise", b"x")
        .pax(&[("mtime", b"-5.5"), ("gid", b"70000")])
        .file("early", b"x")
        .pax(&[
            ("SCHILY.xattr.user.key", b"value"),
            ("SCHILY.xattr.trusted.key", b"value"),
            ("SCHILY.xattr.unknown.key", b"value"),
        ])
        .file("attributes", b"x")
        .pax(&[(
            "SCHILY.xattr.security.capability",
            b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        )])
        .member_as("capable", b'0', "", b"x", owned)
        .file("own/.wh.never-was", b"")
        .file(".wh.file", b"")
        .end()
}

#[test]
fn what_layers_are_made_of_is_unpacked_on_its_way_as_containerd_would() {
    let pair = Pair::of(vec![
        Image::busybox("usual:1")
            .raw_layer(base())
            .raw_layer(usual())
            .raw_layer(Tarball::default().end()),
    ]);
    let (pulled, loaded, left) = pair.take(0);
    assert_eq!(pulled.as_ref().map(Vec::len), Ok(3), "{pulled:?}");
    same(&pulled, &loaded, "usual");
    assert!(!left, "{}", pair.pulls.log());
}

#[test]
fn what_readers_of_tars_differ_about_is_left_to_containerd() {
    let tar = Tarball::default;
    let group = Attributes {
        mode: 0o2755,
        uid: 0,
        gid: 5,
        mtime: 0,
    };
    let mut behind = tar().file("file", b"x").open();
    behind.extend([0; 512]);
    let mut cut = behind.clone();
    cut.extend([0; 100]);
    behind.extend(tar().file("behind", b"x").end());
    // A header as GNU's tar writes them, but with the beginning of the name in it.
    let mut prefix = tar().file("name", b"").end();
    prefix[257..265].copy_from_slice(b"ustar  \0");
    prefix[345..355].copy_from_slice(b"some/where");
    let sum: u32 = prefix[..512].iter().map(|byte| u32::from(*byte)).sum();
    let sum = sum
        - prefix[148..156]
            .iter()
            .map(|byte| u32::from(*byte))
            .sum::<u32>()
        + 8 * 32;
    prefix[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let odd = [
        prefix,
        cut,
        tar().member("./", b'5', "", b"x").end(),
        tar()
            .file("a", b"")
            .member("a", b'g', "", b"9 a=bcd\n\n")
            .end(),
        tar()
            .file("c/e/y", b"")
            .file("y", b"")
            .member("c/x", b'2', "e", b"")
            .member("hard", b'1', "c/x/../y", b"")
            .end(),
        tar()
            .member("longer", b'L', "", b"a\0/../b\0")
            .file("x", b"")
            .end(),
        tar()
            .file("p/c/f", b"")
            .member_as("p/", b'5', "", b"", group)
            .end(),
        tar().file("a/.wh..wh.plnk", b"").end(),
        tar().file("slash/", b"x").end(),
        tar().member("continuous", b'7', "", b"x").end(),
        tar().member("link", b'2', "x", b"contents").end(),
        tar().member("hard", b'1', "bin/busybox", b"").end(),
        tar().file("../outside", b"x").end(),
        tar().file("x", b"").file(".wh.x", b"").end(),
        tar().pax(&[("uid", b"-1")]).file("x", b"").end(),
        tar().pax(&[("path", b"")]).file("x", b"").end(),
        tar()
            .pax(&[("size", b"1"), ("size", b"0")])
            .file("x", b"x")
            .end(),
        behind,
    ];
    let images = odd.into_iter().enumerate();
    let images = images.map(|(n, layer)| Image::busybox(&format!("odd:{n}")).raw_layer(layer));
    // Nothing is below these: what they cover is what they had themselves.
    let covers = [
        tar().file("d/.wh.gone", b"").end(),
        tar()
            .file("g/h/keep", b"")
            .file("g/.wh..wh..opq", b"")
            .end(),
    ];
    let bare = |(n, layer)| Image::bare(&format!("bare:{n}")).raw_layer(layer);
    let images = images.chain(covers.into_iter().enumerate().map(bare));
    let pair = Pair::of(images.collect());
    for n in 0..pair.images.len() {
        let (pulled, loaded, left) = pair.take(n);
        same(&pulled, &loaded, &format!("odd {n}"));
        assert!(left, "odd {n}: {pulled:?}");
    }
}

/// Numbers that look random and are always the same: xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A path of few names, so that many meet.
    fn path(&mut self) -> String {
        let folders = [
            "", "", "a/", "a/b/", "hidden/", "to-a/", "c/", "given/", "c/l/",
        ];
        let names = [
            "a",
            "b",
            "c",
            "l",
            "file",
            "hidden",
            "to-a",
            ".wh.b",
            ".wh.c",
            ".wh..wh..opq",
        ];
        format!("{}{}", self.one(&folders), self.one(&names))
    }

    fn layer(&mut self) -> (Vec<u8>, String) {
        let (mut tar, mut told) = (Tarball::default(), String::new());
        for _ in 0..1 + self.below(8) {
            let kind = b"000555216"[self.below(9)];
            let path = self.path();
            let path = if kind == b'5' {
                format!("{path}/")
            } else {
                path
            };
            let link = match kind {
                b'1' | b'2' => self.path(),
                _ => String::new(),
            };
            let attributes = Attributes {
                mode: 0o600 + self.below(0o200) as u32,
                uid: self.below(3) as u32,
                gid: self.below(3) as u32,
                mtime: self.below(1000) as u32,
            };
            writeln!(told, "{} {path} -> {link}", char::from(kind)).expect("fits");
            let content = if kind == b'0' { path.as_bytes() } else { b"" };
            tar = tar.member_as(&path, kind, &link, content, attributes);
        }
        (tar.end(), told)
    }
}

#[test]
fn any_layer_is_what_containerd_would_make_of_it() {
    let mut dice = Dice(0x5eed);
    let (layers, told): (Vec<_>, Vec<_>) = (0..50).map(|_| dice.layer()).unzip();
    let images = layers.into_iter().enumerate().map(|(n, layer)| {
        let below = Image::busybox(&format!("any:{n}")).raw_layer(base());
        below.raw_layer(layer)
    });
    let pair = Pair::of(images.collect());
    let (mut fine, mut ours) = (0, 0);
    for (n, told) in told.iter().enumerate() {
        let (pulled, loaded, left) = pair.take(n);
        same(&pulled, &loaded, told);
        fine += usize::from(pulled.is_ok());
        ours += usize::from(pulled.is_ok() && !left);
    }
    // Else it would prove little.
    assert!(fine > 25 && ours > 20, "{fine} fine, {ours} unpacked by us");
}
