//! The commonest aggregates over plain columns, without a call or a datum for each row.
//!
//! Sums of words (integers, and numerics of one scale) are kept in 128 bits, which no table's rows overflow. A sum of
//! numerics takes its digits over to a numeric of any length whenever the scale changes.

use std::sync::Arc;

use builtins::Aggregate;
use plan::AggregateCall;
use types::compare::compare_floats;
use types::{ColumnVec, Datum, IntKind, Numeric, Primitive, SqlError, SqlResult, SqlState, SqlType};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    CountRows,
    Count,
    /// int2 and int4, whose sums must fit 64 bits.
    Sum,
    Min,
    Max,
    /// Of numeric and int8.
    NumericSum,
    /// Of numeric and the integers.
    NumericAverage,
    NumericMin,
    NumericMax,
    /// float8.
    FloatSum,
    FloatAverage,
    FloatMin,
    FloatMax,
}

/// One state for each group.
pub(crate) struct FastAggregate {
    kind: Kind,
    int_kind: IntKind,
    /// Counts of rows, or the values of `Min` and `Max`.
    values: Vec<i64>,
    has_value: Vec<bool>,
    /// Sums of words of `scale`, and which groups have any.
    words: Vec<i128>,
    has_words: Vec<bool>,
    scale: u16,
    /// Sums of numerics that are no words, or the values of `NumericMin` and `NumericMax`.
    numerics: Vec<Numeric>,
    floats: Vec<f64>,
}

fn kind_of(aggregate: &Aggregate, args: &[SqlType]) -> Option<Kind> {
    let is_words = |ty: &SqlType| matches!(ColumnVec::new(ty), ColumnVec::Int(..));
    match (aggregate.signature.name, args) {
        ("count", []) => Some(Kind::CountRows),
        ("count", [_]) => Some(Kind::Count),
        ("sum", [SqlType::Int2 | SqlType::Int4]) => Some(Kind::Sum),
        ("sum", [SqlType::Numeric(_) | SqlType::Int8]) => Some(Kind::NumericSum),
        ("avg", [SqlType::Numeric(_) | SqlType::Int2 | SqlType::Int4 | SqlType::Int8]) => Some(Kind::NumericAverage),
        ("sum", [SqlType::Float8]) => Some(Kind::FloatSum),
        ("avg", [SqlType::Float8]) => Some(Kind::FloatAverage),
        ("min", [SqlType::Numeric(_)]) => Some(Kind::NumericMin),
        ("max", [SqlType::Numeric(_)]) => Some(Kind::NumericMax),
        ("min", [SqlType::Float8]) => Some(Kind::FloatMin),
        ("max", [SqlType::Float8]) => Some(Kind::FloatMax),
        ("min", [ty]) if is_words(ty) => Some(Kind::Min),
        ("max", [ty]) if is_words(ty) => Some(Kind::Max),
        _ => None,
    }
}

/// The rows of a batch: the group of each, and whether a FILTER keeps it.
pub(crate) struct Rows<'r> {
    pub(crate) groups: &'r [u32],
    pub(crate) keep: Option<&'r dyn Fn(usize) -> bool>,
}

impl Rows<'_> {
    fn keeps(&self, row: usize) -> bool {
        self.keep.is_none_or(|keep| keep(row))
    }

    /// Calls `add` with the group and the value of each row that counts.
    fn each<T: Copy + Default>(&self, values: &Primitive<T>, mut add: impl FnMut(usize, T)) {
        if !values.nulls.any() && self.keep.is_none() {
            for (group, value) in self.groups.iter().zip(&values.values) {
                add(*group as usize, *value);
            }
            return;
        }
        for (row, group) in self.groups.iter().enumerate() {
            if let Some(value) = values.get(row)
                && self.keeps(row)
            {
                add(*group as usize, value);
            }
        }
    }
}

fn unlike_column() -> SqlError {
    SqlError::internal("datum-matches-type: an aggregate over a column of another representation")
}

impl FastAggregate {
    pub(crate) fn new(call: &AggregateCall) -> Option<Self> {
        Some(Self::of_kind(kind_of(call.aggregate, &call.types.args)?, call.types.args.first()))
    }

    fn of_kind(kind: Kind, arg: Option<&SqlType>) -> Self {
        // Counts and sums are integers, whatever their argument is.
        let int_kind = match arg.map(ColumnVec::new) {
            Some(ColumnVec::Int(int_kind, _)) if matches!(kind, Kind::Min | Kind::Max) => int_kind,
            _ => IntKind::Int,
        };
        Self {
            kind,
            int_kind,
            values: Vec::new(),
            has_value: Vec::new(),
            words: Vec::new(),
            has_words: Vec::new(),
            scale: 0,
            numerics: Vec::new(),
            floats: Vec::new(),
        }
    }

    pub(crate) fn resize(&mut self, groups: usize) {
        self.values.resize(groups, 0);
        match self.kind {
            Kind::CountRows | Kind::Count => {}
            Kind::Sum | Kind::Min | Kind::Max => self.has_value.resize(groups, false),
            Kind::NumericSum | Kind::NumericAverage => {
                self.words.resize(groups, 0);
                self.has_words.resize(groups, false);
                self.numerics.resize(groups, Numeric::ZERO);
            }
            Kind::NumericMin | Kind::NumericMax => self.numerics.resize(groups, Numeric::ZERO),
            Kind::FloatSum | Kind::FloatAverage | Kind::FloatMin | Kind::FloatMax => self.floats.resize(groups, 0.0),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.values.capacity() * 9
            + self.words.capacity() * 17
            + self.floats.capacity() * 8
            + self.numerics.capacity() * size_of::<Numeric>()
    }

    /// Adds rows to their groups.
    pub(crate) fn update(&mut self, rows: &Rows<'_>, args: &[Arc<ColumnVec>]) -> SqlResult<()> {
        let arg = args.first().map(AsRef::as_ref);
        match (self.kind, arg) {
            (Kind::CountRows, _) => self.count(rows, None),
            (Kind::Count, arg) => self.count(rows, arg),
            (Kind::Sum, Some(ColumnVec::Int(_, ints))) => return self.sum(rows, ints),
            (Kind::Min, Some(ColumnVec::Int(_, ints))) => self.extreme(rows, ints, |new, kept| new < kept),
            (Kind::Max, Some(ColumnVec::Int(_, ints))) => self.extreme(rows, ints, |new, kept| new > kept),
            (Kind::NumericSum | Kind::NumericAverage, Some(ColumnVec::Int(_, ints))) => self.add_words(rows, ints),
            (Kind::NumericSum | Kind::NumericAverage, Some(ColumnVec::Decimal(decimals))) => {
                if !decimals.has_no_values() {
                    self.rescale(decimals.scale())?;
                    self.add_words(rows, &decimals.digits);
                }
            }
            (Kind::NumericSum | Kind::NumericAverage, Some(ColumnVec::Datum(datums))) => {
                for (row, group) in rows.groups.iter().enumerate() {
                    if let Some(value) = datums[row].as_numeric()
                        && rows.keeps(row)
                    {
                        let group = *group as usize;
                        self.numerics[group] = self.numerics[group].add(value)?;
                        self.values[group] += 1;
                    }
                }
            }
            (Kind::NumericMin | Kind::NumericMax, Some(column)) => self.numeric_extreme(rows, column)?,
            (Kind::FloatSum | Kind::FloatAverage, Some(ColumnVec::Float(floats))) => return self.add_floats(rows, floats),
            (Kind::FloatMin, Some(ColumnVec::Float(floats))) => {
                self.float_extreme(rows, floats, |new, kept| compare_floats(new, kept).is_le());
            }
            (Kind::FloatMax, Some(ColumnVec::Float(floats))) => {
                self.float_extreme(rows, floats, |new, kept| compare_floats(new, kept).is_ge());
            }
            _ => return Err(unlike_column()),
        }
        Ok(())
    }

    fn count(&mut self, rows: &Rows<'_>, arg: Option<&ColumnVec>) {
        if let ([only], None, None) = (&mut self.values[..], arg, rows.keep) {
            *only += rows.groups.len() as i64;
            return;
        }
        for (row, group) in rows.groups.iter().enumerate() {
            if rows.keeps(row) && !arg.is_some_and(|arg| arg.is_null(row)) {
                self.values[*group as usize] += 1;
            }
        }
    }

    fn sum(&mut self, rows: &Rows<'_>, ints: &Primitive<i64>) -> SqlResult<()> {
        let mut fits = true;
        rows.each(ints, |group, value| {
            let sum = self.values[group].checked_add(value);
            fits &= sum.is_some();
            self.values[group] = sum.unwrap_or_default();
            self.has_value[group] = true;
        });
        if fits { Ok(()) } else { Err(SqlError::new(SqlState::NumericValueOutOfRange, "bigint out of range")) }
    }

    fn extreme(&mut self, rows: &Rows<'_>, ints: &Primitive<i64>, is_better: impl Fn(i64, i64) -> bool) {
        rows.each(ints, |group, value| {
            if !self.has_value[group] || is_better(value, self.values[group]) {
                self.values[group] = value;
                self.has_value[group] = true;
            }
        });
    }

    /// Words that are added from now on have this scale.
    fn rescale(&mut self, scale: u16) -> SqlResult<()> {
        if scale == self.scale {
            return Ok(());
        }
        for group in 0..self.words.len() {
            self.numerics[group] = self.numeric_sum(group)?;
        }
        self.words.fill(0);
        self.has_words.fill(false);
        self.scale = scale;
        Ok(())
    }

    /// All of a group's rows.
    fn numeric_sum(&self, group: usize) -> SqlResult<Numeric> {
        if !self.has_words[group] {
            return Ok(self.numerics[group].clone());
        }
        self.numerics[group].add(&Numeric::from_i128(self.words[group], self.scale))
    }

    fn add_words(&mut self, rows: &Rows<'_>, words: &Primitive<i64>) {
        rows.each(words, |group, value| {
            // 2^63 rows of 2^63 each still fit: no check needed.
            self.words[group] += i128::from(value);
            self.values[group] += 1;
            self.has_words[group] = true;
        });
    }

    fn numeric_extreme(&mut self, rows: &Rows<'_>, column: &ColumnVec) -> SqlResult<()> {
        for (row, group) in rows.groups.iter().enumerate() {
            let value = match column {
                ColumnVec::Decimal(decimals) => decimals.get(row),
                ColumnVec::Datum(datums) => datums[row].as_numeric().cloned(),
                _ => return Err(unlike_column()),
            };
            let Some(value) = value.filter(|_| rows.keeps(row)) else { continue };
            let group = *group as usize;
            let order = value.cmp(&self.numerics[group]);
            // Of equal ones, which may print differently, the last is kept.
            let is_better = if self.kind == Kind::NumericMin { order.is_le() } else { order.is_ge() };
            if self.values[group] == 0 || is_better {
                self.numerics[group] = value;
            }
            self.values[group] += 1;
        }
        Ok(())
    }

    fn add_floats(&mut self, rows: &Rows<'_>, floats: &Primitive<f64>) -> SqlResult<()> {
        let mut fits = true;
        rows.each(floats, |group, value| {
            let before = self.floats[group];
            let sum = before + value;
            fits &= !sum.is_infinite() || before.is_infinite() || value.is_infinite();
            self.floats[group] = sum;
            self.values[group] += 1;
        });
        if fits { Ok(()) } else { Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow")) }
    }

    fn float_extreme(&mut self, rows: &Rows<'_>, floats: &Primitive<f64>, is_better: impl Fn(f64, f64) -> bool) {
        rows.each(floats, |group, value| {
            if self.values[group] == 0 || is_better(value, self.floats[group]) {
                self.floats[group] = value;
            }
            self.values[group] += 1;
        });
    }

    pub(crate) fn finish(&self, group: usize) -> SqlResult<Datum> {
        let count = self.values[group];
        Ok(match self.kind {
            Kind::CountRows | Kind::Count => Datum::Int(count),
            Kind::Sum | Kind::Min | Kind::Max if !self.has_value[group] => Datum::Null,
            Kind::Sum => Datum::Int(count),
            Kind::Min | Kind::Max => self.int_kind.datum(self.values[group]),
            _ if count == 0 => Datum::Null,
            Kind::NumericSum => Datum::Numeric(self.numeric_sum(group)?),
            Kind::NumericAverage => Datum::Numeric(self.numeric_sum(group)?.div(&Numeric::from_i64(count))?),
            Kind::NumericMin | Kind::NumericMax => Datum::Numeric(self.numerics[group].clone()),
            Kind::FloatSum | Kind::FloatMin | Kind::FloatMax => Datum::Float(self.floats[group]),
            Kind::FloatAverage => Datum::Float(self.floats[group] / count as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use types::to_text;

    use super::*;

    fn column(ty: &SqlType, texts: &[&str]) -> Arc<ColumnVec> {
        let formatting = types::Formatting::default();
        let datum = |text: &&str| match *text {
            "" => Datum::Null,
            text => types::parse_text(ty, text, &formatting).unwrap(),
        };
        Arc::new(ColumnVec::from_datums(ty, &texts.iter().map(datum).collect::<Vec<_>>()))
    }

    fn results(kind: Kind, ty: &SqlType, batches: &[&[&str]]) -> Vec<String> {
        let mut state = FastAggregate::of_kind(kind, Some(ty));
        for texts in batches {
            // Even rows and odd ones.
            let groups: Vec<u32> = (0..texts.len() as u32).map(|row| row % 2).collect();
            state.resize(2);
            state.update(&Rows { groups: &groups, keep: None }, &[column(ty, texts)]).unwrap();
        }
        let text = |group| match state.finish(group).unwrap() {
            Datum::Null => String::new(),
            value => to_text(&value.implied_type(), &value, &types::Formatting::default()),
        };
        vec![text(0), text(1)]
    }

    /// As PostgreSQL answers.
    #[test]
    fn sums_keep_the_largest_scale_of_their_own_rows() {
        let numeric = SqlType::NUMERIC;
        assert_eq!(results(Kind::NumericSum, &numeric, &[&["1.5", "", "2.5"], &["1.25", "7"]]), ["5.25", "7"]);
        assert_eq!(results(Kind::NumericSum, &numeric, &[&["1.5", "2"], &["", "3.000"], &["0.25", "1"]]), ["1.75", "6.000"]);
        assert_eq!(results(Kind::NumericSum, &numeric, &[&["NaN", "1"], &["1.5", "2"]]), ["NaN", "3"]);
        assert_eq!(results(Kind::NumericSum, &numeric, &[&["", ""]]), ["", ""]);
        assert_eq!(
            results(Kind::NumericSum, &SqlType::Int8, &[&["9223372036854775807", ""], &["9223372036854775807", "1"]]),
            ["18446744073709551614", "1"]
        );
        assert_eq!(results(Kind::NumericAverage, &SqlType::Int4, &[&["1", "2", "2"]]), ["1.5000000000000000", "2.0000000000000000"]);
    }

    #[test]
    fn extremes_know_nan_and_nulls() {
        let numeric = SqlType::NUMERIC;
        assert_eq!(results(Kind::NumericMin, &numeric, &[&["2.0", "NaN"], &["1.50", "5"], &["", ""]]), ["1.50", "5"]);
        assert_eq!(results(Kind::NumericMax, &numeric, &[&["2.0", "NaN"], &["1.50", "5"]]), ["2.0", "NaN"]);
        assert_eq!(results(Kind::NumericMax, &numeric, &[&["1.50", "2", "1.5", "2.0"]]), ["1.5", "2.0"]);
        assert_eq!(results(Kind::FloatMax, &SqlType::Float8, &[&["1", "-Infinity", "NaN", ""]]), ["NaN", "-Infinity"]);
        assert_eq!(results(Kind::FloatMin, &SqlType::Float8, &[&["1", "", "NaN", ""]]), ["1", ""]);
        assert_eq!(results(Kind::FloatAverage, &SqlType::Float8, &[&["1", "3", "2", ""]]), ["1.5", "3"]);
    }

    #[test]
    fn sums_out_of_range_are_errors() {
        let mut state = FastAggregate::of_kind(Kind::FloatSum, Some(&SqlType::Float8));
        state.resize(1);
        let rows = Rows { groups: &[0, 0], keep: None };
        let error = state.update(&rows, &[column(&SqlType::Float8, &["1e308", "1e308"])]).unwrap_err();
        assert_eq!(error.code(), SqlState::NumericValueOutOfRange);
        let huge = Datum::Int(i64::MAX);
        let ints = Arc::new(ColumnVec::from_datums(&SqlType::Int8, &[huge.clone(), huge]));
        let mut state = FastAggregate::of_kind(Kind::Sum, Some(&SqlType::Int4));
        state.resize(1);
        assert_eq!(state.update(&rows, &[ints]).unwrap_err().code(), SqlState::NumericValueOutOfRange);
    }

    #[test]
    fn a_filter_leaves_rows_out() {
        let mut state = FastAggregate::of_kind(Kind::NumericSum, Some(&SqlType::NUMERIC));
        state.resize(1);
        let rows = Rows { groups: &[0, 0, 0], keep: Some(&|row: usize| row != 1) };
        state.update(&rows, &[column(&SqlType::NUMERIC, &["1.5", "100", "2.5"])]).unwrap();
        state.update(&rows, &[column(&SqlType::NUMERIC, &["1.5", "100.5", "2.5"])]).unwrap();
        let sum = state.finish(0).unwrap();
        assert_eq!(to_text(&SqlType::NUMERIC, &sum, &types::Formatting::default()), "8.0");
    }
}
