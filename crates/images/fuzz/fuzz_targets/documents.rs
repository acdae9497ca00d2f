//! Whatever a registry calls a manifest or an index: one or an error, never a panic; and written
//! again it is the same one.

#![no_main]

use berth_images::fuzzing::document;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((written, blobs)) = document(data) {
        let again = document(&written).expect("its own JSON");
        assert_eq!(again, (written, blobs));
    }
});
