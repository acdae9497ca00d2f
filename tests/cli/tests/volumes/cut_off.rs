//! The daemon dies while volumes are made and removed.

use serde_json::json;
use testkit::{Mortal, Options};

use super::names;

#[test]
fn a_volume_is_made_and_removed_whole_or_not_at_all() {
    let Some(mortal) = Mortal::start(Options::default()) else {
        return;
    };
    let daemon = &mortal.daemon;
    assert_eq!(
        mortal.points_of("volume"),
        ["volume:made", "volume:removed"]
    );
    let body = json!({"Name": "data", "Labels": {"a": "b"}});
    let create = mortal.daemon.request("POST", "/volumes/create").json(&body);
    mortal.dies_in("volume:made", create);
    let label = ["volume", "inspect", "-f", "{{.Labels.a}}", "data"];
    daemon.docker(label).ok().out_is("b");
    mortal.dies("volume:removed", "DELETE", "/volumes/data");
    assert_eq!(names(daemon, &[]), Vec::<String>::new());
    let left = std::fs::read_dir(daemon.data_root().join("volumes")).expect("there");
    assert_eq!(left.count(), 0, "nothing of it is left");
}

#[test]
fn a_container_that_never_came_to_be_leaves_no_volumes() {
    let Some(mortal) = Mortal::start(Options::default()) else {
        return;
    };
    let daemon = &mortal.daemon;
    let body = json!({"Image": "busybox", "Volumes": {"/a": {}, "/b": {}}});
    let create = || {
        daemon
            .request("POST", "/containers/create?name=cut")
            .json(&body)
    };
    for step in ["volume:made", "create:volumes"] {
        mortal.dies_in(step, create());
        assert_eq!(names(daemon, &[]), Vec::<String>::new(), "{step}");
    }
    mortal.dies_in("create:record", create());
    assert_eq!(names(daemon, &["dangling=false"]).len(), 2);
    mortal.dies("remove:volumes", "DELETE", "/containers/cut?v=1");
    assert_eq!(names(daemon, &[]), Vec::<String>::new());
    daemon.docker(["rm", "-v", "cut"]).ok();
}
