use std::fs;

use oci_spec::runtime::Spec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Folders with files in them.
struct Host(TempDir);

impl Host {
    fn new() -> Host {
        Host(tempfile::tempdir().unwrap())
    }

    fn folders(&self) -> Vec<PathBuf> {
        ["first", "second"]
            .map(|name| self.0.path().join(name))
            .to_vec()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn scan(&self) -> Registry {
        Registry::scan(&self.folders())
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A file with one device `name` that sets a variable.
fn simple(name: &str, variable: &str) -> String {
    format!(
        r#"{{"cdiVersion":"0.5.0","kind":"a.com/b","devices":[{{"name":"{name}","containerEdits":{{"env":["{variable}"]}}}}]}}"#
    )
}

fn spec_of(text: &str) -> Spec {
    serde_json::from_str(text).unwrap()
}

const PLAIN: &str = r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":7,"gid":8},"env":["PATH=/bin","OLD=1"]},
    "mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/data","source":"/mine","options":["bind"]}],
    "linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}]},"devices":[]}}"#;

#[test]
fn all_that_a_device_changes() {
    let host = Host::new();
    host.write(
        "first/vendor.yaml",
        r"
cdiVersion: 1.0.0
kind: vendor.com/net.card
annotations: {about: cards}
containerEdits:
  env: [OLD=2, ALL=yes]
  additionalGids: [0, 44]
devices:
- name: card0
  annotations:
    slot: '1'
  containerEdits:
    env:
    - NEW=3
    deviceNodes:
    - path: /dev/card
      hostPath: /dev/null
      fileMode: 0640
      permissions: rw
      uid: 0
    - {path: /dev/pipe, type: p}
    - {path: /dev/fixed, type: b, major: 250, minor: 3}
    mounts:
    - {hostPath: /usr/lib/card, containerPath: /usr/lib/card/deep, options: [ro, bind]}
    - {hostPath: /host/data, containerPath: /data, options: [bind]}
    hooks:
    - {hookName: createContainer, path: /usr/bin/hook, args: [hook, up], env: [A=b], timeout: 5}
    - {hookName: prestart, path: /usr/bin/old}
    intelRdt: {closID: fast}
",
    );
    let registry = host.scan();
    assert_eq!(registry.problems(), []);
    let name = "vendor.com/net.card=card0";
    assert_eq!(registry.devices().collect::<Vec<_>>(), [name]);
    let mut spec = spec_of(PLAIN);
    let edits = registry.edits(&names(&[name])).unwrap();
    edits.apply(&mut spec, |path| path == Path::new("/data"));
    let spec = serde_json::to_value(&spec).unwrap();
    assert_eq!(
        spec["process"]["env"],
        serde_json::json!(["PATH=/bin", "OLD=2", "ALL=yes", "NEW=3"])
    );
    assert_eq!(
        spec["process"]["user"]["additionalGids"],
        serde_json::json!([44])
    );
    // What is not said is as the host has it, or the container's user's.
    assert_eq!(
        spec["linux"]["devices"],
        serde_json::json!([
            {"path": "/dev/card", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 0, "gid": 8},
            {"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0, "uid": 7, "gid": 8},
            {"path": "/dev/fixed", "type": "b", "major": 250, "minor": 3, "uid": 7, "gid": 8},
        ])
    );
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        serde_json::json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
            {"allow": true, "type": "b", "major": 250, "minor": 3, "access": "rwm"},
        ])
    );
    // The container's own mount stays.
    let mounts: Vec<_> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            (
                mount["destination"].as_str().unwrap(),
                mount["source"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        mounts,
        [
            ("/proc", "proc"),
            ("/data", "/mine"),
            ("/usr/lib/card/deep", "/usr/lib/card")
        ]
    );
    assert_eq!(
        spec["hooks"],
        serde_json::json!({
            "createContainer": [{"path": "/usr/bin/hook", "args": ["hook", "up"], "env": ["A=b"], "timeout": 5}],
            "prestart": [{"path": "/usr/bin/old"}],
        })
    );
    assert_eq!(
        spec["linux"]["intelRdt"],
        serde_json::json!({"closID": "fast"})
    );
}

#[test]
fn without_devices_nothing_is_touched() {
    let plain = spec_of(PLAIN);
    let mut spec = plain.clone();
    Edits::default().apply(&mut spec, |_| false);
    assert_eq!(spec, plain);
}

#[test]
fn what_a_file_changes_for_all_comes_once() {
    let host = Host::new();
    let device =
        |name: &str| format!(r#"{{"name":"{name}","containerEdits":{{"env":["{name}=1"]}}}}"#);
    let text = format!(
        r#"{{"cdiVersion":"0.5.0","kind":"a.com/b","containerEdits":{{"hooks":[{{"hookName":"poststop","path":"/h"}}]}},"devices":[{},{}]}}"#,
        device("x"),
        device("y")
    );
    host.write("first/a.json", &text);
    let mut spec = spec_of(PLAIN);
    let edits = host
        .scan()
        .edits(&names(&["a.com/b=y", "a.com/b=x"]))
        .unwrap();
    edits.apply(&mut spec, |_| false);
    let spec = serde_json::to_value(&spec).unwrap();
    assert_eq!(spec["hooks"]["poststop"].as_array().unwrap().len(), 1);
    let env = spec["process"]["env"].as_array().unwrap();
    assert_eq!(env[2..], ["y=1", "x=1"]);
}

#[test]
fn a_later_folder_has_precedence_and_two_of_one_name_are_none() {
    let host = Host::new();
    host.write("first/a.json", &simple("x", "FROM=first"));
    host.write("second/a.json", &simple("x", "FROM=second"));
    host.write("first/b.json", &simple("twice", "A=1"));
    host.write("first/c.json", &simple("twice", "A=2"));
    host.write("first/ignored.txt", "nonsense");
    fs::create_dir(host.0.path().join("first/folder.json")).unwrap();
    let registry = host.scan();
    assert_eq!(registry.devices().collect::<Vec<_>>(), ["a.com/b=x"]);
    let mut spec = spec_of(PLAIN);
    registry
        .edits(&names(&["a.com/b=x"]))
        .unwrap()
        .apply(&mut spec, |_| false);
    let spec = serde_json::to_value(&spec).unwrap();
    assert_eq!(spec["process"]["env"][2], "FROM=second");
    assert_eq!(registry.problems().len(), 2);
    assert!(
        registry.problems()[0]
            .reason
            .starts_with("conflicting device \"a.com/b=twice\"")
    );
    let error = registry
        .edits(&names(&["a.com/b=x", "a.com/b=twice", "no"]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unresolvable CDI devices a.com/b=twice, no"
    );
}

#[test]
fn a_node_that_the_host_has_not() {
    let host = Host::new();
    let with = |node: &str| {
        let text = format!(
            r#"{{"cdiVersion":"0.5.0","kind":"a.com/b","devices":[{{"name":"x","containerEdits":{{"deviceNodes":[{node}]}}}}]}}"#
        );
        host.write("first/a.json", &text);
        let edits = host.scan().edits(&names(&["a.com/b=x"]));
        edits.unwrap_err().to_string()
    };
    assert_eq!(
        with(r#"{"path":"/dev/nosuch"}"#),
        "failed to inject devices: failed to stat CDI host device \"/dev/nosuch\": no such file or directory"
    );
    assert_eq!(
        with(r#"{"path":"/dev/x","hostPath":"/etc/passwd"}"#),
        "failed to inject devices: failed to stat CDI host device \"/etc/passwd\": not a device node"
    );
    assert_eq!(
        with(r#"{"path":"/dev/null","type":"b"}"#),
        "failed to inject devices: CDI device (\"/dev/null\", \"/dev/null\"), host type mismatch (b, c)"
    );
}

#[test]
fn files_that_cannot_be_used() {
    let device = r#"{"name":"x","containerEdits":{"env":["A=b"]}}"#;
    let with = |version: &str, kind: &str, device: &str| {
        format!(r#"{{"cdiVersion":"{version}","kind":"{kind}","devices":[{device}]}}"#)
    };
    let edits = |edits: &str| {
        with(
            "0.5.0",
            "a.com/b",
            &format!(r#"{{"name":"x","containerEdits":{{{edits}}}}}"#),
        )
    };
    for (text, reason) in [
        (
            with("9.0.0", "a.com/b", device),
            "invalid CDI Spec: invalid version \"9.0.0\"",
        ),
        (
            with("0.5.0", "b", device),
            "invalid CDI Spec: invalid vendor. empty name",
        ),
        (
            with("0.5.0", "a.com/1b", device),
            "invalid class. \"1b\", should start with letter",
        ),
        (
            with("0.5.0", "a.com/b.c", device),
            "the spec version must be at least v0.6.0",
        ),
        (
            with("0.3.0", "a.com/b", &device.replace('x', "1")),
            "must be at least v0.5.0",
        ),
        (with("0.5.0", "a.com/b", ""), "invalid spec, no devices"),
        (
            with("0.5.0", "a.com/b", &format!("{device},{device}")),
            "multiple device \"x\"",
        ),
        (
            with("0.5.0", "a.com/b", &device.replace('x', "x=y")),
            "invalid character '='",
        ),
        (edits(""), "invalid device, empty device edits"),
        (
            edits(r#""env":["=a"]"#),
            "invalid environment variable \"=a\"",
        ),
        (
            edits(r#""deviceNodes":[{"path":"/dev/x","type":"z"}]"#),
            "invalid type \"z\"",
        ),
        (
            edits(r#""deviceNodes":[{"path":"/dev/x","permissions":"x"}]"#),
            "invalid permissions",
        ),
        (
            edits(r#""mounts":[{"hostPath":"","containerPath":"/x"}]"#),
            "empty host path",
        ),
        (
            edits(r#""hooks":[{"hookName":"never","path":"/x"}]"#),
            "unknown variant `never`",
        ),
        (edits(r#""additionalGids":[4]"#), "must be at least v0.7.0"),
        (edits(r#""nonsense":[4]"#), "unknown field `nonsense`"),
        ("{".to_owned(), "EOF"),
    ] {
        let host = Host::new();
        host.write("second/a.json", &text);
        let registry = host.scan();
        assert_eq!(registry.devices().count(), 0, "{text}");
        let problem = &registry.problems()[0];
        assert!(
            problem.reason.starts_with("failed to load CDI Spec \""),
            "{problem:?}"
        );
        assert!(problem.reason.contains(reason), "{problem:?}: not {reason}");
    }
}

#[test]
fn interfaces_are_refused() {
    let host = Host::new();
    let edits = r#"{"netDevices":[{"hostInterfaceName":"eth7","name":"net0"}]}"#;
    let text = format!(
        r#"{{"cdiVersion":"1.1.0","kind":"a.com/b","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#
    );
    host.write("first/a.json", &text);
    let error = host.scan().edits(&names(&["a.com/b=x"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "network interfaces as CDI devices are not supported yet"
    );
}

proptest! {
    /// Whatever is in a file, the others can be used.
    #[test]
    fn no_file_is_in_the_way(text in "(?s).{0,200}", json in any::<bool>()) {
        let host = Host::new();
        host.write(if json { "first/a.json" } else { "first/a.yaml" }, &text);
        host.write("first/b.json", &simple("x", "A=b"));
        let registry = host.scan();
        prop_assert!(registry.devices().any(|name| name == "a.com/b=x"));
    }
}
