//! Images on their way in and out.

use testkit::{Compression, Image, PATIENCE, Request, Stored, rootfs_tar};

use super::*;

/// A layer with nothing in it.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// A daemon without any image, so that each layer is unpacked anew.
fn empty() -> Option<Mortal> {
    let mortal = mortal()?;
    mortal.daemon.docker(["rmi", "busybox"]).ok();
    Some(mortal)
}

/// `docker import` of one layer; the ID.
#[track_caller]
fn import(daemon: &Daemon, args: &[&str], layer: &[u8]) -> String {
    let import = daemon.cli(["import"]).args(args).stdin(layer);
    import.run().ok().out().to_owned()
}

/// Each of `steps` as often as `times` says.
fn occurrences(steps: Vec<String>, times: impl Fn(&str) -> usize) -> Vec<String> {
    let each = steps
        .iter()
        .flat_map(|step| (0..times(step)).map(move |passed| format!("{step} {passed}")));
    each.collect()
}

/// Has the daemon die at each of `steps` of what `request` asks for, which makes the image `cut:1`
/// where another one was. It is there or not, can be made again, and nothing else is left.
#[track_caller]
fn whole_or_nothing(mortal: &Mortal, steps: &[String], request: impl Fn() -> Request) {
    let daemon = &mortal.daemon;
    let before = Stored::count(daemon);
    for step in steps {
        eprintln!("-- {step}");
        let old = import(daemon, &["-", "cut:1"], &EMPTY_TAR);
        if step.starts_with("lease:ended") {
            // The import's ends behind its answer.
            mortal.renew();
        }
        mortal.dies_in(step, request());
        let id = daemon.format("cut:1", "{{.Id}}");
        if id != old {
            daemon.docker(["run", "--rm", "cut:1", "/bin/true"]).ok();
        }
        request().send().is(200);
        assert_ne!(daemon.format("cut:1", "{{.Id}}"), old);
        daemon.docker(["run", "--rm", "cut:1", "/bin/true"]).ok();
        // By their IDs: each has one name at most.
        daemon.docker(["rmi", &old]).ok();
        daemon.docker(["rmi", "cut:1"]).ok();
        daemon.docker(["image", "prune", "-f"]).ok();
        before.settle(daemon, PATIENCE);
    }
}

#[test]
fn a_load_cut_off_at_any_step_is_whole_or_nothing() {
    let Some(mortal) = empty() else {
        return;
    };
    let image = Image::busybox("cut:1").layer(&[("etc/name", 0o644, "whole")]);
    let archive = image.docker_archive(Compression::None);
    let steps = [
        mortal.points_of("lease"),
        mortal.points_of("blob"),
        mortal.points_of("load"),
        mortal.points_of("document"),
        mortal.points_of("unpack"),
        mortal.points_of("name"),
    ];
    let steps = occurrences(steps.concat(), |step| match step {
        "blob:stored" => 3,
        "name:cleared" => 0,
        _ if step.starts_with("unpack:") => 2,
        _ => 1,
    });
    whole_or_nothing(&mortal, &steps, || {
        let load = mortal.daemon.request("POST", "/images/load?quiet=1");
        load.header("Content-Type", "application/x-tar")
            .body(archive.clone())
    });
}

#[test]
fn an_import_cut_off_at_any_step_is_whole_or_nothing() {
    let Some(mortal) = empty() else {
        return;
    };
    let steps = [
        mortal.points_of("lease"),
        mortal.points_of("blob"),
        mortal.points_of("document"),
        mortal.points_of("unpack"),
        mortal.points_of("name"),
    ];
    let steps = occurrences(steps.concat(), |step| match step {
        "document:stored" => 2,
        "name:cleared" => 0,
        _ => 1,
    });
    whole_or_nothing(&mortal, &steps, || {
        let target = "/images/create?fromSrc=-&repo=cut&tag=1";
        let import = mortal.daemon.request("POST", target);
        import.body(rootfs_tar().to_vec())
    });
}

#[test]
fn a_tag_cut_off_at_any_step_is_there_or_not() {
    let Some(mortal) = empty() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Stored::count(daemon);
    for step in mortal.points_of("name") {
        for again in [true, false] {
            eprintln!("-- {step}, tagged again: {again}");
            let old = import(daemon, &["-", "cut:1"], &EMPTY_TAR);
            let new = import(daemon, &["-"], &rootfs_tar());
            let target = format!("/images/{new}/tag?repo=cut&tag=1");
            mortal.dies(&step, "POST", &target);
            let id = daemon.format("cut:1", "{{.Id}}");
            let named = if step == "name:kept" { &old } else { &new };
            assert_eq!(id, *named);
            if again {
                daemon.docker(["tag", &new, "cut:1"]).ok();
                assert_eq!(daemon.format("cut:1", "{{.Id}}"), new);
                daemon.docker(["rmi", "cut:1"]).ok();
            } else {
                daemon.docker(["rmi", &new]).ok();
            }
            // Each has one name at most, so nothing has to be forced.
            daemon.docker(["rmi", &old]).ok();
            before.settle(daemon, PATIENCE);
        }
    }
}

#[test]
fn a_removal_cut_off_at_any_step_can_be_done_again() {
    let Some(mortal) = empty() else {
        return;
    };
    let daemon = &mortal.daemon;
    let before = Stored::count(daemon);
    let steps = occurrences(mortal.points_of("rmi"), |step| match step {
        "rmi:record" => 2,
        _ => 1,
    });
    let used = ["create", "--name", "user", "cut:1", "/bin/true"];
    for step in steps {
        eprintln!("-- {step}");
        let id = import(daemon, &["-", "cut:1"], &rootfs_tar());
        match step.split([':', ' ']).nth(1) {
            Some("kept") => {
                daemon.docker(used).ok();
                mortal.dies(&step, "DELETE", "/images/cut:1?force=1");
                daemon.docker(["rmi", "-f", "cut:1"]).ok();
                daemon.docker(["start", "-a", "user"]).ok();
                daemon.docker(["rm", "user"]).ok();
                daemon.docker(["rmi", &id]).ok();
            }
            Some("manifest") => {
                let platform = "{%22os%22:%22linux%22,%22architecture%22:%22amd64%22}";
                let target = format!("/images/cut:1?force=1&platforms={platform}");
                mortal.dies(&step, "DELETE", &target);
                daemon.docker(["images"]).ok();
                daemon.docker(["rmi", "cut:1"]).ok();
            }
            _ => {
                daemon.docker(["tag", "cut:1", "cut:2"]).ok();
                mortal.dies(&step, "DELETE", &format!("/images/{id}?force=1"));
                let left = daemon.docker(["images", "-q", "--no-trunc"]).ok();
                if step.ends_with('0') {
                    assert_eq!(left.out(), id);
                    daemon.docker(["rmi", &id]).ok();
                } else {
                    assert_eq!(left.out(), "");
                }
            }
        }
        before.settle(daemon, PATIENCE);
    }
}
