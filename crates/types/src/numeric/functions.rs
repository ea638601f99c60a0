//! exp, ln, log and power to as many digits as PostgreSQL shows.
//!
//! Computed in fixed point over big integers with guard digits, then rounded once to PostgreSQL's scale. The scales
//! are chosen there from estimates in floating point; the estimates are part of the behaviour and so are kept.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::arithmetic::{checked, div_at, overflow, weight_and_group};
use super::{Class, MAX_DISPLAY_SCALE, Numeric, decimal_digits, div_round, pow10};
use crate::error::{SqlError, SqlResult, SqlState};

const MIN_SIGNIFICANT_DIGITS: i32 = 16;
const MAX_RESULT_SCALE: f64 = 2000.0;
#[allow(clippy::approx_constant, reason = "PostgreSQL's digits: the scale of a result depends on the last one")]
const LOG10_E: f64 = 0.434_294_481_903_252;
const GUARD_DIGITS: i64 = 12;

/// A number in fixed point: `value / 10^digits`.
struct Fixed {
    digits: u32,
    one: BigInt,
}

impl Fixed {
    fn new(digits: i64) -> Self {
        let digits = digits.max(1) as u32;
        Self { digits, one: pow10(digits) }
    }

    fn of(&self, value: &Numeric) -> BigInt {
        let (mantissa, scale) = value.to_bigint_parts().expect("finite");
        let shift = i64::from(self.digits) - i64::from(scale);
        if shift >= 0 { mantissa * pow10(shift as u32) } else { div_round(&mantissa, &pow10((-shift) as u32)) }
    }

    fn mul(&self, a: &BigInt, b: &BigInt) -> BigInt {
        a * b / &self.one
    }

    fn div(&self, a: &BigInt, b: &BigInt) -> BigInt {
        a * &self.one / b
    }

    /// atanh(1/n) for a whole n > 1.
    fn atanh_inverse(&self, n: u32) -> BigInt {
        let square = BigInt::from(n) * n;
        let mut term = &self.one / n;
        let mut sum = term.clone();
        let mut k = 1_u32;
        loop {
            term /= &square;
            if term.is_zero() {
                return sum;
            }
            k += 2;
            sum += &term / k;
        }
    }

    /// ln 2 = 18 atanh(1/26) - 2 atanh(1/4801) + 8 atanh(1/8749), ln 10 by the like: Machin's way for logarithms.
    fn ln2(&self) -> BigInt {
        self.atanh_inverse(26) * 18 - self.atanh_inverse(4801) * 2 + self.atanh_inverse(8749) * 8
    }

    fn ln10(&self) -> BigInt {
        // ln 10 = 46 atanh(1/31) + 34 atanh(1/49) + 20 atanh(1/161).
        self.atanh_inverse(31) * 46 + self.atanh_inverse(49) * 34 + self.atanh_inverse(161) * 20
    }

    /// ln of a positive fixed-point number.
    fn ln(&self, x: &BigInt) -> BigInt {
        // x = y * 2^k with y near 1, then y's square root a few times, then 2 atanh((y-1)/(y+1)).
        let k = x.bits() as i64 - self.one.bits() as i64;
        let mut y = if k > 0 { div_round(x, &(BigInt::one() << k as u64)) } else { x << (-k) as u64 };
        let mut roots = 0_u32;
        let bound = &self.one / 64;
        while (&y - &self.one).abs() > bound {
            y = (&y * &self.one).sqrt();
            roots += 1;
        }
        let z = self.div(&(&y - &self.one), &(&y + &self.one));
        let square = self.mul(&z, &z);
        let mut term = z.clone();
        let mut sum = z;
        let mut n = 1_u32;
        loop {
            term = self.mul(&term, &square);
            if term.is_zero() {
                break;
            }
            n += 2;
            sum += &term / n;
        }
        (sum << (roots + 1)) + self.ln2() * k
    }

    /// e^x for a fixed-point x of moderate size, and the power of ten that was taken out: result = r * 10^p.
    fn exp(&self, x: &BigInt) -> (BigInt, i64) {
        let ln10 = self.ln10();
        let power: BigInt = x / &ln10;
        let reduced = x - &power * &ln10;
        // Halve eight times, Taylor, square eight times.
        const HALVINGS: u32 = 8;
        let small = reduced >> HALVINGS;
        let mut term = self.one.clone();
        let mut sum = self.one.clone();
        let mut n = 1_u32;
        loop {
            term = self.mul(&term, &small) / n;
            if term.is_zero() || (term.is_negative() && term == BigInt::from(-1)) {
                break;
            }
            sum += &term;
            n += 1;
        }
        for _ in 0..HALVINGS {
            sum = self.mul(&sum, &sum);
        }
        (sum, power.to_i64().expect("exponents are bounded by the caller"))
    }

    /// A fixed-point number times 10^power, rounded to `scale`.
    fn round(&self, value: &BigInt, power: i64, scale: i32) -> SqlResult<Numeric> {
        let shift = i64::from(scale) + power - i64::from(self.digits);
        let mantissa =
            if shift >= 0 { value * pow10(shift as u32) } else { div_round(value, &pow10((-shift) as u32)) };
        checked(mantissa, i64::from(scale))
    }
}

/// The decimal weight of ln(value), estimated as PostgreSQL does.
fn estimate_ln_weight(value: &Numeric) -> i32 {
    if value.signum() <= 0 {
        return 0;
    }
    if *value >= Numeric::small(9, 1) && *value <= Numeric::small(11, 1) {
        let x = value.sub(&Numeric::ONE).expect("close to one");
        if x.is_zero() {
            return 0;
        }
        let (mantissa, scale) = x.to_bigint_parts().expect("finite");
        let (weight, group) = weight_and_group(&mantissa, scale);
        return (weight * 4) as i32 + f64::from(group).log10() as i32;
    }
    let (digits, weight) = leading_groups(value);
    let ln = digits.ln() + weight as f64 * std::f64::consts::LN_10;
    ln.abs().log10() as i32
}

/// The first two groups of four digits as a number, and the power of ten they stand for.
fn leading_groups(value: &Numeric) -> (f64, i64) {
    let (mantissa, scale) = value.to_bigint_parts().expect("finite");
    let (weight, group) = weight_and_group(&mantissa, scale);
    let shift = (weight - 1) * 4 + i64::from(scale);
    let two = if shift >= 0 { mantissa.abs() / pow10(shift as u32) } else { mantissa.abs() * pow10((-shift) as u32) };
    let two = two.to_f64().unwrap_or(f64::from(group) * 10_000.0);
    if two % 10_000.0 == 0.0 && is_one_group(&mantissa, scale, weight) {
        return (f64::from(group), weight * 4);
    }
    (two, (weight - 1) * 4)
}

fn is_one_group(mantissa: &BigInt, scale: u16, weight: i64) -> bool {
    let shift = weight * 4 + i64::from(scale);
    shift <= 0 || (mantissa % pow10(shift as u32)).is_zero()
}

fn logarithm_error(value: &Numeric) -> Option<SqlError> {
    let message = match value.signum() {
        0 if !value.is_nan() => "cannot take logarithm of zero",
        -1 => "cannot take logarithm of a negative number",
        _ => return None,
    };
    Some(SqlError::new(SqlState::InvalidArgumentForLogarithm, message))
}

/// ln to `scale` digits after the point.
fn ln_at(value: &Numeric, scale: i32) -> SqlResult<Numeric> {
    let (mantissa, held) = value.to_bigint_parts().expect("finite");
    // Tiny or huge values: ln(m * 10^-s) = ln(m * 10^-(digits)) + (digits - s) ln 10.
    let digits = decimal_digits(&mantissa);
    let fixed = Fixed::new(i64::from(scale.max(0)) + GUARD_DIGITS + 8);
    let shift = i64::from(fixed.digits) - digits;
    let unit = if shift >= 0 { &mantissa * pow10(shift as u32) } else { div_round(&mantissa, &pow10((-shift) as u32)) };
    let power = digits - i64::from(held);
    // Near one both parts cancel; then take the value itself, which is exact in enough digits.
    let near_one = power.abs() <= 1;
    let ln = if near_one {
        let exact = Fixed::new(i64::from(fixed.digits).max(i64::from(held)));
        let ln = exact.ln(&exact.of(value));
        return exact.round(&ln, 0, scale);
    } else {
        fixed.ln(&unit) + fixed.ln10() * power
    };
    fixed.round(&ln, 0, scale)
}

/// e^x to `scale` digits after the point, where `x` is an exact numeric.
fn exp_at(x: &Numeric, scale: i32) -> SqlResult<Numeric> {
    let approximate = x.to_f64();
    if approximate.abs() >= MAX_RESULT_SCALE * 3.0 {
        if approximate > 0.0 {
            return Err(overflow());
        }
        return Ok(Numeric::small(0, scale.max(0) as u16));
    }
    let result_digits = (approximate * LOG10_E) as i64;
    let fixed = Fixed::new(i64::from(scale) + result_digits.max(0) + GUARD_DIGITS + 8);
    let (value, power) = fixed.exp(&fixed.of(x));
    fixed.round(&value, power, scale)
}

impl Numeric {
    pub fn exp(&self) -> SqlResult<Self> {
        match self.class() {
            Class::NaN => return Ok(Self::NAN),
            Class::Infinity => return Ok(Self::INFINITY),
            Class::NegInfinity => return Ok(Self::ZERO),
            Class::Finite => {}
        }
        let weight = (self.to_f64() * LOG10_E).clamp(-MAX_RESULT_SCALE, MAX_RESULT_SCALE);
        let scale = (MIN_SIGNIFICANT_DIGITS - weight as i32).max(i32::from(self.scale())).clamp(0, MAX_DISPLAY_SCALE);
        exp_at(self, scale)
    }

    pub fn ln(&self) -> SqlResult<Self> {
        if let Some(error) = logarithm_error(self) {
            return Err(error);
        }
        if !self.is_finite() {
            return Ok(self.clone());
        }
        let scale = (MIN_SIGNIFICANT_DIGITS - estimate_ln_weight(self))
            .max(i32::from(self.scale()))
            .clamp(0, MAX_DISPLAY_SCALE);
        ln_at(self, scale)
    }

    /// The logarithm of `self` to `base`.
    pub fn log(&self, base: &Self) -> SqlResult<Self> {
        if self.is_nan() || base.is_nan() {
            return Ok(Self::NAN);
        }
        for value in [base, self] {
            if let Some(error) = logarithm_error(value) {
                return Err(error);
            }
        }
        match (base.is_infinite(), self.is_infinite()) {
            (true, true) => return Ok(Self::NAN),
            (true, false) => return Ok(Self::ZERO),
            (false, true) => return Ok(Self::INFINITY),
            (false, false) => {}
        }
        let (base_weight, weight) = (estimate_ln_weight(base), estimate_ln_weight(self));
        let result_weight = weight - base_weight;
        let scale = (MIN_SIGNIFICANT_DIGITS - result_weight)
            .max(i32::from(base.scale()))
            .max(i32::from(self.scale()))
            .clamp(0, MAX_DISPLAY_SCALE);
        let base_scale = (scale + result_weight - base_weight + 8).max(0) + GUARD_DIGITS as i32;
        let self_scale = (scale + result_weight - weight + 8).max(0) + GUARD_DIGITS as i32;
        let (a, s) = ln_at(self, self_scale)?.to_bigint_parts().expect("finite");
        let (b, t) = ln_at(base, base_scale)?.to_bigint_parts().expect("finite");
        if b.is_zero() {
            return Err(crate::error::raise::division_by_zero());
        }
        div_at(&a, s, &b, t, scale)
    }

    pub fn log10(&self) -> SqlResult<Self> {
        self.log(&Self::from_i64(10))
    }

    pub fn power(&self, exponent: &Self) -> SqlResult<Self> {
        let power_error =
            |message: &str| Err(SqlError::new(SqlState::InvalidArgumentForPowerFunction, message));
        if !self.is_finite() || !exponent.is_finite() {
            return self.special_power(exponent);
        }
        if self.is_zero() && exponent.signum() < 0 {
            return power_error("zero raised to a negative power is undefined");
        }
        let whole = exponent.min_scale() == 0;
        if self.signum() < 0 && !whole {
            return power_error("a negative number raised to a non-integer power yields a complex result");
        }
        if whole && let Some(n) = exponent.trim_scale().as_small().and_then(|(n, _)| i32::try_from(n).ok()) {
            return self.whole_power(n);
        }
        if self.is_zero() {
            return Ok(Self::small(0, MIN_SIGNIFICANT_DIGITS as u16));
        }
        let negative = self.signum() < 0 && exponent.rem(&Self::from_i64(2))? != Self::ZERO;
        let base = self.abs();
        let ln_weight = estimate_ln_weight(&base);
        let estimate = ln_at(&base, 8 - ln_weight)?.to_f64() * exponent.to_f64();
        if estimate.abs() > MAX_RESULT_SCALE * 3.01 {
            return if estimate > 0.0 { Err(overflow()) } else { Ok(Self::small(0, MAX_DISPLAY_SCALE as u16)) };
        }
        let result_weight = estimate * LOG10_E;
        let scale = (MIN_SIGNIFICANT_DIGITS - result_weight as i32)
            .max(i32::from(base.scale()))
            .max(i32::from(exponent.scale()))
            .clamp(0, MAX_DISPLAY_SCALE);
        // Enough digits of the logarithm that its product with the exponent is exact to the result's last digit.
        let (mantissa, held) = exponent.to_bigint_parts().expect("finite");
        let exponent_digits = (decimal_digits(&mantissa) - i64::from(held)).max(0) as i32;
        let ln_scale = scale + (result_weight as i32).max(0) + exponent_digits + GUARD_DIGITS as i32;
        let product = ln_at(&base, ln_scale.max(8))?.mul(exponent)?;
        let result = exp_at(&product, scale)?;
        Ok(if negative { result.neg() } else { result })
    }

    fn whole_power(&self, n: i32) -> SqlResult<Self> {
        let scale = MIN_SIGNIFICANT_DIGITS.max(i32::from(self.scale())).clamp(0, MAX_DISPLAY_SCALE);
        let (mantissa, held) = self.to_bigint_parts().expect("finite");
        match n {
            0 => return Ok(Self::ONE.round(scale)),
            1 => return Ok(self.round(scale)),
            -1 => return div_at(&BigInt::one(), 0, &mantissa, held, scale),
            2 => return Ok(self.mul(self)?.round(scale)),
            _ => {}
        }
        if mantissa.is_zero() {
            return Ok(Self::small(0, scale as u16));
        }
        // The result's weight, from its leading digits.
        let (digits, weight) = leading_groups(self);
        let result_weight = f64::from(n) * (digits.log10() + weight as f64);
        if result_weight > 4.0 * f64::from(i16::MAX) {
            return Err(overflow());
        }
        if result_weight + 1.0 < -f64::from(scale) {
            return Ok(Self::small(0, scale as u16));
        }
        // Significant digits that every product keeps: the result's, and some for the errors of the products.
        let guard = 8 + f64::from(n.unsigned_abs().max(1)).log10().ceil() as i64 * 2;
        let keep = (f64::from(scale) + result_weight) as i64 + guard + 1;
        let keep = keep.max(guard + 1);
        let mut base = (mantissa, i64::from(held));
        let mut result = (BigInt::one(), 0_i64);
        let mut rest = n.unsigned_abs();
        while rest != 0 {
            if rest & 1 == 1 {
                result = cut((&result.0 * &base.0, result.1 + base.1), keep);
            }
            rest >>= 1;
            if rest != 0 {
                base = cut((&base.0 * &base.0, base.1 * 2), keep);
            }
        }
        let (mantissa, held) = result;
        if n < 0 {
            // 1 / (m * 10^-h) at the scale.
            let shift = i64::from(scale) + held;
            if shift < 0 {
                return Ok(Self::small(0, scale as u16));
            }
            let negative = mantissa.is_negative();
            let quotient = div_round(&pow10(shift as u32), &mantissa.abs());
            return checked(if negative { -quotient } else { quotient }, i64::from(scale));
        }
        let shift = i64::from(scale) - held;
        let mantissa =
            if shift >= 0 { mantissa * pow10(shift as u32) } else { div_round(&mantissa, &pow10((-shift) as u32)) };
        checked(mantissa, i64::from(scale))
    }

    /// POSIX pow's table for NaN and the infinities.
    fn special_power(&self, exponent: &Self) -> SqlResult<Self> {
        if self.is_nan() {
            return Ok(if exponent.is_zero() { Self::ONE } else { Self::NAN });
        }
        if exponent.is_nan() {
            return Ok(if *self == Self::ONE { Self::ONE } else { Self::NAN });
        }
        if exponent.is_infinite() {
            if self.is_zero() && exponent.signum() < 0 {
                return Err(SqlError::new(
                    SqlState::InvalidArgumentForPowerFunction,
                    "zero raised to a negative power is undefined",
                ));
            }
            let magnitude = self.abs();
            return Ok(match magnitude.cmp(&Self::ONE) {
                std::cmp::Ordering::Equal => Self::ONE,
                above => {
                    if (above.is_gt()) == (exponent.signum() > 0) { Self::INFINITY } else { Self::ZERO }
                }
            });
        }
        // The base is an infinity, the exponent finite.
        if exponent.is_zero() {
            return Ok(Self::ONE);
        }
        if exponent.signum() < 0 {
            return Ok(Self::ZERO);
        }
        let odd = exponent.min_scale() == 0 && exponent.rem(&Self::from_i64(2))? != Self::ZERO;
        if self.signum() < 0 && exponent.min_scale() != 0 {
            return Err(SqlError::new(
                SqlState::InvalidArgumentForPowerFunction,
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        Ok(if self.signum() < 0 && odd { Self::NEG_INFINITY } else { Self::INFINITY })
    }
}

/// Keeps about `keep` significant digits of `mantissa / 10^scale`.
fn cut((mantissa, scale): (BigInt, i64), keep: i64) -> (BigInt, i64) {
    let excess = (mantissa.bits() as f64 * std::f64::consts::LOG10_2) as i64 - keep - 1;
    if excess <= 0 {
        return (mantissa, scale);
    }
    (div_round(&mantissa, &pow10(excess as u32)), scale - excess)
}
