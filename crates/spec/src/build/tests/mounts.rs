//! What is mounted.

use super::*;

#[test]
fn tmpfs_mounts_in_the_long_form() {
    let with = |option: &[&str]| {
        let tmpfs = berth_wire::TmpfsOptions {
            size_bytes: 4096,
            mode: 0o700,
            options: vec![strings(&["exec"]), strings(option)],
        };
        Case::host(|host| {
            host.mounts = vec![berth_wire::MountRequest {
                kind: "tmpfs".to_owned(),
                target: "/scratch".to_owned(),
                read_only: true,
                tmpfs_options: Some(tmpfs),
                ..Default::default()
            }];
        })
    };
    let value = with(&["uid", "7"]).json();
    let mounts = value["mounts"].as_array().unwrap();
    let mount = mounts.iter().find(|m| m["destination"] == "/scratch");
    assert_eq!(
        mount.unwrap()["options"],
        serde_json::json!([
            "nosuid",
            "nodev",
            "rprivate",
            "mode=700",
            "size=4096",
            "exec",
            "uid=7",
            "ro"
        ])
    );
    assert_eq!(
        with(&["lowerdir", "/x"]).error(),
        "invalid tmpfs option \"lowerdir=/x\""
    );
}

#[test]
fn binds() {
    let mut case = Case::new();
    let bind = |source: &str, destination: &str| BindMount {
        source: source.into(),
        destination: destination.into(),
        ..BindMount::default()
    };
    case.mounts.extend([
        bind("/srv/deep", "/data/deep/er"),
        BindMount {
            readonly: true,
            ..bind("/srv/ro", "/data")
        },
        BindMount {
            propagation: "rshared".to_owned(),
            ..bind("/srv/sh", "/shared")
        },
        BindMount {
            propagation: "rslave".to_owned(),
            ..bind("/srv/sl", "/slave")
        },
        BindMount {
            readonly: true,
            readonly_recursive: true,
            non_recursive: true,
            ..bind("/srv/rro", "/rro")
        },
        bind("/srv/proc", "/proc"),
    ]);
    golden("binds", &case);
    case.mounts.push(bind("/dev", "/dev"));
    let value = case.json();
    let below_dev = value["mounts"].as_array().unwrap().iter().any(|mount| {
        mount["destination"]
            .as_str()
            .is_some_and(|path| path.starts_with("/dev/"))
    });
    assert!(!below_dev);
}

#[test]
fn read_only_binds_on_old_kernels() {
    let option = |kernel, change: fn(&mut BindMount)| {
        let mut case = Case::new();
        case.facts.kernel = kernel;
        let mut bind = BindMount {
            source: "/srv".into(),
            destination: "/data".into(),
            readonly: true,
            ..BindMount::default()
        };
        change(&mut bind);
        case.mounts = vec![bind];
        let spec = case.build().map_err(|error| error.to_string())?;
        let mounts = spec.mounts().clone().unwrap_or_default();
        let mount = mounts
            .iter()
            .find(|m| m.destination() == Path::new("/data"));
        Ok(mount.unwrap().options().clone().unwrap().remove(1))
    };
    let said = |text: &str| Ok::<_, String>(text.to_owned());
    assert_eq!(option((5, 12), |_| ()), said("rro"));
    assert_eq!(option((5, 11), |_| ()), said("ro"));
    assert_eq!(
        option((6, 1), |bind| bind.readonly_non_recursive = true),
        said("ro")
    );
    assert!(option((5, 11), |bind| bind.readonly_recursive = true).is_err());
    assert!(
        option((6, 1), |bind| {
            bind.readonly_recursive = true;
            bind.readonly_non_recursive = true;
        })
        .is_err()
    );
}

#[test]
fn readonly_root_with_tmpfs() {
    golden(
        "readonly-tmpfs-shm",
        &Case::host(|host| {
            host.readonly_rootfs = true;
            host.shm_size = 1 << 20;
            host.tmpfs
                .insert("/run".to_owned(), "rw,exec,size=64m".to_owned());
            host.tmpfs.insert("/tmp/a/b".to_owned(), String::new());
        }),
    );
}
