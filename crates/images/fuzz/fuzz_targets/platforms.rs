//! Whatever a client calls a platform: one that is understood again as it is shown, or an error,
//! never a panic.

#![no_main]

use berth_images::fuzzing::platform;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(shown) = platform(text) {
        assert_eq!(platform(&shown).expect("what we show ourselves"), shown);
    }
});
