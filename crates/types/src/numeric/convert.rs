//! Numerics to and from the machine's numbers, and into a column's precision.

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::{Numeric, Repr, decimal_digits, div_round, pow10};
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::sql_type::NumericModifier;

impl Numeric {
    /// Rounds half away from zero; 22003 outside `i64`.
    pub fn to_i64(&self, type_name: &str) -> SqlResult<i64> {
        let refuse = |what: &str| {
            SqlError::new(SqlState::FeatureNotSupported, format!("cannot convert {what} to {type_name}"))
        };
        match &self.0 {
            Repr::Small { mantissa, scale: 0 } => Ok(*mantissa),
            Repr::Small { mantissa, scale } if *scale <= 18 => {
                let divisor = 10_i64.pow(u32::from(*scale));
                let (quotient, remainder) = (mantissa / divisor, mantissa % divisor);
                let up = remainder.unsigned_abs() * 2 >= divisor.unsigned_abs();
                Ok(quotient + if up { mantissa.signum() } else { 0 })
            }
            Repr::NaN => Err(refuse("NaN")),
            Repr::Infinity | Repr::NegInfinity => Err(refuse("infinity")),
            _ => self
                .to_integer()
                .and_then(|integer| integer.to_i64())
                .ok_or_else(|| raise::out_of_range(type_name)),
        }
    }

    /// The nearest integer, half away from zero; `None` unless finite.
    #[must_use]
    pub fn to_integer(&self) -> Option<BigInt> {
        let (mantissa, scale) = self.to_bigint_parts()?;
        Some(if scale == 0 { mantissa } else { div_round(&mantissa, &pow10(u32::from(scale))) })
    }

    /// The nearest double; beyond its range an infinity.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            // Both are exact, so the division rounds once.
            Repr::Small { mantissa, scale } if *scale <= 22 && mantissa.unsigned_abs() <= 1 << 53 => {
                *mantissa as f64 / 10_f64.powi(i32::from(*scale))
            }
            Repr::NaN => f64::NAN,
            Repr::Infinity => f64::INFINITY,
            Repr::NegInfinity => f64::NEG_INFINITY,
            _ => self.to_string().parse().expect("a numeric's text is a float's"),
        }
    }

    /// As a double; 22003 when it overflows or vanishes.
    pub fn to_f64_checked(&self) -> SqlResult<f64> {
        let value = self.to_f64();
        if self.is_finite() && (value.is_infinite() || (value == 0.0 && !self.is_zero())) {
            return Err(self.beyond("double precision"));
        }
        Ok(value)
    }

    /// As a single, rounded once; 22003 when it overflows or vanishes.
    pub fn to_f32_checked(&self) -> SqlResult<f32> {
        let value = match &self.0 {
            Repr::NaN => f32::NAN,
            Repr::Infinity => f32::INFINITY,
            Repr::NegInfinity => f32::NEG_INFINITY,
            _ => self.to_string().parse::<f32>().expect("a numeric's text is a float's"),
        };
        if self.is_finite() && (value.is_infinite() || (value == 0.0 && !self.is_zero())) {
            return Err(self.beyond("real"));
        }
        Ok(value)
    }

    fn beyond(&self, type_name: &str) -> SqlError {
        SqlError::new(SqlState::NumericValueOutOfRange, format!("\"{self}\" is out of range for type {type_name}"))
    }

    /// With fifteen significant digits, as PostgreSQL's cast.
    #[must_use]
    pub fn from_f64(value: f64) -> Self {
        Self::from_float(value, 15)
    }

    /// With six significant digits, as PostgreSQL's cast.
    #[must_use]
    pub fn from_f32(value: f32) -> Self {
        Self::from_float(f64::from(value), 6)
    }

    fn from_float(value: f64, digits: usize) -> Self {
        if value.is_nan() {
            return Self::NAN;
        }
        if value.is_infinite() {
            return if value > 0.0 { Self::INFINITY } else { Self::NEG_INFINITY };
        }
        let text = format!("{value:.*e}", digits - 1);
        // What %g prints has no zeros at the end.
        Self::parse(&text).expect("a float's exponent form is a numeric's").trim_scale()
    }

    /// Rounds to a column's scale and checks its precision.
    pub fn apply_modifier(&self, modifier: Option<NumericModifier>) -> SqlResult<Self> {
        let Some(NumericModifier { precision, scale }) = modifier else { return Ok(self.clone()) };
        let overflow = |detail: String| {
            Err(SqlError::new(SqlState::NumericValueOutOfRange, "numeric field overflow").with_detail(detail))
        };
        match &self.0 {
            Repr::NaN => return Ok(Self::NAN),
            Repr::Infinity | Repr::NegInfinity => {
                return overflow(format!(
                    "A field with precision {precision}, scale {scale} cannot hold an infinite value."
                ));
            }
            Repr::Small { mantissa, scale: held }
                if i16::try_from(*held) == Ok(scale)
                    && precision <= 18
                    && mantissa.unsigned_abs() < 10_u64.pow(u32::from(precision)) =>
            {
                return Ok(self.clone());
            }
            _ => {}
        }
        let rounded = self.round(i32::from(scale));
        let (mantissa, held) = rounded.to_bigint_parts().expect("finite");
        let allowed = i64::from(precision) - i64::from(scale);
        if decimal_digits(&mantissa) - i64::from(held) > allowed {
            let bound = if allowed == 0 { "1".to_owned() } else { format!("10^{allowed}") };
            return overflow(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
            ));
        }
        Ok(rounded)
    }
}
