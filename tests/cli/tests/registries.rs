//! How registries are reached: certificates, `hosts.toml`, proxies; live.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;
use testkit::{Compression, Daemon, Guard, Image, Options, Registry, Stub, Tls, run_command};

fn image(tag: &str) -> Image {
    Image::busybox(tag).layer(&[("etc/name", 0o644, tag)])
}

/// A daemon whose `/etc` is its own, with `registry.test` on loopback and
/// `plain.test` and `direct.test` where nobody is, and `lan.test` at the daemon's address for others.
fn daemon_with_etc() -> Daemon {
    let daemon = Daemon::prepare(Options::default());
    let state = daemon.sandbox().state().display().to_string();
    let script = "mkdir $0/up $0/work && \
        mount -t overlay overlay -o lowerdir=/etc,upperdir=$0/up,workdir=$0/work /etc && \
        mkdir -p /etc/docker/certs.d && rm -f /etc/resolv.conf && \
        echo nameserver 127.0.0.1 > /etc/resolv.conf && printf '127.0.0.1 registry.test\\n192.0.2.77 plain.test direct.test\\n192.0.2.1 lan.test\\n' >> /etc/hosts";
    let mut command = daemon.sandbox().command("sh");
    command.args(["-c", script, &state]);
    run_command(command).ok();
    daemon.boot();
    daemon
}

/// The folder of a host's settings, as the test reaches it.
fn folder(daemon: &Daemon, host: &str) -> PathBuf {
    let init = daemon.sandbox().init();
    let path = PathBuf::from(format!("/proc/{init}/root/etc/docker/certs.d/{host}"));
    std::fs::create_dir_all(&path).expect("mkdir");
    path
}

/// Pulls by the API: the CLI looks such names up itself, and waits for name servers that are not
/// there. Returns why the registry refused; empty when it did not.
fn pull(daemon: &Daemon, name: &str) -> String {
    let answer = daemon.api("POST", &format!("/images/create?fromImage={name}"), None);
    match answer.status {
        200 => {
            assert!(!answer.text().contains("errorDetail"), "{}", answer.text());
            String::new()
        }
        _ => answer.message(),
    }
}

/// What came of a push by the API.
fn push(daemon: &Daemon, name: &str) -> String {
    let target = format!("/images/{name}/push");
    daemon.api("POST", &target, None).is(200).text()
}

#[test]
fn certificates_of_a_host_count_at_once() {
    let daemon = daemon_with_etc();
    let tls = Tls::new(daemon.sandbox().state());
    let registry = Registry::start_with(&daemon, 5443, Some(&tls));
    registry.push(&image("trusted"), "trusted", "1", Compression::Gzip);
    let name = "registry.test:5443/trusted:1";
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert!(pull(&daemon, name).contains(unknown));
    let folder = folder(&daemon, "registry.test:5443");
    std::fs::copy(&tls.ca, folder.join("ca.crt")).expect("copy");
    assert_eq!(pull(&daemon, name), "");
    // Who we are to it.
    let strict = Registry::guarded(&daemon, 5543, Guard::Certificate(&tls));
    strict.push(&image("known"), "known", "1", Compression::Gzip);
    let name = "registry.test:5543/known:1";
    let folder = self::folder(&daemon, "registry.test:5543");
    std::fs::copy(&tls.ca, folder.join("ca.crt")).expect("copy");
    assert_ne!(pull(&daemon, name), "");
    std::fs::copy(&tls.certificate, folder.join("client.cert")).expect("copy");
    let half = "missing key client.key for client certificate client.cert";
    assert!(pull(&daemon, name).contains(half));
    std::fs::copy(&tls.key, folder.join("client.key")).expect("copy");
    assert_eq!(pull(&daemon, name), "");
    let pushed = "registry.test:5543/pushed:1";
    daemon.docker(["tag", name, pushed]).ok();
    assert!(push(&daemon, pushed).contains("digest: sha256:"));
}

#[test]
fn mirrors_of_any_registry_by_hosts_toml() {
    let daemon = daemon_with_etc();
    let registry = Registry::start(&daemon, 5000);
    let digest = registry.push(&image("mirrored"), "mirrored", "1", Compression::Gzip);
    // Nobody listens where the name says.
    let folder = folder(&daemon, "registry.test");
    let write = |text: &str| std::fs::write(folder.join("hosts.toml"), text).expect("write");
    write(
        "server = \"https://registry.test:9\"\n\
         [host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
    );
    assert_eq!(pull(&daemon, "registry.test/mirrored:1"), "");
    let digests = "{{index .RepoDigests 0}}";
    let shown = daemon.docker([
        "image",
        "inspect",
        "-f",
        digests,
        "registry.test/mirrored:1",
    ]);
    shown
        .ok()
        .out_is(&format!("registry.test/mirrored@{digest}"));
    // It takes no pushes: they go to the registry itself, which is not there.
    let pushed = push(&daemon, "registry.test/mirrored:1");
    let gone = "dial tcp registry.test:9: connect: connection refused";
    assert!(pushed.contains(gone), "{pushed}");
    // Nor does it say what tags mean, if it may not; then the registry itself is asked.
    daemon.docker(["rmi", "registry.test/mirrored:1"]).ok();
    write(
        "server = \"https://registry.test:9\"\n\
         [host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\"]\n",
    );
    assert!(pull(&daemon, "registry.test/mirrored:1").contains("connection refused"));
    let by_digest = format!("registry.test/mirrored@{digest}");
    assert_eq!(pull(&daemon, &by_digest), "");
    write("host = 3");
    let wrong = pull(&daemon, "registry.test/mirrored:1");
    assert!(wrong.contains("hosts.toml: host is no table"), "{wrong}");
}

#[test]
fn insecure_networks_are_live_with_a_reload() {
    let daemon = daemon_with_etc();
    let (manifest, blobs) = image("lan").blobs(Compression::Gzip);
    let address = SocketAddr::from(([192, 0, 2, 1], 5000));
    let stub = Stub::start_at(&daemon, address, move |asked, wire| {
        let kind = ("Content-Type", "application/vnd.oci.image.manifest.v1+json");
        let blob = blobs.iter().find(|(name, _)| asked.target.ends_with(name));
        match blob {
            _ if asked.target.contains("/manifests/") => wire.answer("200 OK", &[kind], &manifest),
            Some((_, blob)) => wire.answer("200 OK", &[], blob),
            None => wire.answer("200 OK", &[], "{}"),
        }
    });
    let by_address = format!("{}/lan:1", stub.host());
    let names = [&*by_address, "lan.test:5000/lan:1"];
    let plain = "http: server gave HTTP response to HTTPS client";
    let refused = || {
        for name in names {
            let why = pull(&daemon, name);
            assert!(why.contains(plain), "{name}: {why}");
        }
    };
    refused();
    daemon.reload(&json!({"insecure-registries": ["198.51.100.0/24", "192.0.2.0/30"]}));
    let shown = ["info", "-f", "{{.RegistryConfig.InsecureRegistryCIDRs}}"];
    daemon.docker(shown).ok().out_has("192.0.2.0/30");
    for name in names {
        assert_eq!(pull(&daemon, name), "");
        daemon.docker(["rmi", name]).ok();
    }
    // One address, and one that it is not.
    daemon.reload(&json!({"insecure-registries": ["192.0.2.1/32"]}));
    assert_eq!(pull(&daemon, &by_address), "");
    daemon.docker(["rmi", &by_address]).ok();
    daemon.reload(&json!({"insecure-registries": ["192.0.2.2/32"]}));
    refused();
    daemon.reload(&json!({}));
    refused();
}

#[test]
fn proxies_are_live_with_a_reload() {
    let daemon = daemon_with_etc();
    let proxy = Stub::start(&daemon, 3128, |_, wire| {
        wire.answer("404 Not Found", &[], "");
    });
    let name = "plain.test/behind:1";
    let insecure = json!(["plain.test"]);
    daemon.reload(&json!({"insecure-registries": insecure}));
    assert_ne!(pull(&daemon, name), "");
    assert_eq!(proxy.asked().len(), 0);
    let url = format!("http://me:secret@{}", proxy.host());
    let proxies = json!({"http-proxy": url, "no-proxy": "direct.test"});
    daemon
        .reload(&json!({"insecure-registries": ["plain.test", "direct.test"], "proxies": proxies}));
    assert!(pull(&daemon, name).contains("manifest unknown"));
    let asked = proxy.asked();
    let through = asked
        .iter()
        .find(|asked| asked.target == "http://plain.test/v2/behind/manifests/1");
    let through = through.unwrap_or_else(|| panic!("nothing came through: {asked:?}"));
    let pair = "Basic bWU6c2VjcmV0";
    assert_eq!(through.header("proxy-authorization"), Some(pair));
    let before = asked.len();
    assert_ne!(pull(&daemon, "direct.test/x:1"), "");
    assert_eq!(proxy.asked().len(), before);
    // Passwords are not shown.
    let info = daemon.docker(["info", "-f", "{{.HTTPProxy}} {{.NoProxy}}"]);
    info.ok()
        .out_is("http://xxxxx:xxxxx@127.0.0.1:3128 direct.test");
    assert!(!daemon.log().contains("secret"), "{}", daemon.log());
    daemon.reload(&json!({"insecure-registries": insecure}));
    assert_ne!(pull(&daemon, name), "");
    assert_eq!(proxy.asked().len(), before);
}

#[test]
fn a_search_and_a_look_into_the_registry() {
    let daemon = Daemon::start(Options::default());
    let index = Stub::start(&daemon, 5000, |asked, wire| match asked.target.as_str() {
        "/v1/search?q=busy&n=25" => {
            let found = json!({"results": [
                {"name": "busybox", "description": "small", "star_count": 7, "is_official": true},
                {"name": "busy", "description": "", "star_count": 1},
            ]});
            wire.answer("200 OK", &[], found.to_string());
        }
        "/v2/" => wire.answer("200 OK", &[], "{}"),
        _ => wire.answer("404 Not Found", &[], ""),
    });
    let term = format!("{}/busy", index.host());
    let format = ["search", "--format", "{{.Name}} {{.StarCount}}", "--filter"];
    let search = |filter: &str| daemon.docker(format.iter().copied().chain([filter, &term]));
    search("stars=0").ok().out_is("busybox 7\nbusy 1");
    search("is-official=true").ok().out_is("busybox 7");
    search("colour=red")
        .exits(1)
        .err_has("invalid filter 'colour'");
    let none = daemon.docker(["search", &format!("{}/nothing", index.host())]);
    none.exits(1).err_has("Unexpected status code 404");
    let limit = daemon
        .api("GET", "/images/search?term=x&limit=101", None)
        .is(400);
    assert_eq!(
        limit.message(),
        "limit 101 is outside the range of [1, 100]"
    );

    let registry = Registry::start(&daemon, 5100);
    let digest = registry.push(&image("seen"), "seen", "1", Compression::Gzip);
    let target = format!("/distribution/{}/seen:1/json", registry.host());
    let seen = daemon.api("GET", &target, None).is(200).json();
    assert_eq!(seen["Descriptor"]["digest"], json!(digest));
    let platform = json!([{"architecture": "amd64", "os": "linux"}]);
    assert_eq!(seen["Platforms"], platform);
    let target = format!("/distribution/{}/seen:2/json", registry.host());
    daemon.api("GET", &target, None).is(404);
    let id = "0123456789abcdef".repeat(4);
    let answer = daemon.api("GET", &format!("/distribution/{id}/json"), None);
    let message = answer.is(400).message();
    assert_eq!(message, format!("unknown image reference format: {id}"));
}
