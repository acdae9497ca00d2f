//! Pushes to registries on loopback, and logging in to them.

use serde_json::{Value, json};
use testkit::{
    Compression, Daemon, Guard, IDENTITY, Image, Options, PASSWORD, Registry, Tokens, USER, shared,
    unique,
};

fn image(tag: &str) -> Image {
    Image::busybox(tag).layer(&[("etc/name", 0o644, tag)])
}

/// Loads an image under the name `name`.
fn load(daemon: &Daemon, name: &str) {
    let archive = image(name).docker_archive(Compression::Gzip);
    daemon.cli(["load"]).stdin(archive).run().ok();
}

/// A folder for the CLI's credentials.
fn home(daemon: &Daemon) -> String {
    let path = daemon.sandbox().state().join(unique("home"));
    std::fs::create_dir(&path).expect("mkdir");
    path.display().to_string()
}

fn as_user(daemon: &Daemon, home: &str, args: &[&str]) -> testkit::Output {
    daemon.cli(["--config", home]).args(args).run()
}

fn log_in(daemon: &Daemon, home: &str, host: &str, password: &str) -> testkit::Output {
    let args = [
        "--config",
        home,
        "login",
        "-u",
        USER,
        "--password-stdin",
        host,
    ];
    daemon.cli(args).stdin(password).run()
}

fn id(daemon: &Daemon, name: &str) -> String {
    daemon.format(name, "{{.Id}}")
}

#[test]
fn what_was_pushed_can_be_pulled() {
    let registry = Registry::start(shared(), 5000);
    let name = format!("{}/pushed/it:1", registry.host());
    load(shared(), &name);
    let digest = id(shared(), &name);
    let output = shared().docker(["push", &name]).ok();
    let repository = format!("{}/pushed/it", registry.host());
    output.clone_lines_have(&[
        &format!("The push refers to repository [{repository}]"),
        &format!("1: digest: {digest} size: "),
        ": Pushed",
    ]);
    // Again: everything is there.
    let again = shared().docker(["push", &name]).ok();
    again.clone_lines_have(&[": Layer already exists"]);
    assert!(!again.stdout.contains(": Pushed"), "{again}");
    // To another repository of the registry: mounted from the first one.
    let other = format!("{}/pushed/other:2", registry.host());
    shared().docker(["tag", &name, &other]).ok();
    let mounted = shared().docker(["push", &other]).ok();
    mounted.clone_lines_have(&[": Mounted from pushed/it"]);
    assert!(!mounted.stdout.contains(": Pushed"), "{mounted}");
    shared().docker(["rmi", "-f", &name, &other]).ok();
    for name in [&name, &other] {
        let run = ["run", "--rm", "--pull", "always", name, "cat", "/etc/name"];
        shared().docker(run).ok().out_has("pushed/it:1");
        assert_eq!(id(shared(), name), digest);
    }
    shared().docker(["rmi", "-f", &name, &other]).ok();
}

/// For outputs that are looked at more than once.
trait Lines {
    fn clone_lines_have(&self, wanted: &[&str]);
}

impl Lines for testkit::Output {
    #[track_caller]
    fn clone_lines_have(&self, wanted: &[&str]) {
        for text in wanted {
            let found = self.stdout.lines().any(|line| line.contains(text));
            assert!(found, "no [{text}]: {self}");
        }
    }
}

#[test]
fn every_tag_of_a_repository() {
    let registry = Registry::start(shared(), 5010);
    let name = |tag: &str| format!("{}/all:{tag}", registry.host());
    for tag in ["1", "2", "latest"] {
        load(shared(), &name(tag));
    }
    let repository = format!("{}/all", registry.host());
    let output = shared().docker(["push", "-a", &repository]).ok();
    output.clone_lines_have(&["1: digest: ", "2: digest: ", "latest: digest: "]);
    let names = ["1", "2", "latest"].map(name);
    for name in &names {
        shared().docker(["rmi", "-f", name]).ok();
    }
    let output = shared().docker(["pull", "-a", &repository]).ok();
    output.clone_lines_have(&[
        "1: Pulling from all",
        "2: Pulling from all",
        "latest: Pulling from all",
        &format!("Status: Downloaded newer image for {repository}"),
    ]);
    for name in &names {
        let run = ["run", "--rm", "--pull", "never", name, "cat", "/etc/name"];
        shared().docker(run).ok().out_is(name);
        shared().docker(["rmi", "-f", name]).ok();
    }
}

#[test]
fn what_is_not_there_is_not_pushed() {
    let missing = "127.0.0.1:5020/none:1";
    let output = shared().docker(["push", missing]).exits(1);
    assert_eq!(output.err(), format!("tag does not exist: {missing}"));
    let output = shared()
        .docker(["push", "-a", "127.0.0.1:5020/none"])
        .exits(1);
    assert_eq!(
        output.err(),
        "An image does not exist locally with the tag: 127.0.0.1:5020/none"
    );
    shared().api("POST", "/images/UPPER/push", None).is(400);
    // Nobody listens.
    load(shared(), "127.0.0.1:9/gone:1");
    let output = shared().docker(["push", "127.0.0.1:9/gone:1"]).exits(1);
    output.err_has("connection refused");
    shared().docker(["rmi", "127.0.0.1:9/gone:1"]).ok();
}

#[test]
fn its_stream_ends_with_what_programs_want_to_know() {
    let registry = Registry::start(shared(), 5030);
    let name = format!("{}/aux", registry.host());
    load(shared(), &format!("{name}:7"));
    let answer = shared().api("POST", &format!("/images/{name}/push?tag=7"), None);
    let lines: Vec<Value> = answer
        .is(200)
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let digest = id(shared(), &format!("{name}:7"));
    let aux = &lines.last().unwrap()["aux"];
    assert_eq!((&aux["Tag"], &aux["Digest"]), (&json!("7"), &json!(digest)));
    assert!(aux["Size"].as_i64().unwrap() > 100, "{aux}");
    shared().docker(["rmi", "-f", &format!("{name}:7")]).ok();
}

#[test]
fn a_registry_with_passwords() {
    let registry = Registry::guarded(shared(), 5040, Guard::Password);
    let name = format!("{}/guarded:1", registry.host());
    load(shared(), &name);
    let home = home(shared());
    let docker = |args: &[&str]| as_user(shared(), &home, args);
    docker(&["push", &name])
        .exits(1)
        .err_has("no basic auth credentials");
    let refused = log_in(shared(), &home, &registry.host(), "wrong").exits(1);
    // The last words are 20.10's.
    let words = ["failed with status: 401 Unauthorized", "unauthorized"];
    assert!(
        words.iter().any(|words| refused.stderr.contains(words)),
        "{refused}"
    );
    log_in(shared(), &home, &registry.host(), PASSWORD)
        .ok()
        .out_has("Login Succeeded");
    docker(&["push", &name]).ok();
    docker(&["rmi", "-f", &name]).ok();
    docker(&["pull", &name]).ok();
    docker(&["logout", &registry.host()]).ok();
    docker(&["pull", "-q", &name])
        .exits(1)
        .err_has("pull access denied for");
    docker(&["rmi", "-f", &name]).ok();
    assert!(!shared().log().contains(PASSWORD));
}

#[test]
fn a_registry_with_tokens() {
    let daemon = Daemon::start(Options::default());
    // Short-lived ones: they run out between a pull's requests, and are had anew.
    let tokens = Tokens::start(&daemon, 5001, 60);
    let registry = Registry::guarded(&daemon, 5010, Guard::Token(&tokens));
    let name = format!("{}/token:1", registry.host());
    load(&daemon, &name);
    let home = home(&daemon);
    let docker = |args: &[&str]| as_user(&daemon, &home, args);
    // Nobody may pull, but not push.
    docker(&["push", &name])
        .exits(1)
        .err_has("push access denied, repository does not exist or may require authorization");
    log_in(&daemon, &home, &registry.host(), "wrong")
        .exits(1)
        .err_has("incorrect username or password");
    log_in(&daemon, &home, &registry.host(), PASSWORD)
        .ok()
        .out_has("Login Succeeded");
    // The password is not kept: the identity token is.
    let kept = std::fs::read_to_string(format!("{home}/config.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(
        kept["auths"][registry.host()]["identitytoken"],
        json!(IDENTITY),
        "{kept}"
    );
    docker(&["push", &name]).ok();
    let scopes: Vec<String> = tokens
        .asked()
        .iter()
        .filter(|asked| asked.method == "GET")
        .flat_map(|asked| asked.parameters("scope"))
        .collect();
    assert!(
        scopes.contains(&"repository:token:pull,push".to_owned()),
        "{scopes:?}"
    );
    let traded = tokens.asked().iter().any(|asked| asked.method == "POST");
    assert!(traded, "the identity token is traded");
    docker(&["rmi", "-f", &name]).ok();
    docker(&["logout", &registry.host()]).ok();
    docker(&["pull", "-q", &name]).ok();
    let log = daemon.log();
    assert!(!log.contains(PASSWORD) && !log.contains(IDENTITY), "{log}");
}
