//! Statistics of pairs: correlation, covariance and the line of least squares. Documentation, section 9.21, table 9.58.
//!
//! Sums of squared deviations are kept up to date row by row, as Youngs and Cramer do it: no sum of squares grows so
//! large that the deviations drown in it.

use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use super::{Accumulator, Aggregate, strict};
use crate::EvalContext;
use crate::arguments::float;
use crate::signature::{ArgType, RetType};

#[derive(Clone, Copy)]
enum Statistic {
    Count,
    Sxx,
    Syy,
    Sxy,
    AverageX,
    AverageY,
    R2,
    Slope,
    Intercept,
    CovarPop,
    CovarSamp,
    Correlation,
}

struct Pairs {
    statistic: Statistic,
    count: f64,
    sum_x: f64,
    sum_y: f64,
    sxx: f64,
    syy: f64,
    sxy: f64,
}

impl Accumulator for Pairs {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let (y, x) = (float(&args[0]), float(&args[1]));
        let (old_x, old_y) = (self.sum_x, self.sum_y);
        self.count += 1.0;
        self.sum_x += x;
        self.sum_y += y;
        if self.count > 1.0 {
            let (dx, dy) = (x * self.count - self.sum_x, y * self.count - self.sum_y);
            let scale = 1.0 / (self.count * (self.count - 1.0));
            self.sxx += dx * dx * scale;
            self.syy += dy * dy * scale;
            self.sxy += dx * dy * scale;
            // Infinite without an infinite value: too large. With one, the deviations are no numbers.
            let of_x = old_x.is_infinite() || x.is_infinite();
            let of_y = old_y.is_infinite() || y.is_infinite();
            let is_overflow = (self.sum_x.is_infinite() || self.sxx.is_infinite()) && !of_x
                || (self.sum_y.is_infinite() || self.syy.is_infinite()) && !of_y
                || self.sxy.is_infinite() && !of_x && !of_y;
            if is_overflow {
                return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
            }
            for deviation in [&mut self.sxx, &mut self.syy, &mut self.sxy] {
                if deviation.is_infinite() {
                    *deviation = f64::NAN;
                }
            }
        } else {
            // Deviations from what is no number are none either.
            if !x.is_finite() {
                (self.sxx, self.sxy) = (f64::NAN, f64::NAN);
            }
            if !y.is_finite() {
                (self.syy, self.sxy) = (f64::NAN, f64::NAN);
            }
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        let Self { count, sum_x, sum_y, sxx, syy, sxy, .. } = *self;
        let least = match self.statistic {
            Statistic::Count => 0.0,
            Statistic::CovarSamp => 2.0,
            _ => 1.0,
        };
        if count < least {
            return Ok(Datum::Null);
        }
        let unless = |null: bool, value: f64| Ok(if null { Datum::Null } else { Datum::Float(value) });
        match self.statistic {
            Statistic::Count => Ok(Datum::Int(count as i64)),
            Statistic::Sxx => unless(false, sxx),
            Statistic::Syy => unless(false, syy),
            Statistic::Sxy => unless(false, sxy),
            Statistic::AverageX => unless(false, sum_x / count),
            Statistic::AverageY => unless(false, sum_y / count),
            // Of a vertical line there is no fit, of a horizontal one it is perfect.
            Statistic::R2 => unless(sxx == 0.0, if syy == 0.0 { 1.0 } else { sxy * sxy / (sxx * syy) }),
            Statistic::Slope => unless(sxx == 0.0, sxy / sxx),
            Statistic::Intercept => unless(sxx == 0.0, (sum_y - sum_x * sxy / sxx) / count),
            Statistic::CovarPop => unless(false, sxy / count),
            Statistic::CovarSamp => unless(false, sxy / (count - 1.0)),
            Statistic::Correlation => unless(sxx == 0.0 || syy == 0.0, sxy / (sxx * syy).sqrt()),
        }
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

fn pairs(statistic: Statistic) -> Box<dyn Accumulator> {
    Box::new(Pairs { statistic, count: 0.0, sum_x: 0.0, sum_y: 0.0, sxx: 0.0, syy: 0.0, sxy: 0.0 })
}

const F8: ArgType = ArgType::T(SqlType::Float8);

macro_rules! of_pairs {
    ($([$name:literal, $oid:literal, $ret:expr, $statistic:expr];)*) => {
        &[$(strict($name, $oid, &[F8, F8], RetType::T($ret), |_| pairs($statistic))),*]
    };
}

/// The first argument is y, the second x.
pub(super) static AGGREGATES: &[Aggregate] = of_pairs! {
    ["regr_count", 2818, SqlType::Int8, Statistic::Count];
    ["regr_sxx", 2819, SqlType::Float8, Statistic::Sxx];
    ["regr_syy", 2820, SqlType::Float8, Statistic::Syy];
    ["regr_sxy", 2821, SqlType::Float8, Statistic::Sxy];
    ["regr_avgx", 2822, SqlType::Float8, Statistic::AverageX];
    ["regr_avgy", 2823, SqlType::Float8, Statistic::AverageY];
    ["regr_r2", 2824, SqlType::Float8, Statistic::R2];
    ["regr_slope", 2825, SqlType::Float8, Statistic::Slope];
    ["regr_intercept", 2826, SqlType::Float8, Statistic::Intercept];
    ["covar_pop", 2827, SqlType::Float8, Statistic::CovarPop];
    ["covar_samp", 2828, SqlType::Float8, Statistic::CovarSamp];
    ["corr", 2829, SqlType::Float8, Statistic::Correlation];
};
