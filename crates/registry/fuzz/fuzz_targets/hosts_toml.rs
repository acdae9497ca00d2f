//! Whatever a `hosts.toml` contains: addresses that requests can be made to, or an error, never a
//! panic. The same as `any_text_is_answered` in `cargo test`, for longer.

#![no_main]

use berth_registry::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(addresses) = fuzzing::hosts_toml(text) else {
        return;
    };
    for address in addresses {
        let http = address.starts_with("http://") || address.starts_with("https://");
        assert!(http && address.ends_with('/'), "{address}");
    }
});
