//! A runtime's arguments reach it byte for byte: `daemon.json` → script → `sh` → argv. The same
//! as `arguments_survive_the_shell` in `cargo test`, for longer.

#![no_main]

use std::process::Command;

use arbitrary::Arbitrary;
use berth_config::{Facts, Sources};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Given {
    configured: Vec<String>,
    added: Vec<String>,
}

fuzz_target!(|given: Given| {
    let Given { configured, added } = given;
    let mut all = vec!["%s\\0".to_owned()];
    all.extend(configured);
    let file = serde_json::json!({
        "runtimes": {"x": {"path": "/usr/bin/printf", "runtimeArgs": all}},
    });
    let Ok(live) = Sources::default().load_text(&file.to_string(), Facts::default()) else {
        assert!(all.iter().any(|arg| arg.contains('\0')), "refused without a reason");
        return;
    };
    let Some(wrapper) = live.runtimes.get("x").ok().and_then(|runtime| runtime.wrapper.clone()) else {
        panic!("arguments make a script");
    };
    if added.iter().any(|arg| arg.contains('\0')) {
        return;
    }
    all.extend(added.iter().cloned());
    let ran = Command::new("/bin/sh").args(["-c", &wrapper.script, "x"]).args(&added).output();
    let wanted: Vec<u8> = all[1..].iter().flat_map(|arg| [arg.as_bytes(), b"\0"].concat()).collect();
    // `printf` prints its format once where there is nothing to print.
    if !wanted.is_empty() {
        assert_eq!(ran.expect("sh runs").stdout, wanted);
    }
});
