use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn config(runtimes: serde_json::Value) -> Config {
    Config {
        data_root: "/data".into(),
        exec_root: "/exec".into(),
        runtimes: serde_json::from_value(runtimes).unwrap(),
        ..Config::default()
    }
}

fn derive(runtimes: serde_json::Value) -> Result<Runtimes> {
    Runtimes::derive(&config(runtimes), true)
}

#[test]
fn the_stock_runtime_has_two_names() {
    let runtimes = derive(json!({})).unwrap();
    for name in ["", "runc", "io.containerd.runc.v2"] {
        let runtime = runtimes.get(name).unwrap();
        assert_eq!(runtime.shim, RUNC_SHIM);
        let wanted = ShimOptions::Runc {
            binary_name: "runc".into(),
            root: "/exec/runtime-runc".into(),
            systemd_cgroup: true,
            more: serde_json::Map::new(),
        };
        assert_eq!(runtime.options, wanted);
    }
}

#[test]
fn names_of_clients_are_configured_ones_or_shim_types() {
    let runtimes = derive(json!({"my/odd": {"path": "/x"}})).unwrap();
    assert_eq!(runtimes.get("my/odd").unwrap().path, "/x");
    let kata = runtimes.get("io.containerd.kata.v2").unwrap();
    assert_eq!(
        (kata.shim.as_str(), &kata.options),
        ("io.containerd.kata.v2", &ShimOptions::None)
    );
    for name in ["nodot", "/bin/x.y", "a/b.c", ".x"] {
        let message = runtimes.get(name).unwrap_err().to_string();
        assert_eq!(message, format!("unknown or invalid runtime name: {name}"));
    }
}

#[test]
fn definitions_that_make_no_sense_are_refused() {
    for (definition, wrong) in [
        (
            json!({}),
            "runtime x: either a runtimeType or a path must be configured",
        ),
        (
            json!({"path": "/a", "runtimeType": "b"}),
            "runtime x: cannot configure both path and runtimeType for the same runtime",
        ),
        (
            json!({"path": "/a", "options": {"a": 1}}),
            "runtime x: options cannot be used with a path runtime",
        ),
        (
            json!({"runtimeType": "b", "runtimeArgs": ["c"]}),
            "runtime x: args cannot be used with a runtimeType runtime",
        ),
        (
            json!({"runtimeType": RUNC_SHIM, "options": {"BinaryName": 1}}),
            "runtime x: invalid value for option BinaryName",
        ),
        (
            json!({"path": "/a", "runtimeArgs": ["a\u{0}b"]}),
            "runtime x: runtimeArgs cannot contain NUL",
        ),
    ] {
        assert_eq!(
            derive(json!({"x": definition})).unwrap_err().to_string(),
            wrong
        );
    }
    let message = derive(json!({"runc": {"path": "/a"}}))
        .unwrap_err()
        .to_string();
    assert_eq!(message, "runtime name 'runc' is reserved");
}

#[test]
fn shims_get_their_options() {
    let runtimes = derive(json!({
        "a": {"runtimeType": RUNC_SHIM, "options": {"BinaryName": "/crun", "SystemdCgroup": false, "NoPivotRoot": true}},
        "b": {"runtimeType": "io.containerd.runsc.v1", "options": {"TypeUrl": "x"}},
        "c": {"runtimeType": "/usr/bin/shim"},
    }))
    .unwrap();
    let ShimOptions::Runc {
        binary_name,
        systemd_cgroup,
        more,
        ..
    } = &runtimes.get("a").unwrap().options
    else {
        panic!("not runc's options");
    };
    assert_eq!((binary_name.as_str(), *systemd_cgroup), ("/crun", false));
    assert_eq!(more["NoPivotRoot"], true);
    assert!(
        matches!(&runtimes.get("b").unwrap().options, ShimOptions::Generic(map) if map["TypeUrl"] == "x")
    );
    assert_eq!(runtimes.get("c").unwrap().shim, "/usr/bin/shim");
}

#[test]
fn wrappers_are_named_by_their_content_and_never_touched_again() {
    let dir = tempfile::tempdir().unwrap();
    let derive = |args: &[&str]| {
        let mut config = config(json!({"x": {"path": "/bin/echo", "runtimeArgs": args}}));
        config.data_root = dir.path().to_owned();
        Runtimes::derive(&config, false).unwrap()
    };
    let one = derive(&["a"]);
    let wrapper = one.get("x").unwrap().wrapper.clone().unwrap();
    one.write_wrappers().unwrap();
    let before = wrapper.path.metadata().unwrap();
    assert_eq!(before.permissions().mode() & 0o777, 0o700);
    assert_eq!(
        dir.path().join("runtimes").metadata().unwrap().mode() & 0o777,
        0o700
    );
    let two = derive(&["b"]);
    two.write_wrappers().unwrap();
    one.write_wrappers().unwrap();
    let after = wrapper.path.metadata().unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
    assert_ne!(
        two.get("x").unwrap().wrapper.as_ref().unwrap().path,
        wrapper.path
    );
    assert_eq!(
        std::fs::read_dir(dir.path().join("runtimes"))
            .unwrap()
            .count(),
        2
    );
    assert_eq!(derive(&["a"]).get("x").unwrap().wrapper, Some(wrapper));
}

#[test]
fn a_runtime_with_arguments_may_have_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(4096);
    for (name, file) in [
        ("plain-1.2_3", "plain-1.2_3"),
        ("a/b", "a%2Fb"),
        ("../../x", "%2E.%2F..%2Fx"),
        (".x y", "%2Ex%20y"),
        ("ü\n", "%C3%BC%0A"),
        (long.as_str(), &long[..128]),
    ] {
        let mut config = config(json!({name: {"path": "/bin/echo", "runtimeArgs": ["a"]}}));
        config.data_root = dir.path().to_owned();
        let runtimes = Runtimes::derive(&config, false).unwrap();
        runtimes.write_wrappers().unwrap();
        let wrapper = runtimes.get(name).unwrap().wrapper.clone().unwrap();
        assert_eq!(wrapper.path.parent(), Some(&*dir.path().join("runtimes")));
        let written = wrapper.path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(written, file);
        assert!(wrapper.path.is_file());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// What the administrator wrote reaches the runtime through `sh` byte for byte.
    #[test]
    fn arguments_survive_the_shell(args in proptest::collection::vec("[^\0]{0,12}", 1..4), given in "[^\0]{0,12}") {
        let dir = tempfile::tempdir().unwrap();
        let mut all = vec!["%s\\0".to_owned()];
        all.extend(args);
        let wrapper = Wrapper::new(dir.path(), "x", "/usr/bin/printf", &all).unwrap();
        wrapper.write().unwrap();
        let output = Command::new("/bin/sh").arg(&wrapper.path).arg(&given).output().unwrap();
        all.push(given);
        let wanted: String = all[1..].iter().map(|arg| format!("{arg}\0")).collect();
        prop_assert_eq!(String::from_utf8_lossy(&output.stdout), wanted);
    }
}
