//! Data of COPY, in every format.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    session::fuzzing::copy(data);
});
