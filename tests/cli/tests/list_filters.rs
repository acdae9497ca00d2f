//! `docker ps`: filters, limits and sizes.

use testkit::{shared, unique};

#[test]
fn filters_that_are_rare_or_wrong() {
    let name = unique("rare");
    let volume = format!("{name}-data");
    let mount = format!("{volume}:/data");
    shared().run_d(&name, ["-v", &mount, "busybox", "sleep", "1000"]);
    let list = |filter: &str| {
        let own = format!("name=^/{name}$");
        let output = shared().docker(["ps", "-f", &own, "-f", filter, "--format", "{{.Names}}"]);
        output.ok().out().to_owned()
    };
    for filter in [
        &format!("volume={volume}"),
        "volume=/data",
        "health=none",
        "is-task=false",
        // Windows' alone.
        "isolation=hyperv",
        "network=bridge",
        "name=rare",
    ] {
        assert_eq!(list(filter), name, "{filter}");
    }
    for filter in [
        "volume=nosuch",
        "health=healthy",
        "is-task=true",
        "network=nosuch",
        "expose=80-90",
        "publish=80/udp",
        "label=nosuch",
    ] {
        assert_eq!(list(filter), "", "{filter}");
    }
    let id = shared().format(&name, "{{.NetworkSettings.Networks.bridge.NetworkID}}");
    assert_eq!(list(&format!("network={}", &id[..12])), name);
    if !shared().is_old_dockerd() {
        let states = "created, running, paused, restarting, removing, exited, dead";
        for (filter, words) in [
            (
                "status=odd",
                &*format!(
                    "invalid filter 'status=odd': invalid value for state (odd): must be one of {states}"
                ),
            ),
            (
                "health=odd",
                "invalid filter 'health=odd': invalid value for health (odd)",
            ),
            (
                "exited=x",
                "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("is-task=maybe", "invalid filter 'is-task=[maybe]'"),
            ("nosuch=1", "invalid filter 'nosuch'"),
            ("before=nosuch", "No such container: nosuch"),
        ] {
            let output = shared().docker(["ps", "-f", filter]);
            output.exits(1).err_has(words);
        }
    }
    shared().remove(&[&name]);
    shared().docker(["volume", "rm", &volume]).ok();
}

#[test]
fn sizes_and_limits_of_the_list() {
    let (first, second) = (unique("size"), unique("size"));
    let script = "dd if=/dev/zero of=/f bs=1000 count=20";
    shared()
        .docker(["run", "--name", &first, "busybox", "sh", "-c", script])
        .ok();
    shared()
        .docker(["create", "--name", &second, "busybox"])
        .ok();
    let filter = format!("name=^/{first}$");
    let size = shared()
        .docker(["ps", "-as", "-f", &filter, "--format", "{{.Size}}"])
        .ok();
    assert!(size.out().starts_with("20kB (virtual "), "{size}");
    let inspected = shared().docker(["inspect", "-s", "-f", "{{.SizeRw}}", &first]);
    inspected.ok().out_is("20000");
    let either = [
        "-f",
        &*format!("name=^/{first}$"),
        "-f",
        &*format!("name=^/{second}$"),
    ];
    let names = |options: &[&str]| {
        let cli = shared().cli(["ps", "--format", "{{.Names}}"]).args(either);
        cli.args(options).run().ok().out().to_owned()
    };
    assert_eq!(names(&["-a"]), format!("{second}\n{first}"));
    assert_eq!(
        names(&["-n", "1"]),
        second,
        "the newest, whether it runs or not"
    );
    assert_eq!(names(&["-l"]), second);
    assert_eq!(names(&[]), "");
    shared().remove(&[&first, &second]);
}
