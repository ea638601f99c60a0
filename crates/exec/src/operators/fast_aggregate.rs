//! The commonest aggregates over plain columns, without a call or a datum for each row.

use std::sync::Arc;

use builtins::Aggregate;
use plan::AggregateCall;
use types::{ColumnVec, Datum, IntKind, Numeric, SqlError, SqlResult, SqlState, SqlType};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    CountRows,
    Count,
    /// int2 and int4, whose sums fit 64 bits.
    Sum,
    Min,
    Max,
    NumericSum,
    NumericAverage,
}

/// One state for each group.
pub(crate) struct FastAggregate {
    kind: Kind,
    int_kind: IntKind,
    values: Vec<i64>,
    has_value: Vec<bool>,
    /// Sums of numerics; `values` counts their rows.
    sums: Vec<Numeric>,
}

fn kind_of(aggregate: &Aggregate, args: &[SqlType]) -> Option<Kind> {
    let is_words = |ty: &SqlType| matches!(ColumnVec::new(ty), ColumnVec::Int(..));
    match (aggregate.signature.name, args) {
        ("count", []) => Some(Kind::CountRows),
        ("count", [_]) => Some(Kind::Count),
        ("sum", [SqlType::Int2 | SqlType::Int4]) => Some(Kind::Sum),
        ("sum", [SqlType::Numeric(_)]) => Some(Kind::NumericSum),
        ("avg", [SqlType::Numeric(_)]) => Some(Kind::NumericAverage),
        ("min", [ty]) if is_words(ty) => Some(Kind::Min),
        ("max", [ty]) if is_words(ty) => Some(Kind::Max),
        _ => None,
    }
}

impl FastAggregate {
    pub(crate) fn new(call: &AggregateCall) -> Option<Self> {
        let kind = kind_of(call.aggregate, &call.types.args)?;
        // Counts and sums are integers, whatever their argument is.
        let int_kind = match call.types.args.first().map(ColumnVec::new) {
            Some(ColumnVec::Int(int_kind, _)) if matches!(kind, Kind::Min | Kind::Max) => int_kind,
            _ => IntKind::Int,
        };
        Some(Self { kind, int_kind, values: Vec::new(), has_value: Vec::new(), sums: Vec::new() })
    }

    pub(crate) fn resize(&mut self, groups: usize) {
        self.values.resize(groups, 0);
        self.has_value.resize(groups, false);
        if self.is_numeric() {
            self.sums.resize(groups, Numeric::ZERO);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.values.capacity() * 9 + self.sums.capacity() * size_of::<Numeric>()
    }

    fn is_numeric(&self) -> bool {
        matches!(self.kind, Kind::NumericSum | Kind::NumericAverage)
    }

    /// Adds rows to their groups; `keep` is the FILTER's answer.
    pub(crate) fn update(
        &mut self,
        groups: &[u32],
        args: &[Arc<ColumnVec>],
        keep: &dyn Fn(usize) -> bool,
    ) -> SqlResult<()> {
        if matches!(self.kind, Kind::CountRows | Kind::Count) {
            let arg = if self.kind == Kind::Count { args.first() } else { None };
            for (row, group) in groups.iter().enumerate() {
                if keep(row) && !arg.is_some_and(|arg| arg.is_null(row)) {
                    self.values[*group as usize] += 1;
                }
            }
            return Ok(());
        }
        if self.is_numeric() {
            let Some(ColumnVec::Datum(values)) = args.first().map(|arg| arg.as_ref()) else {
                return Err(SqlError::internal("datum-matches-type: a numeric aggregate over another column"));
            };
            for (row, group) in groups.iter().enumerate() {
                if let Some(value) = values[row].as_numeric()
                    && keep(row)
                {
                    let group = *group as usize;
                    self.sums[group] = self.sums[group].add(value)?;
                    self.values[group] += 1;
                }
            }
            return Ok(());
        }
        let Some(ColumnVec::Int(_, ints)) = args.first().map(|arg| arg.as_ref()) else {
            return Err(SqlError::internal("datum-matches-type: an integer aggregate over another column"));
        };
        for (row, group) in groups.iter().enumerate() {
            if !keep(row) || ints.nulls.is_null(row) {
                continue;
            }
            let group = *group as usize;
            let value = ints.values[row];
            let state = &mut self.values[group];
            *state = match self.kind {
                _ if !self.has_value[group] => value,
                Kind::Min => value.min(*state),
                Kind::Max => value.max(*state),
                _ => state.checked_add(value).ok_or_else(|| {
                    SqlError::new(SqlState::NumericValueOutOfRange, "bigint out of range")
                })?,
            };
            self.has_value[group] = true;
        }
        Ok(())
    }

    pub(crate) fn finish(&self, group: usize) -> SqlResult<Datum> {
        Ok(match self.kind {
            Kind::NumericSum | Kind::NumericAverage if self.values[group] == 0 => Datum::Null,
            Kind::NumericSum => Datum::Numeric(self.sums[group].clone()),
            Kind::NumericAverage => Datum::Numeric(self.sums[group].div(&Numeric::from_i64(self.values[group]))?),
            Kind::CountRows | Kind::Count => Datum::Int(self.values[group]),
            _ if !self.has_value[group] => Datum::Null,
            Kind::Sum => Datum::Int(self.values[group]),
            Kind::Min | Kind::Max => self.int_kind.datum(self.values[group]),
        })
    }
}
