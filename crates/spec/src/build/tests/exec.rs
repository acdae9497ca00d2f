//! Further processes.

use super::*;
use crate::exec::{Exec, exec_process};

/// The container of all these tests: a user of its own, a variable, a directory, no terminal.
fn case() -> Case {
    let mut case = Case::host(|host| {
        host.cap_drop = strings(&["MKNOD"]);
        host.oom_score_adj = 7;
    });
    case.config.working_dir = "/srv".to_owned();
    case.user.uid = 1000;
    case
}

fn process(case: &Case, exec: &Exec<'_>) -> Value {
    let process = exec_process(&case.inputs(&case.host), exec).unwrap();
    serde_json::from_slice(&encode_process(&process).unwrap()).unwrap()
}

fn exec(args: &[String]) -> Exec<'_> {
    Exec {
        args,
        env: &[],
        working_dir: "",
        user: None,
        tty: false,
        console_size: None,
        privileged: false,
    }
}

#[test]
fn an_exec_is_as_its_container() {
    let case = case();
    let args = strings(&["ls", "-l"]);
    let mut wanted = case.json()["process"].clone();
    wanted["args"] = serde_json::json!(args);
    assert_eq!(process(&case, &exec(&args)), wanted);
    assert_eq!(
        (&wanted["cwd"], &wanted["oomScoreAdj"]),
        (&"/srv".into(), &7.into())
    );
}

#[test]
fn an_exec_has_its_own_say() {
    let args = strings(&["sh"]);
    let env = strings(&["LANG=de", "A=1", "HOSTNAME"]);
    let user = User {
        uid: 5,
        gid: 6,
        additional_gids: vec![6],
        home: "/".to_owned(),
    };
    let changed = process(
        &case(),
        &Exec {
            env: &env,
            working_dir: "/tmp",
            user: Some(&user),
            tty: true,
            console_size: Some([24, 80]),
            ..exec(&args)
        },
    );
    assert_eq!(
        (&changed["terminal"], &changed["cwd"]),
        (&true.into(), &"/tmp".into())
    );
    assert_eq!(
        changed["consoleSize"],
        serde_json::json!({ "height": 24, "width": 80 })
    );
    assert_eq!(
        (&changed["user"]["uid"], &changed["user"]["gid"]),
        (&5.into(), &6.into())
    );
    let env: Vec<_> = changed["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(env.contains(&"LANG=de") && env.contains(&"A=1") && env.contains(&"TERM=xterm"));
    assert!(!env.iter().any(|variable| variable.starts_with("HOSTNAME")));
}

#[test]
fn a_privileged_exec_has_every_capability() {
    let args = strings(&["sh"]);
    let count = |privileged| {
        let process = process(
            &case(),
            &Exec {
                privileged,
                ..exec(&args)
            },
        );
        process["capabilities"]["effective"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count(false), count(true)), (13, 41));
}

#[test]
fn an_exec_needs_a_command() {
    let case = case();
    let error = exec_process(&case.inputs(&case.host), &exec(&[])).unwrap_err();
    assert_eq!(error.to_string(), "No exec command specified");
}
