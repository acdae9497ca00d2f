//! Files are copied into a container that is being started, or started while they are: the upper
//! directory of its root file system is never mounted twice to be written to.

use std::time::Duration;

use super::runtimes::Broken;
use testkit::{Flavour, PATIENCE, flavour, shared, unique};

use super::*;

/// Long enough for what would not wait.
const BRIEFLY: Duration = Duration::from_secs(1);

fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, name, content).expect("a Vec");
    tar.into_inner().expect("a Vec")
}

#[test]
fn what_is_copied_into_a_container_that_starts_waits_for_it() {
    if flavour() == Flavour::Dockerd {
        return; // It waits for the start with a lock; its runtimes are named otherwise.
    }
    let broken = Broken::start();
    let daemon = &broken.daemon;
    let before = with_another(daemon);
    broken.create("slow");
    broken.order("hold create");
    let start = daemon.cli(["start", "slow"]).spawn();
    broken.has_struck();
    let mut copy = daemon.cli(["cp", "-", "slow:/"]).spawn();
    copy.write(archive("file", b"copied"));
    copy.close_stdin();
    // What only reads is not held up.
    daemon.docker(["diff", "slow"]).ok();
    others_go_on(daemon, "slow");
    std::thread::sleep(BRIEFLY);
    assert!(copy.running(), "it did not wait: {}", copy.wait());
    broken.repair();
    start.finish(PATIENCE).ok();
    copy.finish(PATIENCE).ok();
    let cat = ["exec", "slow", "cat", "/file"];
    daemon.docker(cat).ok().out_is("copied");
    daemon.docker(["rm", "-f", "slow", "other"]).ok();
    before.settle(daemon, PATIENCE);
}

#[test]
fn a_start_waits_for_what_is_being_copied_into_the_container() {
    let name = unique("copied");
    let create = ["create", "--name", &name, "busybox", "sleep", "1000"];
    shared().docker(create).ok();
    let place = format!("{name}:/");
    let mut copy = shared().cli(["cp", "-", &place]).spawn();
    // All of the first file and the header of the second; the end of the archive is still to come.
    let first = archive("first", &[b'x'; 512]);
    copy.write(&first[..1024]);
    let second = archive("second", b"copied");
    copy.write(&second[..512]);
    let stat = format!("/containers/{name}/archive?path=/first");
    if !shared().is_old_dockerd() {
        testkit::eventually("the first file is there", PATIENCE, || {
            (shared().request("HEAD", &stat).send().status == 200).then_some(())
        });
    }
    let mut start = shared().cli(["start", &name]).spawn();
    std::thread::sleep(BRIEFLY);
    assert!(start.running(), "it did not wait: {}", start.wait());
    copy.write(&second[512..]);
    copy.close_stdin();
    copy.finish(PATIENCE).ok();
    start.finish(PATIENCE).ok();
    let cat = ["exec", &name, "cat", "/second"];
    shared().docker(cat).ok().out_is("copied");
    shared().remove(&[&name]);
}
