//! Descriptors of the catalog.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _refused = postcard::from_bytes::<catalog::Descriptor>(data);
});
