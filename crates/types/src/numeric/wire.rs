//! Numerics in PostgreSQL's binary format.
//!
//! ```text
//! int16 group count | int16 weight of the first group | uint16 sign | uint16 scale | groups: int16 0..=9999
//! ```
//! The first group stands for `group * 10000^weight`. Groups that are zero at either end are left out.

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use super::arithmetic::{checked, weight_and_group};
use super::{MAX_SCALE, Numeric, Repr, pow10};
use crate::error::{SqlError, SqlResult, SqlState};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEG_INFINITY: u16 = 0xf000;

impl Numeric {
    pub fn parse_binary(input: &[u8]) -> SqlResult<Self> {
        let invalid =
            |what: &str| SqlError::new(SqlState::InvalidBinaryRepresentation, format!("invalid {what} in external \"numeric\" value"));
        let field = |i: usize| input.get(2 * i..2 * i + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
        let (Some(count), Some(weight), Some(sign), Some(scale)) = (field(0), field(1), field(2), field(3)) else {
            return Err(SqlError::new(SqlState::InvalidBinaryRepresentation, "insufficient data left in message"));
        };
        let weight = i64::from(weight as i16);
        match sign {
            POSITIVE | NEGATIVE => {}
            NAN => return Ok(Self::NAN),
            INFINITY => return Ok(Self::INFINITY),
            NEG_INFINITY => return Ok(Self::NEG_INFINITY),
            _ => return Err(invalid("sign")),
        }
        if scale > MAX_SCALE {
            return Err(invalid("scale"));
        }
        if input.len() != 8 + 2 * usize::from(count) {
            return Err(invalid("length"));
        }
        let mut mantissa = BigInt::zero();
        let mut small: u64 = 0;
        for i in 0..usize::from(count) {
            let group = field(4 + i).expect("the length was checked");
            if group > 9999 {
                return Err(invalid("digit"));
            }
            if count <= 4 {
                small = small * 10_000 + u64::from(group);
            } else {
                mantissa = mantissa * 10_000 + group;
            }
        }
        if count <= 4 {
            mantissa = BigInt::from(small);
        }
        if sign == NEGATIVE {
            mantissa = -mantissa;
        }
        // The last group stands at 10000^(weight - count + 1).
        let held = -4 * (weight - i64::from(count) + 1);
        let scale = i64::from(scale);
        // Digits beyond the scale are cut off, as PostgreSQL does.
        let mantissa = if scale >= held { mantissa * pow10((scale - held) as u32) } else { mantissa / pow10((held - scale) as u32) };
        checked(mantissa, scale)
    }

    pub fn write_binary(&self, out: &mut Vec<u8>) {
        let mut header = |count: u16, weight: i16, sign: u16, scale: u16| {
            for field in [count, weight as u16, sign, scale] {
                out.extend_from_slice(&field.to_be_bytes());
            }
        };
        let (mantissa, scale) = match &self.0 {
            Repr::NaN => return header(0, 0, NAN, 0),
            Repr::Infinity => return header(0, 0, INFINITY, 0),
            Repr::NegInfinity => return header(0, 0, NEG_INFINITY, 0),
            _ => self.to_bigint_parts().expect("finite"),
        };
        if mantissa.is_zero() {
            return header(0, 0, POSITIVE, scale);
        }
        let sign = if mantissa.is_negative() { NEGATIVE } else { POSITIVE };
        let (weight, _) = weight_and_group(&mantissa, scale);
        // Whole groups after the point.
        let padding = (4 - scale % 4) % 4;
        let mut rest = mantissa.abs() * pow10(u32::from(padding));
        let mut groups = Vec::new();
        if let Some(mut small) = rest.to_u128() {
            while small != 0 {
                groups.push((small % 10_000) as u16);
                small /= 10_000;
            }
        } else {
            while !rest.is_zero() {
                let quotient: BigInt = &rest / 10_000_u32;
                groups.push(BigInt::to_u16(&(&rest - &quotient * 10_000_u32)).expect("a group is below 10000"));
                rest = quotient;
            }
        }
        let zeros = groups.iter().take_while(|group| **group == 0).count();
        groups.drain(..zeros);
        header(groups.len() as u16, weight as i16, sign, scale);
        for group in groups.iter().rev() {
            out.extend_from_slice(&group.to_be_bytes());
        }
    }
}
