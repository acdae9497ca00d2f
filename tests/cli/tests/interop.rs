//! Images go through one registry between berthd, Debian's dockerd and podman, and skopeo, which only
//! copies: digests and IDs agree, and what came runs.

use serde_json::Value;
use testkit::{Compression, Daemon, Flavour, Image, Options, Output, Registry, sha256};

const PORT: u16 = 5000;

/// An engine with a command line as docker has it.
#[derive(Clone, Copy)]
enum Engine<'a> {
    Berthd(&'a Daemon),
    Dockerd(&'a Daemon),
    /// On this daemon's host.
    Podman(&'a Daemon),
}

impl Engine<'_> {
    #[track_caller]
    fn run(self, args: &[&str]) -> Output {
        let args = args.iter().copied();
        match self {
            Engine::Berthd(daemon) | Engine::Dockerd(daemon) => daemon.docker(args),
            Engine::Podman(daemon) => daemon.podman(args),
        }
        .ok()
    }

    fn name(self) -> &'static str {
        match self {
            Engine::Berthd(_) => "berthd",
            Engine::Dockerd(_) => "dockerd",
            Engine::Podman(_) => "podman",
        }
    }

    /// Makes an image of a changed container and pushes it.
    #[track_caller]
    fn push(self, name: &str) {
        let script = "echo it went > /new; ln -s new /link; ln /bin/cp /bin/same; rm /etc/hostname /bin/vi; \
                      rm -r /var; mkdir /var; chmod 4711 /tmp; chown 12:34 /root";
        self.run(&["run", "--name", "changed", "busybox", "sh", "-c", script]);
        self.run(&["commit", "-c", "ENV way=there", "changed", name]);
        self.run(&["rm", "changed"]);
        match self {
            Engine::Podman(_) => self.run(&["push", "-q", "--tls-verify=false", name]),
            _ => self.run(&["push", "-q", name]),
        };
    }

    /// Pulls it, holds what the engine tells of it against what the registry has, and runs it.
    #[track_caller]
    fn pull(self, name: &str, there: &There) {
        match self {
            Engine::Podman(_) => self.run(&["pull", "-q", "--tls-verify=false", name]),
            _ => self.run(&["pull", "-q", name]),
        };
        let who = format!("{name} pulled by {}", self.name());
        let told = self.run(&["image", "inspect", name]);
        let told: Value = serde_json::from_str(told.out()).expect("JSON");
        let told = &told[0];
        // With containerd's image store, as in Docker 29, an image's ID is its manifest's digest.
        let id = match self {
            Engine::Berthd(_) => there.digest.as_str(),
            Engine::Dockerd(_) => there.config.as_str(),
            Engine::Podman(_) => there.config.trim_start_matches("sha256:"),
        };
        assert_eq!(told["Id"], id, "{who}");
        let (repository, _) = name.rsplit_once(':').expect("a tag");
        let digest = format!("{repository}@{}", there.digest);
        let digests = told["RepoDigests"].as_array().expect("a list");
        assert!(digests.contains(&digest.into()), "{who}: {digests:?}");
        assert_eq!(told["RootFS"]["Layers"], there.layers, "{who}");
        let look = "cat /link; echo $way; stat -c %a /tmp; stat -c %u:%g /root; ls /var; \
                    cmp /bin/cp /bin/same && ls /bin/vi 2>/dev/null || echo gone";
        self.run(&["run", "--rm", name, "sh", "-c", look])
            .out_is("it went\nthere\n4711\n12:34\ngone");
    }
}

/// What a registry has under a name, as skopeo reads it.
struct There {
    digest: String,
    /// The digest of its configuration.
    config: String,
    /// Media types of the layers.
    types: Vec<String>,
    /// Digests of the layers unpacked.
    layers: Value,
}

/// The engines, and a registry at the same address for all of them.
struct World {
    ours: Daemon,
    theirs: Daemon,
}

impl World {
    fn new() -> World {
        let [ours, theirs] = [Flavour::Berthd, Flavour::Dockerd].map(|flavour| {
            Daemon::start(Options {
                flavour: Some(flavour),
                ..Options::default()
            })
        });
        let busybox = Image::busybox("busybox:latest").docker_archive(Compression::None);
        let archive = ours.write("busybox.tar", busybox);
        let archive = archive.to_str().expect("a path of ours");
        ours.podman(["load", "-q", "-i", archive]).ok();
        World { ours, theirs }
    }

    fn engines(&self) -> [Engine<'_>; 3] {
        let World { ours, theirs } = self;
        [
            Engine::Berthd(ours),
            Engine::Dockerd(theirs),
            Engine::Podman(ours),
        ]
    }

    #[track_caller]
    fn there(&self, name: &str) -> There {
        let source = format!("docker://{name}");
        let inspect = |more: &[&str]| {
            let args = ["inspect", "--tls-verify=false"].iter().chain(more);
            let args = args.copied().chain([source.as_str()]);
            let output = self.ours.skopeo(args).ok();
            let json: Value = serde_json::from_str(&output.stdout).expect("JSON");
            (output.stdout_bytes, json)
        };
        let (bytes, manifest) = inspect(&["--raw"]);
        let (_, config) = inspect(&["--config"]);
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let layers = manifest["layers"].as_array().expect("a manifest");
        There {
            digest: format!("sha256:{}", sha256(&bytes)),
            config: text(&manifest["config"]["digest"]),
            types: layers.iter().map(|l| text(&l["mediaType"])).collect(),
            layers: config["rootfs"]["diff_ids"].clone(),
        }
    }

    /// Has skopeo copy it, with all digests verified.
    #[track_caller]
    fn copy(&self, from: &str, to: &str, more: &[&str]) {
        let flags = [
            "copy",
            "-q",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ];
        let args = flags.iter().chain(more).copied().chain([from, to]);
        self.ours.skopeo(args).ok();
    }
}

/// What the engine at `place` pushes, every other one and skopeo pull.
#[track_caller]
fn goes_to_the_others(place: usize) {
    let world = World::new();
    let registry = Registry::start(&world.ours, PORT);
    let _same = registry.also_for(&world.theirs);
    let from = world.engines()[place];
    let name = format!("{}/{}:1", registry.host(), from.name());
    from.push(&name);
    let there = world.there(&name);
    assert_eq!(there.layers.as_array().map(Vec::len), Some(2));
    for (n, to) in world.engines().into_iter().enumerate() {
        if n != place {
            to.pull(&name, &there);
        }
    }
    let copy = world.ours.sandbox().state().join("copy");
    let copy = format!("dir:{}", copy.display());
    let source = format!("docker://{name}");
    world.copy(&source, &copy, &["--preserve-digests"]);

    // And on from there, packed anew. Under the registry's other name skopeo does not know that it has
    // the layers, and sends them.
    let zstd = format!("localhost:{PORT}/zstd:1");
    let form = ["-f", "oci", "--dest-compress-format", "zstd"];
    world.copy(&copy, &format!("docker://{zstd}"), &form);
    let recoded = world.there(&zstd);
    let is_zstd = |layer: &String| layer.ends_with("+zstd");
    assert!(recoded.types.iter().any(is_zstd), "{:?}", recoded.types);
    assert_eq!(recoded.layers, there.layers);
    // dockerd 20.10 knows no zstd.
    for to in [Engine::Berthd(&world.ours), Engine::Podman(&world.ours)] {
        to.pull(&zstd, &recoded);
    }
    if let Engine::Berthd(ours) | Engine::Dockerd(ours) = from {
        let digests = ours.format(&name, "{{json .RepoDigests}}");
        assert!(digests.contains(&there.digest), "pushed: {digests}");
    }
}

#[test]
fn what_berthd_pushes_dockerd_podman_and_skopeo_pull() {
    goes_to_the_others(0);
}

#[test]
fn what_dockerd_pushes_berthd_podman_and_skopeo_pull() {
    goes_to_the_others(1);
}

#[test]
fn what_podman_pushes_berthd_dockerd_and_skopeo_pull() {
    goes_to_the_others(2);
}
