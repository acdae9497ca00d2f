//! Whatever a registry puts into its headers and refusals: never a panic, and nothing that it did not
//! say.

#![no_main]

use berth_registry::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (scheme, parameters) = fuzzing::challenge(text);
    assert!(!scheme.contains(' '), "{scheme:?}");
    let said: usize = parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
    // Some characters are longer in lower case.
    assert!(said <= 2 * text.len(), "{parameters:?}");
    let _ = fuzzing::retry_after(text);
    if let Some(first) = fuzzing::content_range(text) {
        assert!(text.contains(first.to_string().as_str()));
    }
    if let Some(query) = fuzzing::next_page(text) {
        assert!(text.contains(&query));
    }
    let _ = fuzzing::refused(text.as_bytes());
});
