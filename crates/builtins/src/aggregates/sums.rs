//! count, sum and avg. Sums of integers are exact in 128 bits; PostgreSQL's result types.

use types::money::money_out_of_range;
use types::{Datum, Interval, Numeric, SqlError, SqlResult, SqlState, SqlType, datetime};

use super::{null_aware, strict};
use crate::EvalContext;
use crate::arguments::{float, int, interval, numeric};
use crate::signature::{Accumulator, Aggregate, ArgType, RetType};

const fn t(ty: SqlType) -> ArgType {
    ArgType::T(ty)
}

const fn r(ty: SqlType) -> RetType {
    RetType::T(ty)
}

#[derive(Default)]
struct Count {
    rows: i64,
}

impl Accumulator for Count {
    fn add(&mut self, _: &EvalContext<'_>, _: &[Datum]) -> SqlResult<()> {
        self.rows += 1;
        Ok(())
    }

    fn remove(&mut self, _: &EvalContext<'_>, _: &[Datum]) -> SqlResult<bool> {
        self.rows -= 1;
        Ok(true)
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(Datum::Int(self.rows))
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

/// What a sum of integers becomes in the end.
#[derive(Clone, Copy)]
enum IntegerResult {
    Bigint,
    Numeric,
    Average,
    Money,
}

struct IntegerSum {
    sum: i128,
    rows: i64,
    result: IntegerResult,
}

impl IntegerSum {
    fn new(result: IntegerResult) -> Box<dyn Accumulator> {
        Box::new(Self { sum: 0, rows: 0, result })
    }
}

impl Accumulator for IntegerSum {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        // 2^63 rows of 2^63 each still fit: no check needed.
        self.sum += i128::from(int(&args[0]));
        self.rows += 1;
        Ok(())
    }

    fn remove(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<bool> {
        self.sum -= i128::from(int(&args[0]));
        self.rows -= 1;
        Ok(true)
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        if self.rows == 0 {
            return Ok(Datum::Null);
        }
        match self.result {
            IntegerResult::Bigint => i64::try_from(self.sum)
                .map(Datum::Int)
                .map_err(|_| SqlError::new(SqlState::NumericValueOutOfRange, "bigint out of range")),
            IntegerResult::Money => i64::try_from(self.sum).map(Datum::Int).map_err(|_| money_out_of_range()),
            IntegerResult::Numeric => Ok(Datum::Numeric(Numeric::from_i128(self.sum, 0))),
            IntegerResult::Average => {
                Numeric::from_i128(self.sum, 0).div(&Numeric::from_i64(self.rows)).map(Datum::Numeric)
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

struct NumericSum {
    sum: Numeric,
    rows: i64,
    average: bool,
    /// How many of the rows have the sum's scale: without them it would have a smaller one.
    rows_of_scale: i64,
}

impl NumericSum {
    fn new(average: bool) -> Box<dyn Accumulator> {
        Box::new(Self { sum: Numeric::ZERO, rows: 0, average, rows_of_scale: 0 })
    }
}

impl Accumulator for NumericSum {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let value = numeric(&args[0]);
        if self.rows == 0 || value.scale() > self.sum.scale() {
            self.rows_of_scale = 0;
        }
        self.sum = self.sum.add(value)?;
        self.rows += 1;
        self.rows_of_scale += i64::from(value.scale() == self.sum.scale());
        Ok(())
    }

    fn remove(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<bool> {
        let value = numeric(&args[0]);
        let has_scale = value.scale() == self.sum.scale();
        // Nothing can be taken from what is not finite, and nobody knows which scale is the next.
        if !value.is_finite() || !self.sum.is_finite() || (has_scale && self.rows_of_scale == 1 && self.rows > 1) {
            return Ok(false);
        }
        self.rows -= 1;
        self.rows_of_scale -= i64::from(has_scale);
        self.sum = if self.rows == 0 { Numeric::ZERO } else { self.sum.sub(value)? };
        Ok(true)
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        match self.rows {
            0 => Ok(Datum::Null),
            rows if self.average => self.sum.div(&Numeric::from_i64(rows)).map(Datum::Numeric),
            _ => Ok(Datum::Numeric(self.sum.clone())),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.sum.heap_bytes()
    }
}

#[derive(Default)]
struct FloatSum {
    sum: f64,
    rows: i64,
    average: bool,
    single: bool,
}

impl Accumulator for FloatSum {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let value = float(&args[0]);
        let before = self.sum;
        // The sum of float4 is one.
        self.sum = if self.single { f64::from(self.sum as f32 + value as f32) } else { self.sum + value };
        self.rows += 1;
        if self.sum.is_infinite() && !before.is_infinite() && !value.is_infinite() {
            return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(match self.rows {
            0 => Datum::Null,
            rows if self.average => Datum::Float(self.sum / rows as f64),
            _ => Datum::Float(self.sum),
        })
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

#[derive(Default)]
struct IntervalSum {
    sum: Interval,
    rows: i64,
    average: bool,
}

impl Accumulator for IntervalSum {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        self.sum = datetime::interval_add(self.sum, interval(&args[0]))?;
        self.rows += 1;
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        match self.rows {
            0 => Ok(Datum::Null),
            rows if self.average => datetime::interval_div(self.sum, rows as f64).map(Datum::Interval),
            _ => Ok(Datum::Interval(self.sum)),
        }
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

pub(super) static AGGREGATES: &[Aggregate] = &[
    null_aware("count", 2803, &[], r(SqlType::Int8), |_| Box::new(Count::default())),
    strict("count", 2147, &[ArgType::Any], r(SqlType::Int8), |_| Box::new(Count::default())),
    strict("sum", 2107, &[t(SqlType::Int8)], r(SqlType::NUMERIC), |_| IntegerSum::new(IntegerResult::Numeric)),
    strict("sum", 2108, &[t(SqlType::Int4)], r(SqlType::Int8), |_| IntegerSum::new(IntegerResult::Bigint)),
    strict("sum", 2109, &[t(SqlType::Int2)], r(SqlType::Int8), |_| IntegerSum::new(IntegerResult::Bigint)),
    strict("sum", 2110, &[t(SqlType::Float4)], r(SqlType::Float4), |_| {
        Box::new(FloatSum { single: true, ..FloatSum::default() })
    }),
    strict("sum", 2111, &[t(SqlType::Float8)], r(SqlType::Float8), |_| Box::new(FloatSum::default())),
    strict("sum", 2112, &[t(SqlType::Money)], r(SqlType::Money), |_| IntegerSum::new(IntegerResult::Money)),
    strict("sum", 2113, &[t(SqlType::Interval)], r(SqlType::Interval), |_| Box::new(IntervalSum::default())),
    strict("sum", 2114, &[t(SqlType::NUMERIC)], r(SqlType::NUMERIC), |_| NumericSum::new(false)),
    strict("avg", 2100, &[t(SqlType::Int8)], r(SqlType::NUMERIC), |_| IntegerSum::new(IntegerResult::Average)),
    strict("avg", 2101, &[t(SqlType::Int4)], r(SqlType::NUMERIC), |_| IntegerSum::new(IntegerResult::Average)),
    strict("avg", 2102, &[t(SqlType::Int2)], r(SqlType::NUMERIC), |_| IntegerSum::new(IntegerResult::Average)),
    strict("avg", 2103, &[t(SqlType::NUMERIC)], r(SqlType::NUMERIC), |_| NumericSum::new(true)),
    strict("avg", 2104, &[t(SqlType::Float4)], r(SqlType::Float8), |_| {
        Box::new(FloatSum { average: true, ..FloatSum::default() })
    }),
    strict("avg", 2105, &[t(SqlType::Float8)], r(SqlType::Float8), |_| {
        Box::new(FloatSum { average: true, ..FloatSum::default() })
    }),
    strict("avg", 2106, &[t(SqlType::Interval)], r(SqlType::Interval), |_| {
        Box::new(IntervalSum { average: true, ..IntervalSum::default() })
    }),
];
