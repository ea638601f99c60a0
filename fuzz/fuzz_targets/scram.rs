//! Verifiers of passwords.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(verifier) = auth::scram::Verifier::parse(text)
    {
        assert!(auth::scram::Verifier::parse(&verifier.to_string()).is_some(), "what is written can be read");
    }
});
