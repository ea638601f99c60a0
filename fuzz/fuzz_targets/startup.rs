//! Startup packets.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    pgserver::fuzzing::startup(data);
});
