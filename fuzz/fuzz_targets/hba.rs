//! Rules of who may connect.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(rules) = auth::hba::Rules::parse(text)
    {
        std::hint::black_box(rules);
    }
});
