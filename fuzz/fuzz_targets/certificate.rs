//! Certificates of peers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _refused = certs::names(data);
    certs::common_name(data);
    certs::subject(data);
});
