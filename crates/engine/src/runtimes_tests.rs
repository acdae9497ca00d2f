use std::os::unix::fs::PermissionsExt;

use berth_config::{Config, Facts, RuntimeConfig};
use berth_errdefs::{Classify, Kind};

use super::*;

fn live(runtimes: &[(&str, RuntimeConfig)], root: &Path) -> Arc<Live> {
    let config = Config {
        data_root: root.join("data"),
        exec_root: root.join("exec"),
        runtimes: runtimes
            .iter()
            .map(|(name, config)| ((*name).to_owned(), config.clone()))
            .collect(),
        ..Config::default()
    };
    Arc::new(Live::derive(config, Facts::default()).expect("a good configuration"))
}

fn shim(kind: &str, options: serde_json::Value) -> RuntimeConfig {
    let Value::Object(options) = options else {
        panic!("an object")
    };
    RuntimeConfig {
        runtime_type: kind.to_owned(),
        options,
        ..RuntimeConfig::default()
    }
}

fn of(config: RuntimeConfig) -> Result<berth_ctrd::Runtime> {
    resolve(&live(&[("x", config)], Path::new("/nowhere")), "x")
}

#[test]
fn every_option_of_runcs_shim_is_told() {
    let options = serde_json::json!({
        "NoPivotRoot": true, "NoNewKeyring": true, "ShimCgroup": "/shims", "IoUid": 7, "IoGid": 8,
        "BinaryName": "/opt/runc", "Root": "/run/other", "SystemdCgroup": true,
        "CriuImagePath": "/images", "CriuWorkPath": "/work", "CriuPath": "/criu",
        "TaskApiAddress": "unix:///t", "TaskApiVersion": 3,
    });
    let runtime = of(shim("io.containerd.runc.v2", options)).expect("known options");
    assert_eq!(runtime.name, "io.containerd.runc.v2");
    assert_eq!(binary(&runtime), "/opt/runc");
    let wanted = RuncOptions {
        no_pivot_root: true,
        no_new_keyring: true,
        shim_cgroup: "/shims".into(),
        io_uid: 7,
        io_gid: 8,
        binary_name: "/opt/runc".into(),
        root: "/run/other".into(),
        criu_path: "/criu".into(),
        systemd_cgroup: true,
        criu_image_path: "/images".into(),
        criu_work_path: "/work".into(),
        task_api_address: "unix:///t".into(),
        task_api_version: 3,
    };
    assert_eq!(runtime.options, Some(RuntimeOptions::Runc(wanted)));
}

#[test]
fn what_is_no_option_means_nothing_and_is_told() {
    let options = serde_json::json!({"Rooot": "/x", "iouid": 7, "Root": "/r"});
    for (kind, ignored) in [
        ("io.containerd.runc.v2", &["Rooot"][..]),
        ("io.containerd.kata.v2", &["Rooot", "Root", "iouid"]),
    ] {
        let config = shim(kind, options.clone());
        let live = live(&[("x", config)], Path::new("/nowhere"));
        let ignored: Vec<_> = ignored
            .iter()
            .map(|option| format!("runtimes.x.options.{option}"))
            .collect();
        assert_eq!(ignored_options(&live), ignored);
        let runtime = resolve(&live, "x").expect("what means nothing is no error");
        let is_runc =
            matches!(runtime.options, Some(RuntimeOptions::Runc(options)) if options.io_uid == 7);
        assert_eq!(is_runc, kind == "io.containerd.runc.v2");
    }
}

#[test]
fn what_an_option_does_not_take_is_told() {
    for (kind, options, message) in [
        (
            "io.containerd.runc.v2",
            serde_json::json!({"IoUid": -1}),
            "runtime x: invalid value for option IoUid: a number from 0 to 4294967295 expected",
        ),
        (
            "io.containerd.runc.v2",
            serde_json::json!({"NoPivotRoot": "yes"}),
            "runtime x: invalid value for option NoPivotRoot: true or false expected",
        ),
        (
            "io.containerd.kata.v2",
            serde_json::json!({"ConfigBody": [256]}),
            "runtime x: invalid value for option ConfigBody: a string or an array of bytes expected",
        ),
    ] {
        let error = of(shim(kind, options)).expect_err(message);
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (Kind::InvalidArgument, message)
        );
    }
}

#[test]
fn other_shims_get_generic_options() {
    let options = serde_json::json!({"TypeUrl": "t", "ConfigPath": "/etc/kata.toml", "ConfigBody": "a = 1\n"});
    let runtime = of(shim("/opt/containerd-shim-kata-v2", options)).expect("known options");
    assert_eq!(runtime.name, "/opt/containerd-shim-kata-v2");
    let wanted = GenericOptions {
        type_url: "t".into(),
        config_path: "/etc/kata.toml".into(),
        config_body: b"a = 1\n".to_vec(),
    };
    assert_eq!(runtime.options, Some(RuntimeOptions::Generic(wanted)));
    let none = of(shim("io.containerd.kata.v2", serde_json::json!({}))).expect("no options");
    assert_eq!(none.options, None);
}

#[test]
fn clients_name_shims_by_type_only() {
    let live = live(&[], Path::new("/nowhere"));
    let shim = resolve(&live, "io.containerd.kata.v2").expect("a permissible shim");
    assert_eq!(
        (shim.name.as_str(), shim.options),
        ("io.containerd.kata.v2", None)
    );
    for name in ["/usr/bin/shim", "a/b.c", "unknown", ".hidden.v2"] {
        let error = resolve(&live, name).expect_err(name);
        assert_eq!(
            error.to_string(),
            format!("unknown or invalid runtime name: {name}")
        );
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }
}

fn wrapped(path: &str) -> RuntimeConfig {
    RuntimeConfig {
        path: path.to_owned(),
        runtime_args: vec!["--debug".into()],
        ..RuntimeConfig::default()
    }
}

#[test]
fn a_wrapped_binary_is_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    for (path, why) in [
        (
            "no-such-runtime-here",
            "executable file not found in $PATH".to_owned(),
        ),
        (
            "/no/such/runtime",
            "stat /no/such/runtime: no such file or directory".to_owned(),
        ),
        (dir.path().to_str().unwrap(), "is a directory".to_owned()),
        (plain.to_str().unwrap(), "permission denied".to_owned()),
    ] {
        let error = of(wrapped(path)).expect_err(path);
        let message =
            format!("error while looking up the specified runtime path: exec: {path:?}: {why}");
        assert_eq!(
            (error.kind(), error.to_string()),
            (Kind::InvalidArgument, message)
        );
        // Without arguments nobody looks: containerd's shim will.
        let bare = RuntimeConfig {
            path: path.to_owned(),
            ..RuntimeConfig::default()
        };
        of(bare).expect("not looked at");
    }
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o755)).unwrap();
    of(wrapped(plain.to_str().unwrap())).expect("it can be run");
    of(wrapped("sh")).expect("it is in $PATH");
}

#[tokio::test]
async fn a_start_has_its_script() {
    let dir = tempfile::tempdir().unwrap();
    let live = live(&[("x", wrapped("sh"))], dir.path());
    let runtime = ready(&live, "x").await.expect("written");
    let script = std::path::PathBuf::from(binary(&runtime));
    assert!(
        script.starts_with(dir.path().join("data/runtimes")),
        "{script:?}"
    );
    let inode =
        |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let first = inode(&script);
    ready(&live, "x").await.expect("there");
    assert_eq!(inode(&script), first, "what is there is not touched");
    std::fs::remove_file(&script).unwrap();
    ready(&live, "x").await.expect("written again");
    assert!(
        std::fs::read_to_string(&script)
            .unwrap()
            .contains("--debug")
    );
}
