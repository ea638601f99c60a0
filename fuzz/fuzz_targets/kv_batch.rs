//! Requests to replicas, and rows as they travel.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _refused = replica::api::decode::<replica::api::BatchRequest>(data);
    let _refused = replica::api::decode::<replica::api::BatchResponse>(data);
    let _refused = postcard::from_bytes::<storage::KvRows>(data);
});
