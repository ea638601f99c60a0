//! Aggregates WITHIN GROUP: percentiles and the mode of ordered rows, and the place that a row which is not there would
//! have among them.
//!
//! The arguments of an ordered set are its direct ones, then those of WITHIN GROUP, and rows come in their order. Of the
//! hypothetical ones the first argument says how each key is ordered, a character for each ([`key_flags`]); then come the
//! keys and, of the same types, what stands for the row that is not there.

use std::cmp::Ordering;

use types::datetime::{interval_add, interval_mul, interval_sub};
use types::{Array, Datum, SqlError, SqlResult, SqlState, SqlType, compare};

use super::null_aware;
use crate::EvalContext;
use crate::arguments::float;
use crate::signature::{Accumulator, Aggregate, AggregateKind, ArgType, CallTypes, RetType};

/// The values of the group in their order, and the fractions.
struct Percentile {
    values: Vec<Datum>,
    bytes: usize,
    /// Of the first row; they are the same for all.
    fractions: Option<Datum>,
    pick: fn(&[Datum], f64) -> SqlResult<Datum>,
}

impl Accumulator for Percentile {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        if self.fractions.is_none() {
            self.fractions = Some(args[0].clone());
        }
        if !args[1].is_null() {
            self.bytes += size_of::<Datum>() + args[1].heap_bytes();
            self.values.push(args[1].clone());
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        match &self.fractions {
            None | Some(Datum::Null) => Ok(Datum::Null),
            Some(Datum::Array(fractions)) => {
                if self.values.is_empty() {
                    return Ok(Datum::Null);
                }
                let picked = fractions.elements().iter().map(|fraction| self.pick(fraction));
                let array = Array::with_dimensions(fractions.dimensions(), picked.collect::<SqlResult<_>>()?)?;
                Ok(Datum::Array(array.into()))
            }
            Some(fraction) => self.pick(fraction),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

impl Percentile {
    fn pick(&self, fraction: &Datum) -> SqlResult<Datum> {
        if fraction.is_null() {
            return Ok(Datum::Null);
        }
        let fraction = float(fraction);
        if !(0.0..=1.0).contains(&fraction) {
            let message = format!("percentile value {fraction} is not between 0 and 1");
            return Err(SqlError::new(SqlState::NumericValueOutOfRange, message));
        }
        if self.values.is_empty() { Ok(Datum::Null) } else { (self.pick)(&self.values, fraction) }
    }
}

/// The first value whose place is at or behind the fraction.
fn discrete(values: &[Datum], fraction: f64) -> SqlResult<Datum> {
    let place = (fraction * values.len() as f64).ceil() as usize;
    Ok(values[place.clamp(1, values.len()) - 1].clone())
}

/// Between the values on both sides of the fraction.
fn continuous(values: &[Datum], fraction: f64) -> SqlResult<Datum> {
    let place = fraction * (values.len() - 1) as f64;
    let (low, high) = (&values[place.floor() as usize], &values[place.ceil() as usize]);
    let part = place - place.floor();
    Ok(match (low, high) {
        (low, _) if part == 0.0 => low.clone(),
        (Datum::Float(low), Datum::Float(high)) => Datum::Float(low + part * (high - low)),
        (Datum::Interval(low), Datum::Interval(high)) => {
            let between = interval_mul(interval_sub(*high, *low)?, part)?;
            Datum::Interval(interval_add(*low, between)?)
        }
        _ => return Err(SqlError::internal("a percentile lies between values of other types")),
    })
}

fn percentile(pick: fn(&[Datum], f64) -> SqlResult<Datum>) -> Box<dyn Accumulator> {
    Box::new(Percentile { values: Vec::new(), bytes: 0, fractions: None, pick })
}

/// The most frequent value, the first of equally frequent ones.
struct Mode {
    ty: SqlType,
    best: Option<(Datum, u64)>,
    current: Option<(Datum, u64)>,
}

impl Mode {
    fn better(&self) -> Option<&(Datum, u64)> {
        match (&self.best, &self.current) {
            (Some(best), Some(current)) if current.1 <= best.1 => Some(best),
            (best, None) => best.as_ref(),
            (_, current) => current.as_ref(),
        }
    }
}

impl Accumulator for Mode {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        match &mut self.current {
            Some((value, count)) if compare(&self.ty, value, &args[0]).is_eq() => *count += 1,
            _ => {
                self.best = self.better().cloned();
                self.current = Some((args[0].clone(), 1));
            }
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(self.better().map_or(Datum::Null, |(value, _)| value.clone()))
    }

    fn memory_bytes(&self) -> usize {
        [&self.best, &self.current].into_iter().flatten().map(|(value, _)| value.heap_bytes()).sum()
    }
}

/// How a key is ordered, as a character of the first argument.
#[must_use]
pub fn key_flags(descending: bool, nulls_first: bool) -> char {
    match (descending, nulls_first) {
        (false, false) => '0',
        (true, false) => '1',
        (false, true) => '2',
        (true, true) => '3',
    }
}

/// What is wanted of the place of a row that is not there.
#[derive(Clone, Copy)]
enum Place {
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
}

struct Hypothetical {
    types: CallTypes,
    place: Place,
    rows: i64,
    before: i64,
    equal: i64,
    /// How many unlike rows are before it. Rows come in order where this is wanted.
    distinct_before: i64,
    last_before: Vec<Datum>,
}

impl Hypothetical {
    fn order(&self, flags: &str, row: &[Datum], other: &[Datum]) -> Ordering {
        for (((a, b), ty), flags) in row.iter().zip(other).zip(&self.types.args[1..]).zip(flags.bytes()) {
            let (descending, nulls_first) = (matches!(flags, b'1' | b'3'), matches!(flags, b'2' | b'3'));
            let order = match (a.is_null(), b.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) => if nulls_first { Ordering::Less } else { Ordering::Greater },
                (false, true) => if nulls_first { Ordering::Greater } else { Ordering::Less },
                (false, false) => {
                    let order = compare(ty, a, b);
                    if descending { order.reverse() } else { order }
                }
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl Accumulator for Hypothetical {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        let Datum::Text(flags) = &args[0] else {
            return Err(SqlError::internal("a hypothetical row has no order"));
        };
        let (row, wanted) = args[1..].split_at((args.len() - 1) / 2);
        self.rows += 1;
        match self.order(flags, row, wanted) {
            Ordering::Less => {
                self.before += 1;
                if self.distinct_before == 0 || self.order(flags, row, &self.last_before).is_ne() {
                    self.distinct_before += 1;
                    self.last_before = row.to_vec();
                }
            }
            Ordering::Equal => self.equal += 1,
            Ordering::Greater => {}
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(match self.place {
            Place::Rank => Datum::Int(self.before + 1),
            Place::DenseRank => Datum::Int(self.distinct_before + 1),
            Place::PercentRank if self.rows == 0 => Datum::Float(0.0),
            Place::PercentRank => Datum::Float(self.before as f64 / self.rows as f64),
            Place::CumeDist => Datum::Float((self.before + self.equal + 1) as f64 / (self.rows + 1) as f64),
        })
    }

    fn memory_bytes(&self) -> usize {
        self.last_before.iter().map(|value| size_of::<Datum>() + value.heap_bytes()).sum()
    }
}

fn hypothetical_place(types: &CallTypes, place: Place) -> Box<dyn Accumulator> {
    let types = types.clone();
    Box::new(Hypothetical { types, place, rows: 0, before: 0, equal: 0, distinct_before: 0, last_before: Vec::new() })
}

const fn ordered_set(mut aggregate: Aggregate, direct: usize) -> Aggregate {
    aggregate.kind = AggregateKind::OrderedSet { direct };
    aggregate
}

const fn hypothetical_set(
    name: &'static str,
    oid: u32,
    ret: SqlType,
    new: fn(&CallTypes) -> Box<dyn Accumulator>,
) -> Aggregate {
    let mut aggregate = null_aware(name, oid, &[ArgType::Any], RetType::T(ret), new);
    aggregate.signature.variadic = true;
    aggregate.kind = AggregateKind::Hypothetical;
    aggregate
}

const FLOAT: ArgType = ArgType::T(SqlType::Float8);
const FLOATS: ArgType = ArgType::T(SqlType::Float8.array_of());
const INTERVAL: ArgType = ArgType::T(SqlType::Interval);

pub(super) static AGGREGATES: &[Aggregate] = &[
    ordered_set(null_aware("percentile_disc", 3972, &[FLOAT, ArgType::AnyElement], RetType::AnyElement, |_| percentile(discrete)), 1),
    ordered_set(null_aware("percentile_disc", 3978, &[FLOATS, ArgType::AnyElement], RetType::AnyArray, |_| percentile(discrete)), 1),
    ordered_set(null_aware("percentile_cont", 3974, &[FLOAT, FLOAT], RetType::T(SqlType::Float8), |_| percentile(continuous)), 1),
    ordered_set(null_aware("percentile_cont", 3976, &[FLOAT, INTERVAL], RetType::T(SqlType::Interval), |_| percentile(continuous)), 1),
    ordered_set(
        null_aware("percentile_cont", 3980, &[FLOATS, FLOAT], RetType::T(SqlType::Float8.array_of()), |_| percentile(continuous)),
        1,
    ),
    ordered_set(
        null_aware("percentile_cont", 3982, &[FLOATS, INTERVAL], RetType::T(SqlType::Interval.array_of()), |_| {
            percentile(continuous)
        }),
        1,
    ),
    ordered_set(
        super::strict("mode", 3984, &[ArgType::AnyElement], RetType::AnyElement, |types| {
            Box::new(Mode { ty: types.args[0], best: None, current: None })
        }),
        0,
    ),
];

/// They have the names of window functions, and are called WITHIN GROUP alone.
pub(super) static HYPOTHETICAL: &[Aggregate] = &[
    hypothetical_set("rank", 3986, SqlType::Int8, |types| hypothetical_place(types, Place::Rank)),
    hypothetical_set("percent_rank", 3988, SqlType::Float8, |types| hypothetical_place(types, Place::PercentRank)),
    hypothetical_set("cume_dist", 3990, SqlType::Float8, |types| hypothetical_place(types, Place::CumeDist)),
    hypothetical_set("dense_rank", 3992, SqlType::Int8, |types| hypothetical_place(types, Place::DenseRank)),
];
