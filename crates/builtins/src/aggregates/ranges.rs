//! range_agg and range_intersect_agg. Documentation, section 9.21.

use types::{Datum, Range, RangeType, SqlResult, spans};

use super::{null_aware, strict};
use crate::EvalContext;
use crate::arguments::range;
use crate::operators::ranges::range_type;
use crate::signature::{Accumulator, Aggregate, ArgType, CallTypes, RetType};

/// The ranges of all rows, made one multirange at the end.
struct Gather {
    of: RangeType,
    /// `None` before the first row that is not NULL.
    ranges: Option<Vec<Range>>,
    bytes: usize,
}

impl Accumulator for Gather {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        if !args[0].is_null() {
            self.bytes += size_of::<Range>() + args[0].heap_bytes();
            self.ranges.get_or_insert_default().extend(spans(&args[0]).iter().cloned());
        }
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(self.ranges.as_ref().map_or(Datum::Null, |ranges| Datum::multirange(self.of.normalize(ranges.clone()))))
    }

    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

/// What all rows have in common.
struct Intersect {
    of: RangeType,
    kept: Option<Datum>,
}

impl Accumulator for Intersect {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        self.kept = Some(match (&self.kept, &args[0]) {
            (None, first) => first.clone(),
            (Some(kept @ Datum::Range(_)), next) => Datum::range(self.of.intersection(range(kept), range(next))?),
            (Some(kept), next) => Datum::multirange(self.of.common(spans(kept), spans(next))?),
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

fn gather(types: &CallTypes) -> Box<dyn Accumulator> {
    Box::new(Gather { of: range_type(types), ranges: None, bytes: 0 })
}

fn intersect(types: &CallTypes) -> Box<dyn Accumulator> {
    Box::new(Intersect { of: range_type(types), kept: None })
}

pub(super) static AGGREGATES: &[Aggregate] = &[
    null_aware("range_agg", 4301, &[ArgType::AnyRange], RetType::AnyMultiRange, gather),
    null_aware("range_agg", 6227, &[ArgType::AnyMultiRange], RetType::AnyMultiRange, gather),
    strict("range_intersect_agg", 4450, &[ArgType::AnyRange], RetType::AnyRange, intersect),
    strict("range_intersect_agg", 4389, &[ArgType::AnyMultiRange], RetType::AnyMultiRange, intersect),
];
