//! The same asked of berthd and of Debian's dockerd, side by side on one machine: what is told must
//! be the same.

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::{Daemon, Flavour, Options};

/// How often both are asked. The median is compared: the machine has other things to do.
const ROUNDS: usize = 7;
/// How often they are compared until they agree.
const SERIES: usize = 3;
/// By how much the medians may differ, as a part of the quota: both are measured while others run.
const TOLERANCE: f64 = 0.2;
/// What the container may use of one processor: little enough to get it also on a busy machine.
const QUOTA: f64 = 0.25;

/// Ours and dockerd; `None`, with the reason on standard error, where this Debian has another one
/// than these tests compare with.
fn both() -> Option<[Daemon; 2]> {
    if let Some(version) = testkit::unknown_dockerd() {
        eprintln!("skipped: this compares with dockerd 20.10, and here is {version}");
        return None;
    }
    Some([Flavour::Berthd, Flavour::Dockerd].map(|flavour| {
        Daemon::start(Options {
            flavour: Some(flavour),
            ..Options::default()
        })
    }))
}

/// A container that uses all that it may have.
fn run_busy(daemon: &Daemon) {
    let quota = QUOTA.to_string();
    let script = "while :; do :; done";
    daemon.run_d(
        "busy",
        ["--cpus", &quota, "-m", "64m", "busybox", "sh", "-c", script],
    );
}

/// `docker stats`' percentage of a processor.
fn percentage(output: &testkit::Output) -> f64 {
    let text = output.out().trim().trim_end_matches('%');
    text.parse().unwrap_or_else(|_| panic!("{output}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The medians of what both tell of their busy containers, and all of it.
fn medians(daemons: &[Daemon; 2]) -> ([f64; 2], [Vec<f64>; 2]) {
    let mut told = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        // Both over the same second.
        let asked = daemons.each_ref().map(|daemon| {
            let args = ["stats", "--no-stream", "--format", "{{.CPUPerc}}", "busy"];
            daemon.cli(args).spawn()
        });
        for (told, running) in told.iter_mut().zip(asked) {
            told.push(percentage(&running.finish(testkit::PATIENCE).ok()));
        }
    }
    (told.clone().map(median), told)
}

#[test]
fn a_busy_container_has_the_same_share_of_the_processors() {
    let Some(daemons) = both() else { return };
    daemons.iter().for_each(run_busy);
    // On a machine that is busy otherwise one of the two may really have had less.
    let agree = (0..SERIES).any(|_| {
        let ([ours, theirs], told) = medians(&daemons);
        eprintln!("CPU %: berthd {ours}, dockerd {theirs} of {told:?}");
        assert!(theirs > 0.0, "dockerd saw no work: {told:?}");
        (ours - theirs).abs() <= TOLERANCE * QUOTA * 100.0
    });
    assert!(agree, "not in one of {SERIES} series");
}

/// Every path to a value: `cpu_stats.cpu_usage.total_usage`.
fn fields(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                fields(value, &format!("{path}.{name}"), into);
            }
        }
        Value::Array(items) => {
            for item in items {
                fields(item, &format!("{path}[]"), into);
            }
        }
        _ => drop(into.insert(path.to_owned())),
    }
}

/// What `of` has and `other` has not. A list that is empty tells nothing of what would be in it: one
/// of the two containers may just have read nothing from a disk.
fn lacking<'a>(of: &'a BTreeSet<String>, other: &'a BTreeSet<String>) -> Vec<&'a String> {
    let is_told = |name: &&String| {
        name.find("[]").is_none_or(|at| {
            let list = &name[..at + 2];
            other.iter().any(|name| name.starts_with(list))
        })
    };
    of.difference(other).filter(is_told).collect()
}

#[test]
fn statistics_have_the_same_fields() {
    let Some(daemons) = both() else { return };
    daemons.iter().for_each(run_busy);
    for query in ["stream=0", "stream=0&one-shot=1"] {
        let [ours, theirs] = daemons.each_ref().map(|daemon| {
            let target = format!("/v1.41/containers/busy/stats?{query}");
            let stats = daemon.api("GET", &target, None).is(200).json();
            let mut found = BTreeSet::new();
            fields(&stats, "", &mut found);
            found
        });
        let missing = lacking(&theirs, &ours);
        assert!(missing.is_empty(), "{query}: dockerd has also {missing:?}");
        // Since 20.10 there came which system it is.
        let mut more = lacking(&ours, &theirs);
        more.retain(|name| *name != ".os_type");
        assert!(more.is_empty(), "{query}: berthd has also {more:?}");
    }
}

#[test]
fn images_go_from_one_to_the_other() {
    let Some(daemons) = both() else { return };
    let [ours, theirs] = &daemons;
    for (from, to, name) in [(ours, theirs, "ours:1"), (theirs, ours, "theirs:1")] {
        let change = ["run", "--name", "changed", "busybox", "sh", "-c"];
        let script =
            "echo it went > /new; ln -s new /link; rm /etc/hostname /bin/vi; chmod 4711 /tmp";
        from.cli(change).args([script]).run().ok();
        let commit = ["commit", "-c", "ENV way=there", "changed", name];
        from.docker(commit).ok();
        let archive = from.sandbox().state().join("went.tar");
        let archive = archive.to_str().expect("a path of ours");
        from.docker(["save", "-o", archive, name]).ok();
        to.docker(["load", "-i", archive]).ok();
        for of in ["{{json .RootFS.Layers}}", "{{json .Config.Env}}"] {
            let [was, is] = [from, to].map(|daemon| {
                let inspect = daemon.docker(["image", "inspect", "-f", of, name]).ok();
                inspect.out().to_owned()
            });
            assert_eq!(was, is, "{name}");
        }
        let look = "cat /link; echo $way; stat -c %a /tmp; ls /bin/vi 2>/dev/null || echo gone";
        let run = ["run", "--rm", name, "sh", "-c", look];
        to.docker(run).ok().out_is("it went\nthere\n4711\ngone");
    }
}
