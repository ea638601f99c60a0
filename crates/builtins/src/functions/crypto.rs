//! Hashes, and what the extensions `uuid-ossp` and `pgcrypto` add to them: all of the first, and of the second what
//! makes hashes and random bytes. These functions are always there; CREATE EXTENSION finds its work done.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::{bytes, int, text};
use crate::signature::{ArgType, Builtin, RetType};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const BYTEA: ArgType = ArgType::T(SqlType::Bytea);
const I4: ArgType = ArgType::T(SqlType::Int4);
const UUID: ArgType = ArgType::T(SqlType::Uuid);
const R_BYTEA: RetType = RetType::T(SqlType::Bytea);
const R_UUID: RetType = RetType::T(SqlType::Uuid);

fn no_algorithm(name: &str) -> SqlError {
    let message = format!("Cannot use \"{name}\": No such hash algorithm");
    SqlError::new(SqlState::InvalidParameterValue, message)
}

fn raw(datum: &Datum) -> &[u8] {
    match datum {
        Datum::Bytes(bytes) => bytes,
        other => text(other).as_bytes(),
    }
}

fn digest(a: &[Datum]) -> SqlResult<Datum> {
    let data = raw(&a[0]);
    Ok(Datum::bytes(match text(&a[1]).to_ascii_lowercase().as_str() {
        "md5" => Md5::digest(data).to_vec(),
        "sha1" => Sha1::digest(data).to_vec(),
        "sha224" => Sha224::digest(data).to_vec(),
        "sha256" => Sha256::digest(data).to_vec(),
        "sha384" => Sha384::digest(data).to_vec(),
        "sha512" => Sha512::digest(data).to_vec(),
        _ => return Err(no_algorithm(text(&a[1]))),
    }))
}

fn hmac(a: &[Datum]) -> SqlResult<Datum> {
    macro_rules! code {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(raw(&a[1])).expect("HMAC takes a key of any length");
            mac.update(raw(&a[0]));
            mac.finalize().into_bytes().to_vec()
        }};
    }
    Ok(Datum::bytes(match text(&a[2]).to_ascii_lowercase().as_str() {
        "md5" => code!(Md5),
        "sha1" => code!(Sha1),
        "sha224" => code!(Sha224),
        "sha256" => code!(Sha256),
        "sha384" => code!(Sha384),
        "sha512" => code!(Sha512),
        _ => return Err(no_algorithm(text(&a[2]))),
    }))
}

fn random_bytes(context: &EvalContext<'_>, count: i64) -> SqlResult<Datum> {
    let count = usize::try_from(count).ok().filter(|count| (1..=1024).contains(count));
    let count = count.ok_or_else(|| SqlError::new(SqlState::ExternalRoutineInvocationException, "Length not in range"))?;
    let mut out = Vec::with_capacity(count + 8);
    while out.len() < count {
        out.extend_from_slice(&context.host.random_bits().to_be_bytes());
    }
    out.truncate(count);
    Ok(Datum::bytes(out))
}

/// The namespaces of RFC 9562, appendix C, by the last digit of their first group.
const fn namespace(digit: u8) -> Datum {
    let mut bytes = 0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8_u128.to_be_bytes();
    bytes[3] = 0x10 + digit;
    Datum::Uuid(bytes)
}

/// Versions 3 and 5: a hash of namespace and name.
fn named(version: u8, hash: &[u8]) -> Datum {
    let mut bytes: [u8; 16] = hash[..16].try_into().expect("a hash of at least sixteen bytes");
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Datum::Uuid(bytes)
}

fn namespace_bytes(datum: &Datum) -> &[u8] {
    match datum {
        Datum::Uuid(bytes) => bytes,
        other => panic!("datum-matches-type: a uuid expected, {other:?} given"),
    }
}

/// Version 1: ticks of 100 ns since 1582-10-15, a clock sequence and a node, both random; the node has the bit that says
/// that it is no hardware address.
fn timed(context: &EvalContext<'_>) -> Datum {
    const UNTIL_2000: i64 = 0x01b2_1dd2_1381_4000 + 946_684_800 * 10_000_000;
    let random = context.host.random_bits();
    let ticks = (UNTIL_2000 + context.host.clock_timestamp() * 10 + (random >> 61) as i64) as u64;
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(ticks as u32).to_be_bytes());
    bytes[4..6].copy_from_slice(&((ticks >> 32) as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&((ticks >> 48) as u16 & 0x0fff | 0x1000).to_be_bytes());
    bytes[8..].copy_from_slice(&random.to_be_bytes());
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes[10] |= 1;
    Datum::Uuid(bytes)
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("sha224", 3419, &[BYTEA], R_BYTEA, |_, _, a| Ok(Datum::bytes(Sha224::digest(bytes(&a[0])).to_vec()))),
    Builtin::pure("sha256", 3420, &[BYTEA], R_BYTEA, |_, _, a| Ok(Datum::bytes(Sha256::digest(bytes(&a[0])).to_vec()))),
    Builtin::pure("sha384", 3421, &[BYTEA], R_BYTEA, |_, _, a| Ok(Datum::bytes(Sha384::digest(bytes(&a[0])).to_vec()))),
    Builtin::pure("sha512", 3422, &[BYTEA], R_BYTEA, |_, _, a| Ok(Datum::bytes(Sha512::digest(bytes(&a[0])).to_vec()))),
    Builtin::pure("digest", 27_001, &[TEXT, TEXT], R_BYTEA, |_, _, a| digest(a)),
    Builtin::pure("digest", 27_002, &[BYTEA, TEXT], R_BYTEA, |_, _, a| digest(a)),
    Builtin::pure("hmac", 27_003, &[TEXT, TEXT, TEXT], R_BYTEA, |_, _, a| hmac(a)),
    Builtin::pure("hmac", 27_004, &[BYTEA, BYTEA, TEXT], R_BYTEA, |_, _, a| hmac(a)),
    Builtin::pure("gen_random_bytes", 27_005, &[I4], R_BYTEA, |c, _, a| random_bytes(c, int(&a[0]))).volatile(),
    Builtin::pure("uuid_nil", 27_010, &[], R_UUID, |_, _, _| Ok(Datum::Uuid([0; 16]))),
    Builtin::pure("uuid_ns_dns", 27_011, &[], R_UUID, |_, _, _| Ok(namespace(0))),
    Builtin::pure("uuid_ns_url", 27_012, &[], R_UUID, |_, _, _| Ok(namespace(1))),
    Builtin::pure("uuid_ns_oid", 27_013, &[], R_UUID, |_, _, _| Ok(namespace(2))),
    Builtin::pure("uuid_ns_x500", 27_014, &[], R_UUID, |_, _, _| Ok(namespace(4))),
    Builtin::pure("uuid_generate_v1", 27_015, &[], R_UUID, |c, _, _| Ok(timed(c))).volatile(),
    Builtin::pure("uuid_generate_v1mc", 27_016, &[], R_UUID, |c, _, _| Ok(timed(c))).volatile(),
    Builtin::pure("uuid_generate_v3", 27_017, &[UUID, TEXT], R_UUID, |_, _, a| {
        let hash = Md5::new_with_prefix(namespace_bytes(&a[0])).chain_update(text(&a[1])).finalize();
        Ok(named(3, &hash))
    }),
    Builtin::pure("uuid_generate_v4", 27_018, &[], R_UUID, |c, _, _| Ok(super::system::random_uuid(c))).volatile(),
    Builtin::pure("uuid_generate_v5", 27_019, &[UUID, TEXT], R_UUID, |_, _, a| {
        let hash = Sha1::new_with_prefix(namespace_bytes(&a[0])).chain_update(text(&a[1])).finalize();
        Ok(named(5, &hash))
    }),
];
