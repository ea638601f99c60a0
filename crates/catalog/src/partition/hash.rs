//! The hashes that rows of hash-partitioned tables are routed by.
//!
//! They are PostgreSQL's, so that a row is in the same partition there and here: dumps of single partitions load. Source:
//! Bob Jenkins' `lookup3`, and the documentation of `satisfies_hash_partition`. A type of which PostgreSQL's hash is not known
//! here is hashed by its key bytes.

use types::{Datum, Direction, NullsOrder, SqlType, encode_key};

/// What PostgreSQL starts with, so that partitions are not filled as hash tables are.
const SEED: u64 = 0x7a5b_2236_7996_dcfd;

struct State(u32, u32, u32);

impl State {
    fn new(length: u32) -> Self {
        let start = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
        let mut state = Self(start, start, start);
        state.0 = state.0.wrapping_add((SEED >> 32) as u32);
        state.1 = state.1.wrapping_add(SEED as u32);
        state.mix();
        state
    }

    fn mix(&mut self) {
        let Self(a, b, c) = self;
        for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
            *a = a.wrapping_sub(*c) ^ c.rotate_left(first);
            *c = c.wrapping_add(*b);
            *b = b.wrapping_sub(*a) ^ a.rotate_left(second);
            *a = a.wrapping_add(*c);
            *c = c.wrapping_sub(*b) ^ b.rotate_left(third);
            *b = b.wrapping_add(*a);
        }
    }

    fn finish(self) -> u64 {
        let Self(mut a, mut b, mut c) = self;
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        c = (c ^ b).wrapping_sub(b.rotate_left(24));
        u64::from(b) << 32 | u64::from(c)
    }
}

fn hash_u32(value: u32) -> u64 {
    let mut state = State::new(4);
    state.0 = state.0.wrapping_add(value);
    state.finish()
}

fn hash_i64(value: i64) -> u64 {
    let (low, high) = (value as u32, (value >> 32) as u32);
    hash_u32(low ^ if value >= 0 { high } else { !high })
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut state = State::new(bytes.len() as u32);
    let mut rest = bytes;
    while let Some((block, others)) = rest.split_at_checked(12) {
        state.0 = state.0.wrapping_add(word(&block[..4]));
        state.1 = state.1.wrapping_add(word(&block[4..8]));
        state.2 = state.2.wrapping_add(word(&block[8..]));
        state.mix();
        rest = others;
    }
    let part = |from: usize, to: usize| word(&rest[from.min(rest.len())..to.min(rest.len())]);
    state.0 = state.0.wrapping_add(part(0, 4));
    state.1 = state.1.wrapping_add(part(4, 8));
    // The lowest byte of the last word is the length's.
    state.2 = state.2.wrapping_add(part(8, 11) << 8);
    state.finish()
}

fn hash_float(value: f64) -> u64 {
    match value {
        0.0 => SEED,
        value if value.is_nan() => hash_bytes(&f64::NAN.to_bits().to_le_bytes()),
        value => hash_bytes(&value.to_le_bytes()),
    }
}

/// By its digits to the base of ten thousand, without zeros at either end, and where they begin.
fn hash_numeric(text: &str) -> u64 {
    let text = text.trim_start_matches('-');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        // NaN and the infinities.
        return SEED;
    }
    let padded = format!("{whole:0>width$}", width = whole.len().next_multiple_of(4));
    let behind = format!("{fraction:0<width$}", width = fraction.len().next_multiple_of(4));
    let mut weight = padded.len() as i64 / 4 - 1;
    let all = [padded, behind].concat();
    let digits: Vec<i16> =
        all.as_bytes().chunks(4).map(|four| four.iter().fold(0, |digit, c| digit * 10 + i16::from(c - b'0'))).collect();
    let Some(first) = digits.iter().position(|digit| *digit != 0) else { return SEED.wrapping_sub(1) };
    weight -= first as i64;
    let last = digits.iter().rposition(|digit| *digit != 0).unwrap_or(first);
    let bytes: Vec<u8> = digits[first..=last].iter().flat_map(|digit| digit.to_le_bytes()).collect();
    hash_bytes(&bytes) ^ weight as u64
}

fn hash_datum(ty: &SqlType, datum: &Datum) -> u64 {
    match datum {
        Datum::Bool(value) => hash_u32((*value).into()),
        Datum::Int(value) => match ty {
            SqlType::Int8 | SqlType::Money => hash_i64(*value),
            // The number itself, as there.
            SqlType::PgLsn | SqlType::Xid8 => hash_i64(datum.as_unsigned().unwrap_or_default().cast_signed()),
            _ => hash_u32(*value as u32),
        },
        Datum::Float(value) => hash_float(*value),
        Datum::Numeric(value) => hash_numeric(&value.to_string()),
        Datum::Text(text) => match ty {
            SqlType::Char(_) => hash_bytes(text.trim_end_matches(' ').as_bytes()),
            SqlType::QuotedChar => hash_u32(text.bytes().next().map_or(0, |byte| byte as i8 as u32)),
            _ => hash_bytes(text.as_bytes()),
        },
        Datum::Bytes(bytes) => hash_bytes(bytes),
        Datum::Date(days) => hash_u32(*days as u32),
        Datum::Time(micros) | Datum::Timestamp(micros) | Datum::TimestampTz(micros) => hash_i64(*micros),
        Datum::Uuid(bytes) => hash_bytes(bytes),
        other => {
            let mut key = Vec::new();
            encode_key(&mut key, ty, other, Direction::Asc, NullsOrder::Last);
            hash_bytes(&key)
        }
    }
}

/// The hash of a key; NULLs count for nothing.
pub(super) fn hash_key<'a>(values: impl Iterator<Item = (&'a SqlType, &'a Datum)>) -> u64 {
    values.filter(|(_, datum)| !datum.is_null()).fold(0, |hash: u64, (ty, datum)| {
        hash ^ hash_datum(ty, datum)
            .wrapping_add(0x49a0_f4dd_15e5_a8e3)
            .wrapping_add(hash << 54)
            .wrapping_add(hash >> 7)
    })
}
