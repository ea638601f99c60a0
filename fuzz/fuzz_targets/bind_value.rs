//! Values of parameters, in both formats.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    pgserver::fuzzing::value(data);
});
