//! Variance and deviation, exact over integers and numerics, by Youngs and Cramer's update over floats.

use types::{Datum, Numeric, SqlResult, SqlType};

use super::strict;
use crate::EvalContext;
use crate::arguments::{float, int, numeric};
use crate::signature::{Accumulator, Aggregate, ArgType, CallTypes, RetType};

/// Which of the four.
#[derive(Clone, Copy)]
enum Statistic {
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
}

impl Statistic {
    fn is_sample(self) -> bool {
        matches!(self, Self::VarSamp | Self::StddevSamp)
    }

    fn is_deviation(self) -> bool {
        matches!(self, Self::StddevPop | Self::StddevSamp)
    }
}

struct Exact {
    rows: i64,
    sum: Numeric,
    squares: Numeric,
    statistic: Statistic,
}

impl Accumulator for Exact {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let converted;
        let value = match &args[0] {
            Datum::Int(_) => {
                converted = Numeric::from_i64(int(&args[0]));
                &converted
            }
            other => numeric(other),
        };
        self.rows += 1;
        self.sum = self.sum.add(value)?;
        self.squares = self.squares.add(&value.mul(value)?)?;
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        let divisor_rows = self.rows - i64::from(self.statistic.is_sample());
        if divisor_rows <= 0 {
            return Ok(Datum::Null);
        }
        // (n Σx² − (Σx)²) / (n · divisor), as PostgreSQL computes it.
        let rows = Numeric::from_i64(self.rows);
        let spread = rows.mul(&self.squares)?.sub(&self.sum.mul(&self.sum)?)?;
        if !spread.is_nan() && spread.signum() <= 0 {
            return Ok(Datum::Numeric(Numeric::ZERO));
        }
        let variance = spread.div(&rows.mul(&Numeric::from_i64(divisor_rows))?)?;
        // The root keeps the variance's scale, not the one it would choose by itself.
        let shown = if self.statistic.is_deviation() {
            variance.sqrt()?.round(i32::from(variance.scale()))
        } else {
            variance
        };
        Ok(Datum::Numeric(shown))
    }

    fn memory_bytes(&self) -> usize {
        self.sum.heap_bytes() + self.squares.heap_bytes()
    }
}

struct Floating {
    rows: f64,
    sum: f64,
    squares: f64,
    statistic: Statistic,
}

impl Accumulator for Floating {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let value = float(&args[0]);
        self.rows += 1.0;
        self.sum += value;
        if self.rows > 1.0 {
            let difference = value * self.rows - self.sum;
            self.squares += difference * difference / (self.rows * (self.rows - 1.0));
        } else if !value.is_finite() {
            self.squares = f64::NAN;
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        let divisor = if self.statistic.is_sample() { self.rows - 1.0 } else { self.rows };
        if divisor <= 0.0 {
            return Ok(Datum::Null);
        }
        let variance = self.squares / divisor;
        Ok(Datum::Float(if self.statistic.is_deviation() { variance.sqrt() } else { variance }))
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

fn accumulator(types: &CallTypes, statistic: Statistic) -> Box<dyn Accumulator> {
    match types.args[0] {
        SqlType::Float4 | SqlType::Float8 => Box::new(Floating { rows: 0.0, sum: 0.0, squares: 0.0, statistic }),
        _ => Box::new(Exact { rows: 0, sum: Numeric::ZERO, squares: Numeric::ZERO, statistic }),
    }
}

macro_rules! statistics {
    ($([$name:literal, $first_oid:literal, $statistic:expr];)*) => {
        &[$(
            strict($name, $first_oid, &[ArgType::T(SqlType::Int8)], RetType::T(SqlType::NUMERIC), |t| accumulator(t, $statistic)),
            strict($name, $first_oid + 1, &[ArgType::T(SqlType::Int4)], RetType::T(SqlType::NUMERIC), |t| accumulator(t, $statistic)),
            strict($name, $first_oid + 2, &[ArgType::T(SqlType::Int2)], RetType::T(SqlType::NUMERIC), |t| accumulator(t, $statistic)),
            strict($name, $first_oid + 3, &[ArgType::T(SqlType::Float4)], RetType::T(SqlType::Float8), |t| accumulator(t, $statistic)),
            strict($name, $first_oid + 4, &[ArgType::T(SqlType::Float8)], RetType::T(SqlType::Float8), |t| accumulator(t, $statistic)),
            strict($name, $first_oid + 5, &[ArgType::T(SqlType::NUMERIC)], RetType::T(SqlType::NUMERIC), |t| accumulator(t, $statistic)),
        )*]
    };
}

pub(super) static AGGREGATES: &[Aggregate] = statistics! {
    ["var_pop", 2718, Statistic::VarPop];
    ["var_samp", 2641, Statistic::VarSamp];
    ["variance", 2148, Statistic::VarSamp];
    ["stddev_pop", 2724, Statistic::StddevPop];
    ["stddev_samp", 2712, Statistic::StddevSamp];
    ["stddev", 2154, Statistic::StddevSamp];
};
