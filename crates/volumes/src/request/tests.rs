use proptest::prelude::*;

use super::*;

fn of(binds: &[&str]) -> Result<Vec<Request>> {
    requests(&wire::HostConfig {
        binds: binds.iter().map(|&bind| bind.to_owned()).collect(),
        ..Default::default()
    })
}

fn mount(kind: &str, source: &str, target: &str) -> wire::MountRequest {
    wire::MountRequest {
        kind: kind.into(),
        source: source.into(),
        target: target.into(),
        ..Default::default()
    }
}

fn with(mounts: Vec<wire::MountRequest>) -> Result<Vec<Request>> {
    requests(&wire::HostConfig {
        mounts,
        ..Default::default()
    })
}

#[test]
fn short_binds() {
    let list = of(&["/a/./b/../c:/d/:ro,rslave"]).expect("valid");
    let point = &list[0].point;
    assert_eq!(point.kind, Kind::Bind);
    assert_eq!(point.source, Path::new("/a/c"));
    assert_eq!(point.destination, Path::new("/d"));
    assert!(point.read_only && point.create_source);
    assert_eq!(point.propagation, "rslave");
    assert_eq!(point.mode, "ro,rslave");
}

#[test]
fn short_volumes() {
    let list = of(&["data:/d", "data:/e:ro,nocopy", "/anon"]).expect("valid");
    let [named, bare, anonymous] = &list[..] else {
        panic!("three: {list:?}")
    };
    let named = &named.point;
    assert_eq!((named.kind, &*named.name), (Kind::Volume, "data"));
    assert!(named.named && named.copy && !named.read_only);
    assert_eq!((&*named.mode, &*named.propagation), ("z", ""));
    assert!(bare.point.read_only && !bare.point.copy);
    assert_eq!(bare.point.mode, "ro,nocopy");
    assert_eq!(anonymous.point.name, "");
    assert!(!anonymous.point.named && anonymous.point.copy);
}

#[test]
fn what_is_malformed_is_refused_in_dockers_words() {
    let cases = [
        (
            &["/a:b"][..],
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
        ),
        (
            &["name:rel"],
            "invalid volume specification: 'name:rel': invalid mount config for type \"volume\": invalid mount path: 'rel' mount path must be absolute",
        ),
        (&["/a:/b:odd"], "invalid mode: odd"),
        (&["/a:/b:ro,rw"], "invalid mode: ro,rw"),
        (&["n:/b:nocopy,nocopy"], "invalid mode: nocopy,nocopy"),
        (
            &["/a:/b:ro:x"],
            "invalid volume specification: '/a:/b:ro:x'",
        ),
        (&[":/b"], "invalid volume specification: ':/b'"),
        (&["/b:ro"], "invalid volume specification: '/b:ro'"),
        (&["/b:"], "invalid volume specification: '/b:'"),
        (
            &["/a:/"],
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
        ),
        (
            &["/a:/b:nocopy"],
            "invalid volume specification: '/a:/b:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified",
        ),
        (
            &["n1:/b:rslave"],
            "invalid volume specification: 'n1:/b:rslave': invalid mount config for type \"volume\": field BindOptions must not be specified",
        ),
        (&["/a:/b", "/c:/b/"], "Duplicate mount point: /b"),
        (&["va:/m", "vb:/x/../m"], "Duplicate mount point: /m"),
    ];
    for (binds, message) in cases {
        assert_eq!(of(binds).expect_err(message).to_string(), message);
    }
    let both = requests(&wire::HostConfig {
        binds: vec!["v1:/m".to_owned()],
        tmpfs: [("/m".to_owned(), String::new())].into(),
        ..Default::default()
    });
    assert_eq!(
        both.expect_err("tmpfs").to_string(),
        "Duplicate mount point: /m"
    );
}

#[test]
fn long_volumes() {
    let mut wanted = mount("volume", "data", "/d");
    wanted.read_only = true;
    wanted.volume_options = Some(wire::VolumeOptions {
        no_copy: true,
        labels: [("a".to_owned(), "b".to_owned())].into(),
        subpath: "x/../y".to_owned(),
        driver_config: Some(wire::MountDriver {
            name: "local".to_owned(),
            options: [("type".to_owned(), "tmpfs".to_owned())].into(),
        }),
    });
    let list = with(vec![wanted, mount("tmpfs", "", "/t")]).expect("valid");
    let Request {
        point,
        labels,
        options,
    } = &list[0];
    assert!(point.read_only && point.named && !point.copy);
    assert_eq!(point.subpath, Path::new("x/../y"));
    assert_eq!((&*point.driver, &*point.mode), ("local", "z"));
    assert_eq!((&*labels["a"], &*options["type"]), ("b", "tmpfs"));
    assert_eq!(list[1].point.kind, Kind::Tmpfs);
}

#[test]
fn long_refusals() {
    let subpath = |source: &str, subpath: &str| {
        let mut wanted = mount("volume", source, "/d");
        wanted.volume_options = Some(wire::VolumeOptions {
            subpath: subpath.to_owned(),
            ..Default::default()
        });
        wanted
    };
    let mut anonymous = mount("volume", "", "/d");
    anonymous.read_only = true;
    let mut bound = mount("volume", "v1", "/d");
    bound.bind_options = Some(wire::BindOptions::default());
    let mut odd = mount("bind", "/", "/d");
    odd.bind_options = Some(wire::BindOptions {
        propagation: "odd".to_owned(),
        ..Default::default()
    });
    let config =
        |kind: &str, what: &str| format!("invalid mount config for type \"{kind}\": {what}");
    let outside = config(
        "volume",
        "subpath must be a relative path within the volume",
    );
    let cases = [
        (subpath("v1", "../x"), outside.clone()),
        (subpath("v1", "/x"), outside.clone()),
        (subpath("v1", "a/../../x"), outside),
        (
            subpath("", "x"),
            config(
                "volume",
                "must not set Subpath when using anonymous volumes",
            ),
        ),
        (
            anonymous,
            config(
                "volume",
                "must not set ReadOnly mode when using anonymous volumes",
            ),
        ),
        (
            bound,
            config("volume", "field BindOptions must not be specified"),
        ),
        (odd, config("bind", "invalid propagation mode: odd")),
        (
            mount("bind", "/does/not/exist", "/b"),
            config("bind", "bind source path does not exist: /does/not/exist"),
        ),
        (
            mount("cluster", "c1", "/c"),
            config("cluster", "mount type unknown"),
        ),
        (
            mount("tmpfs", "x", "/t"),
            config("tmpfs", "field Source must not be specified"),
        ),
        (
            mount("volume", "v1", ""),
            config("volume", "field Target must not be empty"),
        ),
    ];
    for (wanted, message) in cases {
        let error = with(vec![wanted]).expect_err(&message);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn volumes_from() {
    let parse = |text| VolumesFrom::parse(text).map_err(|error| error.to_string());
    let of = |container, read_only| VolumesFrom {
        container,
        read_only,
    };
    assert_eq!(parse("c"), Ok(of("c", false)));
    assert_eq!(parse("c:rw"), Ok(of("c", false)));
    assert_eq!(parse("c:ro,z"), Ok(of("c", true)));
    for bad in ["c:odd", "c:rslave", "c:nocopy"] {
        assert!(parse(bad).is_err_and(|error| error.starts_with("invalid mode: ")));
    }
    assert!(parse("").is_err());
}

proptest! {
    #[test]
    fn nothing_a_client_writes_panics_or_leaves_the_root(text in "[a-z/:.,-]{0,24}") {
        if let Ok(list) = of(&[&text]) {
            for request in list {
                let point = request.point;
                prop_assert!(point.destination.starts_with("/"));
                prop_assert!(point.destination != Path::new("/"));
                prop_assert!(!point.destination.components().any(|part| part == Component::ParentDir));
                prop_assert_eq!(point.kind == Kind::Bind, point.source.is_absolute());
            }
        }
    }
}
