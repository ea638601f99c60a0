//! Addition to square root of the scales: the four operations, remainders and rounding.
//!
//! PostgreSQL keeps numerics as groups of four digits and chooses a quotient's scale by whole groups. The choice
//! shows in results (`1/3` has twenty digits, `10/3` sixteen after the point and so on), so [`weight_and_group`]
//! recovers the first group of a value from its digits.

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use super::{
    Class, MAX_DISPLAY_SCALE, MAX_INTEGER_DIGITS, MAX_SCALE, Numeric, POW10_I128, Repr, aligned, decimal_digits,
    div_round, pow10,
};
use crate::error::{SqlError, SqlResult, SqlState, raise};

const MIN_SIGNIFICANT_DIGITS: i32 = 16;
const GROUP_DIGITS: i64 = 4;

#[cold]
pub(crate) fn overflow() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "value overflows numeric format")
}

/// Refuses values with more digits than the format holds, and rounds away digits that it cannot show.
pub(crate) fn checked(mantissa: BigInt, scale: i64) -> SqlResult<Numeric> {
    let (mantissa, scale) = if scale > i64::from(MAX_SCALE) {
        (div_round(&mantissa, &pow10((scale - i64::from(MAX_SCALE)) as u32)), i64::from(MAX_SCALE))
    } else if scale < 0 {
        (mantissa * pow10((-scale) as u32), 0)
    } else {
        (mantissa, scale)
    };
    // Below 128 Kibit there is nothing to measure.
    if mantissa.bits() > 400_000 && decimal_digits(&mantissa) - scale > MAX_INTEGER_DIGITS {
        return Err(overflow());
    }
    Ok(Numeric::from_bigint(mantissa, scale as u16))
}

/// The position of the first group of four digits that is not zero (0: the units group) and that group's value.
/// Zero has weight 0 and group 0.
pub(crate) fn weight_and_group(mantissa: &BigInt, scale: u16) -> (i64, i32) {
    let digits = decimal_digits(mantissa);
    if digits == 0 {
        return (0, 0);
    }
    // The leading digit stands at 10^(digits - scale - 1).
    let leading = digits - i64::from(scale) - 1;
    let weight = leading.div_euclid(GROUP_DIGITS);
    // The group is the value divided by 10^(4 * weight), cut off.
    let shift = weight * GROUP_DIGITS + i64::from(scale);
    let group = if shift >= 0 {
        mantissa.abs() / pow10(shift as u32)
    } else {
        mantissa.abs() * pow10((-shift) as u32)
    };
    (weight, group.to_i32().expect("a group has four digits"))
}

fn div_scale(a: (&BigInt, u16), b: (&BigInt, u16)) -> i32 {
    let (weight_a, group_a) = weight_and_group(a.0, a.1);
    let (weight_b, group_b) = weight_and_group(b.0, b.1);
    let mut quotient_weight = weight_a - weight_b;
    if group_a <= group_b {
        quotient_weight -= 1;
    }
    (MIN_SIGNIFICANT_DIGITS - (quotient_weight * GROUP_DIGITS) as i32)
        .max(i32::from(a.1))
        .max(i32::from(b.1))
        .clamp(0, MAX_DISPLAY_SCALE)
}

/// [`weight_and_group`] of a magnitude that fits a machine word.
fn small_weight_and_group(magnitude: u64, scale: u16) -> (i64, i32) {
    if magnitude == 0 {
        return (0, 0);
    }
    let leading = i64::from(magnitude.ilog10()) - i64::from(scale);
    let weight = leading.div_euclid(GROUP_DIGITS);
    let shift = weight * GROUP_DIGITS + i64::from(scale);
    let group = if shift >= 0 {
        i128::from(magnitude) / POW10_I128[shift as usize]
    } else {
        i128::from(magnitude) * POW10_I128[(-shift) as usize]
    };
    (weight, group as i32)
}

/// Division of two small values whose scaled numerator fits an i128.
fn small_div(a: i64, s: u16, b: i64, t: u16) -> Option<Numeric> {
    let (weight_a, group_a) = small_weight_and_group(a.unsigned_abs(), s);
    let (weight_b, group_b) = small_weight_and_group(b.unsigned_abs(), t);
    let quotient_weight = weight_a - weight_b - i64::from(group_a <= group_b);
    let scale = (MIN_SIGNIFICANT_DIGITS - (quotient_weight * GROUP_DIGITS) as i32)
        .max(i32::from(s))
        .max(i32::from(t))
        .clamp(0, MAX_DISPLAY_SCALE);
    let shift = scale + i32::from(t) - i32::from(s);
    let factor = *POW10_I128.get(usize::try_from(shift).ok()?)?;
    let numerator = i128::from(a).checked_mul(factor)?;
    Some(Numeric::from_i128(div_round_i128(numerator, i128::from(b)), scale as u16))
}

fn div_round_i128(numerator: i128, denominator: i128) -> i128 {
    let (quotient, remainder) = (numerator / denominator, numerator % denominator);
    if remainder.unsigned_abs() * 2 >= denominator.unsigned_abs() {
        quotient + if (numerator < 0) == (denominator < 0) { 1 } else { -1 }
    } else {
        quotient
    }
}

impl Numeric {
    pub fn add(&self, other: &Self) -> SqlResult<Self> {
        if let (Repr::Small { mantissa: a, scale: s }, Repr::Small { mantissa: b, scale: t }) = (&self.0, &other.0) {
            let (a, b) = (i128::from(*a), i128::from(*b));
            let (s, t) = (*s, *t);
            if s == t {
                return Ok(Self::from_i128(a + b, s));
            } else if s < t && t - s <= 18 {
                return Ok(Self::from_i128(a * POW10_I128[usize::from(t - s)] + b, t));
            } else if s > t && s - t <= 18 {
                return Ok(Self::from_i128(a + b * POW10_I128[usize::from(s - t)], s));
            }
        }
        Ok(match (self.class(), other.class()) {
            (Class::NaN, _) | (_, Class::NaN) => Self::NAN,
            (Class::Infinity, Class::NegInfinity) | (Class::NegInfinity, Class::Infinity) => Self::NAN,
            (Class::Infinity, _) | (_, Class::Infinity) => Self::INFINITY,
            (Class::NegInfinity, _) | (_, Class::NegInfinity) => Self::NEG_INFINITY,
            (Class::Finite, Class::Finite) => {
                let (a, b) = aligned(self, other);
                return checked(a + b, i64::from(self.scale().max(other.scale())));
            }
        })
    }

    pub fn sub(&self, other: &Self) -> SqlResult<Self> {
        self.add(&other.neg())
    }

    pub fn mul(&self, other: &Self) -> SqlResult<Self> {
        if let (Repr::Small { mantissa: a, scale: s }, Repr::Small { mantissa: b, scale: t }) = (&self.0, &other.0)
            && s + t <= MAX_SCALE
        {
            return Ok(Self::from_i128(i128::from(*a) * i128::from(*b), s + t));
        }
        if self.is_nan() || other.is_nan() {
            return Ok(Self::NAN);
        }
        if !self.is_finite() || !other.is_finite() {
            return Ok(match self.signum() * other.signum() {
                0 => Self::NAN,
                1 => Self::INFINITY,
                _ => Self::NEG_INFINITY,
            });
        }
        let (a, s) = self.to_bigint_parts().expect("finite");
        let (b, t) = other.to_bigint_parts().expect("finite");
        checked(a * b, i64::from(s) + i64::from(t))
    }

    /// What division and remainder answer when an operand is not finite or the divisor is zero.
    fn special_division(&self, other: &Self, is_remainder: bool) -> SqlResult<Option<Self>> {
        if self.is_nan() || other.is_nan() {
            return Ok(Some(Self::NAN));
        }
        if !self.is_finite() {
            if !other.is_finite() {
                return Ok(Some(Self::NAN));
            }
            if other.is_zero() {
                return Err(raise::division_by_zero());
            }
            return Ok(Some(match () {
                () if is_remainder => Self::NAN,
                () if self.signum() * other.signum() > 0 => Self::INFINITY,
                () => Self::NEG_INFINITY,
            }));
        }
        if !other.is_finite() {
            return Ok(Some(if is_remainder { self.clone() } else { Self::ZERO }));
        }
        if other.is_zero() {
            return Err(raise::division_by_zero());
        }
        Ok(None)
    }

    pub fn div(&self, other: &Self) -> SqlResult<Self> {
        if let Some(special) = self.special_division(other, false)? {
            return Ok(special);
        }
        if let (Repr::Small { mantissa: a, scale: s }, Repr::Small { mantissa: b, scale: t }) = (&self.0, &other.0)
            && let Some(quotient) = small_div(*a, *s, *b, *t)
        {
            return Ok(quotient);
        }
        let (a, s) = self.to_bigint_parts().expect("finite");
        let (b, t) = other.to_bigint_parts().expect("finite");
        let scale = div_scale((&a, s), (&b, t));
        div_at(&a, s, &b, t, scale)
    }

    /// `div(a, b)`: the quotient cut off to an integer.
    pub fn div_trunc(&self, other: &Self) -> SqlResult<Self> {
        if let Some(special) = self.special_division(other, false)? {
            return Ok(special);
        }
        let (a, b) = aligned(self, other);
        checked(a / b, 0)
    }

    /// The remainder with the dividend's sign.
    pub fn rem(&self, other: &Self) -> SqlResult<Self> {
        if let Some(special) = self.special_division(other, true)? {
            return Ok(special);
        }
        let scale = self.scale().max(other.scale());
        let (a, b) = aligned(self, other);
        checked(a % b, i64::from(scale))
    }

    /// Rounds half away from zero to `scale` digits after the point; negative scales round before it.
    #[must_use]
    pub fn round(&self, scale: i32) -> Self {
        self.rescale(scale, div_round)
    }

    /// Cuts off after `scale` digits after the point; negative scales cut before it.
    #[must_use]
    pub fn trunc(&self, scale: i32) -> Self {
        self.rescale(scale, |a, b| a / b)
    }

    fn rescale(&self, scale: i32, divide: fn(&BigInt, &BigInt) -> BigInt) -> Self {
        let Some((mantissa, from)) = self.to_bigint_parts() else { return self.clone() };
        let scale = scale.clamp(-2 * i32::from(MAX_SCALE) - 131_072, i32::from(MAX_SCALE));
        let shown = scale.max(0);
        if scale >= i32::from(from) {
            let widened = mantissa * pow10((scale - i32::from(from)) as u32);
            return Self::from_bigint(widened, shown as u16);
        }
        let cut = (i32::from(from) - scale) as u32;
        // Nothing is left of a value far below the last digit kept.
        if i64::from(cut) > decimal_digits(&mantissa) + 1 {
            return Self::small(0, shown as u16);
        }
        let kept = divide(&mantissa, &pow10(cut));
        let kept = if scale < 0 { kept * pow10((-scale) as u32) } else { kept };
        Self::from_bigint(kept, shown as u16)
    }

    #[must_use]
    pub fn ceil(&self) -> Self {
        let cut = self.trunc(0);
        if self.is_finite() && *self > cut { cut.add(&Self::ONE).expect("no digit is added") } else { cut }
    }

    #[must_use]
    pub fn floor(&self) -> Self {
        let cut = self.trunc(0);
        if self.is_finite() && *self < cut { cut.sub(&Self::ONE).expect("no digit is added") } else { cut }
    }

    pub fn sqrt(&self) -> SqlResult<Self> {
        match self.class() {
            Class::NaN => return Ok(Self::NAN),
            Class::Infinity => return Ok(Self::INFINITY),
            _ if self.signum() < 0 => {
                return Err(SqlError::new(
                    SqlState::InvalidArgumentForPowerFunction,
                    "cannot take square root of a negative number",
                ));
            }
            _ => {}
        }
        let (mantissa, scale) = self.to_bigint_parts().expect("finite");
        let (weight, _) = weight_and_group(&mantissa, scale);
        let root_weight = (weight + 1) * GROUP_DIGITS / 2 - 1;
        let rscale = (MIN_SIGNIFICANT_DIGITS - root_weight as i32).max(i32::from(scale)).clamp(0, MAX_DISPLAY_SCALE);
        // One digit more than shown, then half away from zero: a square root's next digits are never exactly 5000…
        // unless the root is exact, and then there are none.
        let shift = 2 * (rscale + 1) - i32::from(scale);
        let radicand = if shift >= 0 {
            mantissa * pow10(shift as u32)
        } else {
            mantissa / pow10((-shift) as u32)
        };
        let root = radicand.sqrt();
        checked(div_round(&root, &BigInt::from(10)), i64::from(rscale))
    }

    pub fn gcd(&self, other: &Self) -> SqlResult<Self> {
        if !self.is_finite() || !other.is_finite() {
            return Ok(Self::NAN);
        }
        let scale = self.scale().max(other.scale());
        let (mut a, mut b) = aligned(self, other);
        while !b.is_zero() {
            let r = a % &b;
            a = b;
            b = r;
        }
        checked(a.abs(), i64::from(scale))
    }

    pub fn lcm(&self, other: &Self) -> SqlResult<Self> {
        if !self.is_finite() || !other.is_finite() {
            return Ok(Self::NAN);
        }
        let scale = i64::from(self.scale().max(other.scale()));
        let (a, b) = aligned(self, other);
        if a.is_zero() || b.is_zero() {
            return checked(BigInt::zero(), scale);
        }
        let (mut x, mut y) = (a.abs(), b.abs());
        while !y.is_zero() {
            let r = x % &y;
            x = y;
            y = r;
        }
        checked((a / x * b).abs(), scale)
    }

    pub fn factorial(n: i64) -> SqlResult<Self> {
        if n < 0 {
            return Err(SqlError::new(
                SqlState::NumericValueOutOfRange,
                "factorial of a negative number is undefined",
            ));
        }
        // 32177! is the largest that PostgreSQL computes.
        if n > 32_177 {
            return Err(overflow());
        }
        let product = (2..=n).fold(BigInt::from(1), |product, factor| product * factor);
        checked(product, 0)
    }

    /// The bucket of `count` equal ones between the bounds; 0 below, `count + 1` above.
    pub fn width_bucket(&self, low: &Self, high: &Self, count: i64) -> SqlResult<i64> {
        let argument = |message: &str| SqlError::new(SqlState::InvalidArgumentForWidthBucket, message);
        if count <= 0 {
            return Err(argument("count must be greater than zero"));
        }
        if self.is_nan() || low.is_nan() || high.is_nan() {
            return Err(argument("operand, lower bound, and upper bound cannot be NaN"));
        }
        if low.is_infinite() || high.is_infinite() {
            return Err(argument("lower and upper bounds must be finite"));
        }
        if low == high {
            return Err(argument("lower bound cannot equal upper bound"));
        }
        let rising = low < high;
        let (below, above) = if rising { (self < low, self >= high) } else { (self > low, self <= high) };
        if below {
            return Ok(0);
        }
        if above {
            return Ok(count + 1);
        }
        let offset = self.sub(low)?.abs();
        let width = high.sub(low)?.abs();
        let scaled = offset.mul(&Self::from_i64(count))?;
        Ok(scaled.div_trunc(&width)?.to_i64("integer")? + 1)
    }
}

/// `a / b` at exactly `scale` digits after the point.
pub(crate) fn div_at(a: &BigInt, s: u16, b: &BigInt, t: u16, scale: i32) -> SqlResult<Numeric> {
    let shift = scale + i32::from(t) - i32::from(s);
    let (mut numerator, mut denominator) =
        if shift >= 0 { (a * pow10(shift as u32), b.clone()) } else { (a.clone(), b * pow10((-shift) as u32)) };
    if denominator.is_negative() {
        numerator = -numerator;
        denominator = -denominator;
    }
    checked(div_round(&numerator, &denominator), i64::from(scale))
}
