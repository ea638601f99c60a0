//! A column of numerics as machine words: most columns of a table have one scale, and digits that fit 64 bits.
//!
//! **Invariant (one-scale):** every value of the column has its scale. A value of another scale, or one that is no
//! such number (NaN, an infinity, more digits), does not fit: [`ColumnVec`](crate::ColumnVec) then keeps datums instead.
//! A column without values has no scale yet and takes that of the first.

use crate::numeric::Numeric;
use crate::vector::{Nulls, Primitive};

/// Numerics of one scale whose digits fit a word.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decimals {
    scale: u16,
    pub digits: Primitive<i64>,
}

impl Decimals {
    #[must_use]
    pub const fn new(scale: u16) -> Self {
        Self { scale, digits: Primitive::new() }
    }

    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self { scale: 0, digits: Primitive::with_capacity(rows) }
    }

    #[must_use]
    pub const fn from_digits(scale: u16, digits: Primitive<i64>) -> Self {
        Self { scale, digits }
    }

    /// Digits after the point of every value.
    #[must_use]
    pub const fn scale(&self) -> u16 {
        self.scale
    }

    #[must_use]
    pub const fn nulls(&self) -> &Nulls {
        &self.digits.nulls
    }

    /// Whether all rows are NULL, or there are none.
    #[must_use]
    pub fn has_no_values(&self) -> bool {
        self.digits.values.len() == self.digits.nulls.count()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.digits.values.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digits.values.is_empty()
    }

    #[must_use]
    pub fn get(&self, row: usize) -> Option<Numeric> {
        self.digits.get(row).map(|digits| Numeric::small(digits, self.scale))
    }

    /// Whether a value of this scale fits, which becomes the column's scale where it has none yet.
    fn takes(&mut self, scale: u16) -> bool {
        if scale != self.scale && self.has_no_values() {
            self.scale = scale;
        }
        scale == self.scale
    }

    /// False where the value does not fit: nothing is pushed.
    #[must_use]
    pub fn try_push(&mut self, digits: i64, scale: u16) -> bool {
        let fits = scale == self.scale || self.takes(scale);
        if fits {
            self.digits.push(digits);
        }
        fits
    }

    /// False where the values do not fit: nothing is appended.
    #[must_use]
    pub(crate) fn try_append(&mut self, other: &Self, from: usize, len: usize) -> bool {
        let fits = other.has_no_values() || self.takes(other.scale);
        if fits {
            self.digits.append(&other.digits, from, len);
        }
        fits
    }

    #[must_use]
    pub(crate) fn gather(&self, rows: &[u32]) -> Self {
        Self { scale: self.scale, digits: self.digits.gather(rows) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datum::Datum;
    use crate::sql_type::SqlType;
    use crate::vector::ColumnVec;

    fn column(texts: &[&str]) -> ColumnVec {
        let datum = |text: &&str| match *text {
            "" => Datum::Null,
            text => Datum::Numeric(Numeric::parse(text).unwrap()),
        };
        ColumnVec::from_datums(&SqlType::NUMERIC, &texts.iter().map(datum).collect::<Vec<_>>())
    }

    fn texts(column: &ColumnVec) -> Vec<String> {
        let text = |row| match column.get_datum(row) {
            Datum::Numeric(value) => value.to_string(),
            _ => String::new(),
        };
        (0..column.len()).map(text).collect()
    }

    #[test]
    fn values_of_one_scale_are_words() {
        let made = column(&["", "1.50", "", "-2.25"]);
        assert!(matches!(&made, ColumnVec::Decimal(decimals) if decimals.scale() == 2));
        assert_eq!(texts(&made), ["", "1.50", "", "-2.25"]);
    }

    #[test]
    fn other_values_make_datums_of_the_column() {
        for last in ["1.5", "NaN", "Infinity", "123456789012345678901234567890.00"] {
            let made = column(&["1.50", "", last]);
            assert!(matches!(made, ColumnVec::Datum(_)), "{last}");
            assert_eq!(texts(&made), ["1.50", "", last]);
        }
    }

    #[test]
    fn columns_of_unlike_form_are_appended() {
        let lists: [&[&str]; 5] = [&["1.50", ""], &["", ""], &["2", "3"], &["NaN", "1.50"], &[]];
        for a in lists {
            for b in lists {
                let mut appended = column(a);
                appended.append(&column(b));
                assert_eq!(texts(&appended), [a, b].concat(), "{a:?} {b:?}");
                let mut part = column(a);
                if !b.is_empty() {
                    part.append_range(&column(b), 1, 1);
                    assert_eq!(texts(&part), [a, &b[1..]].concat(), "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_column_that_was_emptied_takes_another_scale() {
        let mut made = column(&["1.50", "2.50"]);
        made.truncate(0);
        made.push(&Datum::Numeric(Numeric::parse("7").unwrap()));
        assert!(matches!(&made, ColumnVec::Decimal(decimals) if decimals.scale() == 0));
        assert_eq!(texts(&made.gather(&[0, 0])), ["7", "7"]);
        assert_eq!(made.empty_like().len(), 0);
    }
}
