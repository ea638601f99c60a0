//! Operators over whole columns of numerics.
//!
//! Where both sides are words of one scale each ([`Decimals`]), results are computed in words too; a result that does
//! not fit is computed again with numerics of any length, row by row.

use types::{ColumnVec, Datum, Decimals, Nulls, Numeric, Primitive, SqlType};

use crate::vectorized::{BinaryKernel, GaveUp, Operand, Words, compare_words, hide_nulls, map_words};

/// Powers of ten that fit a word.
const POWERS: [i64; 19] = {
    let mut powers = [1_i64; 19];
    let mut at = 1;
    while at < 19 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// A kernel's numeric operand.
#[derive(Clone, Copy)]
pub(crate) enum Numerics<'c> {
    Words(&'c Decimals),
    Many(&'c [Datum]),
    One(&'c Numeric),
}

impl<'c> Numerics<'c> {
    pub(crate) fn new(operand: &'c Operand, ty: &SqlType) -> Option<Self> {
        if !matches!(ty, SqlType::Numeric(_)) {
            return None;
        }
        match operand {
            Operand::Column(column) => match column.as_ref() {
                ColumnVec::Decimal(decimals) => Some(Self::Words(decimals)),
                ColumnVec::Datum(values) => Some(Self::Many(values)),
                _ => None,
            },
            Operand::Value(value, _) => value.as_numeric().map(Self::One),
        }
    }

    /// None for NULL.
    fn get(self, row: usize) -> Option<Numeric> {
        match self {
            Self::Words(decimals) => decimals.get(row),
            Self::Many(values) => values[row].as_numeric().cloned(),
            Self::One(value) => Some(value.clone()),
        }
    }

    /// Words and their scale.
    fn words(self) -> Option<(Words<'c, i64>, u16)> {
        match self {
            Self::Words(decimals) => Some((Words::Many(&decimals.digits.values, decimals.nulls()), decimals.scale())),
            Self::One(value) => value.as_small().map(|(digits, scale)| (Words::One(digits), scale)),
            Self::Many(_) => None,
        }
    }
}

/// What digits of one scale are multiplied by to have another.
fn factor(from: u16, to: u16) -> Option<i64> {
    POWERS.get(usize::from(to.checked_sub(from)?)).copied()
}

/// `Ok(None)`: no kernel for this operator.
pub(crate) fn numerics(
    kernel: BinaryKernel,
    a: Numerics<'_>,
    b: Numerics<'_>,
    len: usize,
) -> Result<Option<ColumnVec>, GaveUp> {
    if let (Some(left), Some(right)) = (a.words(), b.words())
        && let Some(column) = in_words(kernel, left, right, len)
    {
        return Ok(Some(column));
    }
    if kernel.is_comparison() {
        let mut result = Primitive::with_capacity(len);
        for row in 0..len {
            match (a.get(row), b.get(row)) {
                (Some(a), Some(b)) => result.push(kernel.holds(a.cmp(&b))),
                _ => result.push_null(),
            }
        }
        return Ok(Some(ColumnVec::Bool(result)));
    }
    let operation = match kernel {
        BinaryKernel::Add => Numeric::add,
        BinaryKernel::Sub => Numeric::sub,
        BinaryKernel::Mul => Numeric::mul,
        BinaryKernel::Div => Numeric::div,
        _ => return Ok(None),
    };
    let mut result = ColumnVec::with_capacity(&SqlType::NUMERIC, len);
    for row in 0..len {
        match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => result.push(&Datum::Numeric(operation(&a, &b).map_err(|_| GaveUp)?)),
            _ => result.push_null(),
        }
    }
    Ok(Some(result))
}

/// None where a result, or an operand brought to the other's scale, does not fit a word.
fn in_words(
    kernel: BinaryKernel,
    (a, a_scale): (Words<'_, i64>, u16),
    (b, b_scale): (Words<'_, i64>, u16),
    len: usize,
) -> Option<ColumnVec> {
    let scale = a_scale.max(b_scale);
    if kernel == BinaryKernel::Mul {
        let scale = a_scale.checked_add(b_scale).filter(|scale| *scale <= types::numeric::MAX_SCALE)?;
        return decimals(scale, a, b, len, i64::checked_mul);
    }
    let (by_a, by_b) = (factor(a_scale, scale)?, factor(b_scale, scale)?);
    if kernel.is_comparison() {
        // Digits brought to a larger scale may need more than a word.
        let aligned = |a: &i64, b: &i64| (i128::from(*a) * i128::from(by_a)).cmp(&(i128::from(*b) * i128::from(by_b)));
        return Some(match (scaled(a, by_a), scaled(b, by_b)) {
            (Some(a), Some(b)) => compare_words(kernel, a, b, len, Ord::cmp),
            _ => compare_words(kernel, a, b, len, aligned),
        });
    }
    let brought = |a: i64, b: i64| Some((a.checked_mul(by_a)?, b.checked_mul(by_b)?));
    match kernel {
        BinaryKernel::Add => decimals(scale, a, b, len, |a, b| brought(a, b).and_then(|(a, b)| a.checked_add(b))),
        BinaryKernel::Sub => decimals(scale, a, b, len, |a, b| brought(a, b).and_then(|(a, b)| a.checked_sub(b))),
        _ => None,
    }
}

/// The same words, or a constant brought to another scale; none where every row would have to be.
fn scaled(words: Words<'_, i64>, by: i64) -> Option<Words<'_, i64>> {
    match words {
        words if by == 1 => Some(words),
        Words::One(value) => value.checked_mul(by).map(Words::One),
        Words::Many(..) => None,
    }
}

fn decimals(
    scale: u16,
    a: Words<'_, i64>,
    b: Words<'_, i64>,
    len: usize,
    operation: impl Fn(i64, i64) -> Option<i64>,
) -> Option<ColumnVec> {
    let nulls: Nulls = a.nulls().union(b.nulls());
    let mut fits = true;
    let mut values = map_words(a, b, len, |a, b| {
        let result = operation(a, b);
        fits &= result.is_some();
        result.unwrap_or_default()
    });
    // A NULL row holds zero, whose results fit.
    if !fits {
        return None;
    }
    hide_nulls(&mut values, &nulls);
    Some(ColumnVec::Decimal(Decimals::from_digits(scale, Primitive { values, nulls })))
}

/// Integers as numerics: the same digits, none of them after the point.
pub(crate) fn from_integers(integers: &Primitive<i64>) -> ColumnVec {
    ColumnVec::Decimal(Decimals::from_digits(0, integers.clone()))
}


#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn operand(texts: &[&str]) -> Operand {
        let datum = |text: &&str| match *text {
            "" => Datum::Null,
            text => Datum::Numeric(Numeric::parse(text).unwrap()),
        };
        match texts {
            [only] if !only.is_empty() => Operand::Value(datum(only), SqlType::NUMERIC),
            many => {
                let datums: Vec<Datum> = many.iter().map(datum).collect();
                Operand::Column(Arc::new(ColumnVec::from_datums(&SqlType::NUMERIC, &datums)))
            }
        }
    }

    const LISTS: [&[&str]; 9] = [
        &["1.50", "", "-2.25", "0.00"],
        &["2", "3", "-4", ""],
        &["9223372036854775807", "1", "2", "3"],
        &["0.0000000000000000001", "", "0.0000000000000000002", "0.0000000000000000003"],
        &["NaN", "Infinity", "-Infinity", "1"],
        &["1.5", "1.50", "", "100000000000000000000"],
        &["1.5"],
        &["922337203685477580.70"],
        &["NaN"],
    ];

    /// The definition: one value at a time.
    #[test]
    fn columns_give_what_values_give() {
        let kernels = [
            BinaryKernel::Eq,
            BinaryKernel::Ne,
            BinaryKernel::Lt,
            BinaryKernel::Le,
            BinaryKernel::Gt,
            BinaryKernel::Ge,
            BinaryKernel::Add,
            BinaryKernel::Sub,
            BinaryKernel::Mul,
        ];
        for a_list in LISTS {
            for b_list in LISTS {
                let (left, right) = (operand(a_list), operand(b_list));
                let (a, b) = (Numerics::new(&left, &SqlType::NUMERIC), Numerics::new(&right, &SqlType::NUMERIC));
                let (Some(a), Some(b)) = (a, b) else { panic!("numerics") };
                for kernel in kernels {
                    let Ok(Some(made)) = numerics(kernel, a, b, 4) else { panic!("{a_list:?} {b_list:?} {kernel:?}") };
                    for row in 0..4 {
                        let wanted = match (a.get(row), b.get(row)) {
                            (Some(a), Some(b)) => match kernel {
                                BinaryKernel::Add => Datum::Numeric(a.add(&b).unwrap()),
                                BinaryKernel::Sub => Datum::Numeric(a.sub(&b).unwrap()),
                                BinaryKernel::Mul => Datum::Numeric(a.mul(&b).unwrap()),
                                comparison => Datum::Bool(comparison.holds(a.cmp(&b))),
                            },
                            _ => Datum::Null,
                        };
                        assert_eq!(made.get_datum(row), wanted, "{a_list:?} {b_list:?} {kernel:?} {row}");
                        if let (Datum::Numeric(made), Datum::Numeric(wanted)) = (made.get_datum(row), wanted) {
                            assert!(made.is_identical(&wanted), "{a_list:?} {b_list:?} {kernel:?} {row}");
                        }
                    }
                }
            }
        }
    }
}
