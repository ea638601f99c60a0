//! PostgreSQL's `numeric`: exact decimals of any length, with NaN and the two infinities.
//!
//! A finite value is `mantissa / 10^scale`, where `scale` is also what PostgreSQL calls the display scale: 1.0 and
//! 1.00 are equal and print differently. Most values of real tables have at most 18 digits, so the mantissa is an
//! `i64` in place; longer ones go to the heap. Sums and products of small values are computed in `i128`.
//!
//! **Invariant (numeric-normal):** a mantissa that fits an `i64` is never on the heap, so equality of
//! representation is cheap and no arithmetic takes the slow road for nothing. Upheld by [`Numeric::from_bigint`],
//! the only place where the heap form is made.
//!
//! Results carry PostgreSQL's scales: addition the larger, multiplication the sum, division enough for sixteen
//! significant digits (`select_div_scale`, which counts in groups of four digits, see [`arithmetic`]).

mod arithmetic;
mod convert;
mod functions;
mod text;
mod wire;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use num_bigint::{BigInt, Sign};
use num_traits::{Signed, ToPrimitive, Zero};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most digits after the point that a value can have.
pub const MAX_SCALE: u16 = 16_383;
/// The most digits after the point that functions choose by themselves.
pub(crate) const MAX_DISPLAY_SCALE: i32 = 1000;
/// The most digits before the point.
pub(crate) const MAX_INTEGER_DIGITS: i64 = 131_072;

#[derive(Clone, Debug)]
pub struct Numeric(pub(crate) Repr);

#[derive(Clone, Debug)]
pub(crate) enum Repr {
    Small { mantissa: i64, scale: u16 },
    Big(Arc<BigDecimal>),
    NaN,
    Infinity,
    NegInfinity,
}

#[derive(Debug)]
pub(crate) struct BigDecimal {
    pub mantissa: BigInt,
    pub scale: u16,
}

/// The classes in which values are told apart before any arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    NegInfinity,
    Finite,
    Infinity,
    NaN,
}

impl Numeric {
    pub const ZERO: Self = Self::from_i64(0);
    pub const ONE: Self = Self::from_i64(1);
    pub const NAN: Self = Self(Repr::NaN);
    pub const INFINITY: Self = Self(Repr::Infinity);
    pub const NEG_INFINITY: Self = Self(Repr::NegInfinity);

    #[must_use]
    pub const fn from_i64(value: i64) -> Self {
        Self::small(value, 0)
    }

    #[must_use]
    pub const fn small(mantissa: i64, scale: u16) -> Self {
        Self(Repr::Small { mantissa, scale })
    }

    /// `mantissa / 10^scale`.
    #[must_use]
    pub fn from_i128(mantissa: i128, scale: u16) -> Self {
        match i64::try_from(mantissa) {
            Ok(small) => Self::small(small, scale),
            Err(_) => Self::from_bigint(BigInt::from(mantissa), scale),
        }
    }

    /// `mantissa / 10^scale`.
    #[must_use]
    pub fn from_bigint(mantissa: BigInt, scale: u16) -> Self {
        match mantissa.to_i64() {
            Some(small) => Self::small(small, scale),
            None => Self(Repr::Big(Arc::new(BigDecimal { mantissa, scale }))),
        }
    }

    /// Mantissa and scale of a value that is held in place: the road for accumulators.
    #[must_use]
    pub const fn as_small(&self) -> Option<(i64, u16)> {
        match self.0 {
            Repr::Small { mantissa, scale } => Some((mantissa, scale)),
            _ => None,
        }
    }

    /// Mantissa and scale of any finite value.
    #[must_use]
    pub fn to_bigint_parts(&self) -> Option<(BigInt, u16)> {
        match &self.0 {
            Repr::Small { mantissa, scale } => Some((BigInt::from(*mantissa), *scale)),
            Repr::Big(big) => Some((big.mantissa.clone(), big.scale)),
            Repr::NaN | Repr::Infinity | Repr::NegInfinity => None,
        }
    }

    pub(crate) const fn class(&self) -> Class {
        match self.0 {
            Repr::Small { .. } | Repr::Big(_) => Class::Finite,
            Repr::NaN => Class::NaN,
            Repr::Infinity => Class::Infinity,
            Repr::NegInfinity => Class::NegInfinity,
        }
    }

    /// Equal in value and in scale.
    #[must_use]
    pub fn is_identical(&self, other: &Self) -> bool {
        self.scale() == other.scale() && self == other
    }

    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Big(big) => 64 + (big.mantissa.bits() / 8) as usize,
            _ => 0,
        }
    }

    #[must_use]
    pub const fn is_nan(&self) -> bool {
        matches!(self.0, Repr::NaN)
    }

    #[must_use]
    pub const fn is_infinite(&self) -> bool {
        matches!(self.0, Repr::Infinity | Repr::NegInfinity)
    }

    #[must_use]
    pub const fn is_finite(&self) -> bool {
        matches!(self.0, Repr::Small { .. } | Repr::Big(_))
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        // Zero always fits in place.
        matches!(self.0, Repr::Small { mantissa: 0, .. })
    }

    /// -1, 0 or 1; 0 for NaN.
    #[must_use]
    pub fn signum(&self) -> i32 {
        match &self.0 {
            Repr::Small { mantissa, .. } => mantissa.signum() as i32,
            Repr::Big(big) => match big.mantissa.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            },
            Repr::NaN => 0,
            Repr::Infinity => 1,
            Repr::NegInfinity => -1,
        }
    }

    /// Digits shown after the point; 0 for NaN and the infinities.
    #[must_use]
    pub fn scale(&self) -> u16 {
        match &self.0 {
            Repr::Small { scale, .. } => *scale,
            Repr::Big(big) => big.scale,
            _ => 0,
        }
    }

    /// The fewest digits after the point that lose nothing.
    #[must_use]
    pub fn min_scale(&self) -> u16 {
        self.trim_scale().scale()
    }

    #[must_use]
    pub fn trim_scale(&self) -> Self {
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                let (mut mantissa, mut scale) = (*mantissa, *scale);
                if mantissa == 0 {
                    return Self::ZERO;
                }
                while scale > 0 && mantissa % 10 == 0 {
                    mantissa /= 10;
                    scale -= 1;
                }
                Self::small(mantissa, scale)
            }
            Repr::Big(big) => {
                let digits = big.mantissa.magnitude().to_str_radix(10);
                let zeros = digits.bytes().rev().take_while(|b| *b == b'0').count();
                let cut = zeros.min(usize::from(big.scale));
                if cut == 0 {
                    return self.clone();
                }
                Self::from_bigint(&big.mantissa / pow10(cut as u32), big.scale - cut as u16)
            }
            _ => self.clone(),
        }
    }

    #[must_use]
    pub fn neg(&self) -> Self {
        match &self.0 {
            Repr::Small { mantissa, scale } => Self::from_i128(-i128::from(*mantissa), *scale),
            Repr::Big(big) => Self::from_bigint(-&big.mantissa, big.scale),
            Repr::NaN => Self::NAN,
            Repr::Infinity => Self::NEG_INFINITY,
            Repr::NegInfinity => Self::INFINITY,
        }
    }

    #[must_use]
    pub fn abs(&self) -> Self {
        if self.signum() < 0 { self.neg() } else { self.clone() }
    }

    /// -1, 0 or 1 as a numeric; NaN for NaN.
    #[must_use]
    pub fn sign(&self) -> Self {
        if self.is_nan() { Self::NAN } else { Self::from_i64(i64::from(self.signum())) }
    }
}

impl From<i64> for Numeric {
    fn from(value: i64) -> Self {
        Self::from_i64(value)
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By value: 1.0 equals 1.00; NaN equals itself and is above infinity.
impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Repr::Small { mantissa: a, scale: s }, Repr::Small { mantissa: b, scale: t }) = (&self.0, &other.0) {
            if s == t {
                return a.cmp(b);
            }
            let (a, b) = (i128::from(*a), i128::from(*b));
            // 19 digits and 19 more still fit an i128.
            if s < t && t - s <= 19 {
                return (a * POW10_I128[usize::from(t - s)]).cmp(&b);
            } else if s > t && s - t <= 19 {
                return a.cmp(&(b * POW10_I128[usize::from(s - t)]));
            }
        }
        let class = self.class().cmp(&other.class());
        if class.is_ne() || !self.is_finite() {
            return class;
        }
        let signs = self.signum().cmp(&other.signum());
        if signs.is_ne() {
            return signs;
        }
        let (a, b) = aligned(self, other);
        a.cmp(&b)
    }
}

/// Equal values hash alike, whatever their scale.
impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let trimmed = self.trim_scale();
        match &trimmed.0 {
            Repr::Small { mantissa, scale } => (0_u8, mantissa, scale).hash(state),
            Repr::Big(big) => (1_u8, &big.mantissa, big.scale).hash(state),
            Repr::NaN => 2_u8.hash(state),
            Repr::Infinity => 3_u8.hash(state),
            Repr::NegInfinity => 4_u8.hash(state),
        }
    }
}

impl std::fmt::Display for Numeric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(std::str::from_utf8(&out).expect("digits are ASCII"))
    }
}

/// Serialized as its text: short, exact, and readable in dumps.
impl Serialize for Numeric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Numeric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

pub(crate) const POW10_I128: [i128; 39] = {
    let mut table = [1_i128; 39];
    let mut i = 1;
    while i < 39 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

pub(crate) fn pow10(exponent: u32) -> BigInt {
    match POW10_I128.get(exponent as usize) {
        Some(small) => BigInt::from(*small),
        None => BigInt::from(10_u32).pow(exponent),
    }
}

/// The mantissas of two finite values at the larger of their scales.
pub(crate) fn aligned(a: &Numeric, b: &Numeric) -> (BigInt, BigInt) {
    let (mut x, s) = a.to_bigint_parts().expect("both are finite");
    let (mut y, t) = b.to_bigint_parts().expect("both are finite");
    if s < t {
        x *= pow10(u32::from(t - s));
    } else if t < s {
        y *= pow10(u32::from(s - t));
    }
    (x, y)
}

/// How many decimal digits `value` has; 0 has none.
pub(crate) fn decimal_digits(value: &BigInt) -> i64 {
    if value.is_zero() {
        return 0;
    }
    let magnitude = value.abs();
    // An estimate from the bits that is right or one too small, then one comparison.
    let estimate = ((magnitude.bits() - 1) as f64 * std::f64::consts::LOG10_2) as i64;
    let estimate = estimate.max(1);
    let mut digits = estimate;
    while pow10(digits as u32) <= magnitude {
        digits += 1;
    }
    while digits > 1 && pow10(digits as u32 - 1) > magnitude {
        digits -= 1;
    }
    digits
}

/// `numerator / denominator` rounded half away from zero; the denominator is positive.
pub(crate) fn div_round(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    use num_bigint::BigInt as B;
    let quotient: B = numerator / denominator;
    let remainder: B = numerator - &quotient * denominator;
    if remainder.magnitude() * 2_u32 >= *denominator.magnitude() {
        if numerator.is_negative() { quotient - 1 } else { quotient + 1 }
    } else {
        quotient
    }
}

#[cfg(test)]
mod tests;
