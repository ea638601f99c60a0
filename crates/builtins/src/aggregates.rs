//! Aggregates by topic, each a static table. Documentation, section 9.21.

mod collect;
mod extremes;
mod ordered_sets;
mod ranges;
mod regression;
mod rows;
mod statistics;
mod sums;

pub use ordered_sets::key_flags;
pub use rows::collected_rows;

use crate::signature::{Accumulator, Aggregate, AggregateKind, ArgType, CallTypes, RetType, Signature};

pub(crate) static TABLES: &[&[Aggregate]] =
    &[sums::AGGREGATES, extremes::AGGREGATES, statistics::AGGREGATES, regression::AGGREGATES, collect::AGGREGATES, ranges::AGGREGATES, ordered_sets::AGGREGATES];

/// `rank`, `dense_rank`, `percent_rank` and `cume_dist` as aggregates WITHIN GROUP.
#[must_use]
pub fn hypothetical_aggregate(name: &str) -> Option<&'static Aggregate> {
    ordered_sets::HYPOTHETICAL.iter().find(|aggregate| aggregate.signature.name == name)
}

const fn strict(
    name: &'static str,
    oid: u32,
    args: &'static [ArgType],
    ret: RetType,
    new: fn(&CallTypes) -> Box<dyn Accumulator>,
) -> Aggregate {
    let signature = Signature { name, args, optional_count: 0, variadic: false, ret };
    Aggregate { kind: AggregateKind::Plain, signature, oid, strict: true, new }
}

/// An aggregate that is shown rows with NULL arguments too.
const fn null_aware(
    name: &'static str,
    oid: u32,
    args: &'static [ArgType],
    ret: RetType,
    new: fn(&CallTypes) -> Box<dyn Accumulator>,
) -> Aggregate {
    let mut aggregate = strict(name, oid, args, ret, new);
    aggregate.strict = false;
    aggregate
}
