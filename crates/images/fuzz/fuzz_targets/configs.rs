//! Whatever a registry calls an image's configuration: one or an error, never a panic; and written
//! again it is the same one.

#![no_main]

use berth_images::fuzzing::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(written) = config(data) {
        assert_eq!(config(&written).expect("its own JSON"), written);
    }
});
