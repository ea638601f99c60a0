//! min, max, and the booleans' and integers' bitwise folds.

use types::{Datum, SqlResult, SqlType, compare};

use super::strict;
use crate::EvalContext;
use crate::arguments::{bits, boolean, int};
use crate::operators::bit_strings::combine;
use crate::signature::{Accumulator, Aggregate, ArgType, CallTypes, RetType};

/// A fold over two datums: which of them, or what of them, is kept.
struct Fold {
    kept: Option<Datum>,
    ty: SqlType,
    keep: fn(&SqlType, &Datum, &Datum) -> Option<Datum>,
}

impl Accumulator for Fold {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        match &self.kept {
            None => self.kept = Some(args[0].clone()),
            Some(kept) => {
                if let Some(better) = (self.keep)(&self.ty, kept, &args[0]) {
                    self.kept = Some(better);
                }
            }
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(self.kept.clone().unwrap_or(Datum::Null))
    }

    fn memory_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, Datum::heap_bytes)
    }
}

/// A fold over bit strings, which must be of one length.
struct BitFold {
    kept: Option<Datum>,
    verb: &'static str,
    combine: fn(u8, u8) -> u8,
}

impl BitFold {
    fn new(verb: &'static str, combine: fn(u8, u8) -> u8) -> Box<dyn Accumulator> {
        Box::new(Self { kept: None, verb, combine })
    }
}

impl Accumulator for BitFold {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        self.kept = Some(match &self.kept {
            None => args[0].clone(),
            Some(kept) => combine(bits(kept), bits(&args[0]), self.verb, self.combine)?,
        });
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(self.kept.clone().unwrap_or(Datum::Null))
    }

    fn memory_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, Datum::heap_bytes)
    }
}

fn fold(types: &CallTypes, keep: fn(&SqlType, &Datum, &Datum) -> Option<Datum>) -> Box<dyn Accumulator> {
    Box::new(Fold { kept: None, ty: types.args[0], keep })
}

/// Of equal values, which may print differently, the last is kept.
fn least(types: &CallTypes) -> Box<dyn Accumulator> {
    fold(types, |ty, kept, new| compare(ty, new, kept).is_le().then(|| new.clone()))
}

fn greatest(types: &CallTypes) -> Box<dyn Accumulator> {
    fold(types, |ty, kept, new| compare(ty, new, kept).is_ge().then(|| new.clone()))
}

fn all(types: &CallTypes) -> Box<dyn Accumulator> {
    fold(types, |_, kept, new| Some(Datum::Bool(boolean(kept) && boolean(new))))
}

fn any(types: &CallTypes) -> Box<dyn Accumulator> {
    fold(types, |_, kept, new| Some(Datum::Bool(boolean(kept) || boolean(new))))
}

fn bits_and(types: &CallTypes) -> Box<dyn Accumulator> {
    fold(types, |_, kept, new| Some(Datum::Int(int(kept) & int(new))))
}

fn bits_or(types: &CallTypes) -> Box<dyn Accumulator> {
    fold(types, |_, kept, new| Some(Datum::Int(int(kept) | int(new))))
}

fn bits_xor(types: &CallTypes) -> Box<dyn Accumulator> {
    fold(types, |_, kept, new| Some(Datum::Int(int(kept) ^ int(new))))
}

macro_rules! extremes {
    ($([$min:literal, $max:literal, $ty:expr];)*) => {
        &[$(
            strict("min", $min, &[ArgType::T($ty)], RetType::T($ty), least),
            strict("max", $max, &[ArgType::T($ty)], RetType::T($ty), greatest),
        )*
            strict("max", 3526, &[ArgType::AnyEnum], RetType::AnyEnum, greatest),
            strict("min", 3527, &[ArgType::AnyEnum], RetType::AnyEnum, least),
            strict("min", 2051, &[ArgType::AnyArray], RetType::AnyArray, least),
            strict("max", 2050, &[ArgType::AnyArray], RetType::AnyArray, greatest),
            strict("bool_and", 2517, &[ArgType::T(SqlType::Bool)], RetType::T(SqlType::Bool), all),
            strict("every", 2519, &[ArgType::T(SqlType::Bool)], RetType::T(SqlType::Bool), all),
            strict("bool_or", 2518, &[ArgType::T(SqlType::Bool)], RetType::T(SqlType::Bool), any),
            strict("bit_and", 2242, &[ArgType::T(SqlType::BIT)], RetType::T(SqlType::BIT), |_| BitFold::new("AND", |x, y| x & y)),
            strict("bit_or", 2243, &[ArgType::T(SqlType::BIT)], RetType::T(SqlType::BIT), |_| BitFold::new("OR", |x, y| x | y)),
            strict("bit_xor", 6167, &[ArgType::T(SqlType::BIT)], RetType::T(SqlType::BIT), |_| BitFold::new("XOR", |x, y| x ^ y)),
            strict("bit_and", 2236, &[ArgType::T(SqlType::Int2)], RetType::T(SqlType::Int2), bits_and),
            strict("bit_or", 2237, &[ArgType::T(SqlType::Int2)], RetType::T(SqlType::Int2), bits_or),
            strict("bit_xor", 6164, &[ArgType::T(SqlType::Int2)], RetType::T(SqlType::Int2), bits_xor),
            strict("bit_and", 2238, &[ArgType::T(SqlType::Int4)], RetType::T(SqlType::Int4), bits_and),
            strict("bit_or", 2239, &[ArgType::T(SqlType::Int4)], RetType::T(SqlType::Int4), bits_or),
            strict("bit_xor", 6165, &[ArgType::T(SqlType::Int4)], RetType::T(SqlType::Int4), bits_xor),
            strict("bit_and", 2240, &[ArgType::T(SqlType::Int8)], RetType::T(SqlType::Int8), bits_and),
            strict("bit_or", 2241, &[ArgType::T(SqlType::Int8)], RetType::T(SqlType::Int8), bits_or),
            strict("bit_xor", 6166, &[ArgType::T(SqlType::Int8)], RetType::T(SqlType::Int8), bits_xor),
        ]
    };
}

pub(super) static AGGREGATES: &[Aggregate] = extremes! {
    [2131, 2115, SqlType::Int8];
    [2132, 2116, SqlType::Int4];
    [2133, 2117, SqlType::Int2];
    [2134, 2118, SqlType::Oid];
    [2135, 2119, SqlType::Float4];
    [2136, 2120, SqlType::Float8];
    [2138, 2122, SqlType::Date];
    [2139, 2123, SqlType::TIME];
    [2140, 2124, SqlType::TIMETZ];
    [2142, 2126, SqlType::TIMESTAMP];
    [2143, 2127, SqlType::TIMESTAMPTZ];
    [2144, 2128, SqlType::Interval];
    [2145, 2129, SqlType::Text];
    [2146, 2130, SqlType::NUMERIC];
    [2245, 2244, SqlType::BPCHAR];
    [3565, 3564, SqlType::Inet];
    [2141, 2125, SqlType::Money];
    [4190, 4189, SqlType::PgLsn];
    [5100, 5099, SqlType::Xid8];
};
