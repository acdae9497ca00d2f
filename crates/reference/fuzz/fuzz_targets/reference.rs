//! Whatever a client calls an image: a name of distribution's grammar or an error, never a panic.
//! The same as `anything_parses_or_fails_cleanly` in `cargo test`, for longer, and beside the
//! grammar as <https://pkg.go.dev/github.com/distribution/reference> writes it down.

#![no_main]

use std::sync::LazyLock;

use berth_reference::{DEFAULT_DOMAIN, Digest, Reference};
use libfuzzer_sys::fuzz_target;
use regex::Regex;

static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
    let host = format!(r"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?");
    let component = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    let tag = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
    let algorithm = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*";
    let digest = format!("{algorithm}:[0-9a-fA-F]{{32,}}");
    let whole = format!("^{host}/{component}(?:/{component})*(?::{tag})?(?:@{digest})?$");
    Regex::new(&whole).expect("a grammar")
});

fuzz_target!(|text: &str| {
    let _ = Digest::parse(text);
    let Ok(reference) = Reference::parse(text) else {
        return;
    };
    let whole = reference.to_string();
    assert!(GRAMMAR.is_match(&whole), "{whole} is no name");
    assert_eq!(Reference::parse(&whole).as_ref(), Ok(&reference), "{whole}");
    // Whose first folder on Docker Hub is called like a host is shown, as by distribution, under
    // what is another's name.
    let (first, _) = reference.path().split_once('/').unwrap_or_default();
    let hub = reference.domain() == DEFAULT_DOMAIN;
    if !(hub && (first.contains('.') || first == "localhost")) {
        let shown = reference.familiar();
        assert_eq!(Reference::parse(&shown).as_ref(), Ok(&reference), "{shown}");
    }
});
