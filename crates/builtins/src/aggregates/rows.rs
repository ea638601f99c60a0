//! What aggregates by users are made of: the rows of a group, each a record of the aggregate's arguments.
//!
//! DISTINCT, ORDER BY, FILTER and window frames are those of any aggregate. The transition function, which may run
//! queries, is called over the collected rows where expressions call functions.

use types::{Array, Datum, SqlResult};

use super::{null_aware, strict};
use crate::EvalContext;
use crate::signature::{Accumulator, Aggregate, ArgType, CallTypes, RetType};

struct Rows {
    items: Vec<Datum>,
    bytes: usize,
}

impl Accumulator for Rows {
    fn add(&mut self, _: &EvalContext<'_>, args: &[Datum]) -> SqlResult<()> {
        self.bytes += (1 + args.len()) * size_of::<Datum>() + args.iter().map(Datum::heap_bytes).sum::<usize>();
        self.items.push(Datum::record(args.to_vec())?);
        Ok(())
    }

    fn finish(&self, _: &EvalContext<'_>) -> SqlResult<Datum> {
        Ok(Datum::Array(Array::from_elements(self.items.clone()).into()))
    }

    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

fn rows(_: &CallTypes) -> Box<dyn Accumulator> {
    Box::new(Rows { items: Vec::new(), bytes: 0 })
}

static ALL: Aggregate = null_aware("rows", 0, &[ArgType::Any], RetType::AnyArray, rows);
static WITHOUT_NULLS: Aggregate = strict("rows", 0, &[ArgType::Any], RetType::AnyArray, rows);

/// Collects rows; `is_strict`: those without a NULL.
#[must_use]
pub fn collected_rows(is_strict: bool) -> &'static Aggregate {
    if is_strict { &WITHOUT_NULLS } else { &ALL }
}
