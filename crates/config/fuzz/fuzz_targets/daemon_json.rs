//! Whatever a configuration file contains: a configuration or an error, never a panic.
//! The same as `any_text_is_a_configuration_or_an_error` in `cargo test`, for longer.

#![no_main]

use berth_config::{Facts, Sources};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Sources::default().load_text(text, Facts::default()) {
        Ok(live) => {
            // What was understood is understood again.
            let again = serde_json::to_string(&live.user).expect("a configuration is JSON");
            let again: berth_config::Config = serde_json::from_str(&again).expect("its own JSON");
            assert_eq!(again, live.user);
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
});
