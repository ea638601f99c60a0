//! Which rows of its partition a window function sees from each row.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::Range;

use builtins::{CallTypes, EvalContext, Operator, Resolved, resolve_binary_operator};
use plan::plan::{FrameBound, FrameUnit, WindowFrame};
use types::{CastContext, ColumnVec, Datum, IntKind, Numeric, SqlError, SqlResult, SqlState, SqlType, cast, compare};

use super::sort::SortColumn;
use crate::context::ExecContext;
use crate::eval::eval_scalar;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// The finite ones.
const TIMESTAMPS: Range<i128> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

#[derive(Clone, Debug)]
enum Bound {
    Unbounded,
    CurrentRow,
    Preceding(Offset),
    Following(Offset),
}

#[derive(Clone, Debug)]
enum Offset {
    Rows(usize),
    Value(Datum, SqlType),
}

/// Where a RANGE offset leads from a row's value.
enum Target {
    Value(Datum, SqlType),
    /// Beyond the type's range, on the side of the partition's first row or its last.
    BeforeAll,
    AfterAll,
}

/// A frame clause with its offsets evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    unit: FrameUnit,
    start: Bound,
    end: Bound,
}

fn bad_size() -> SqlError {
    SqlError::new(
        SqlState::InvalidPrecedingOrFollowingSize,
        "invalid preceding or following size in window function",
    )
}

fn is_negative(offset: &Datum) -> bool {
    match offset {
        Datum::Int(value) => *value < 0,
        Datum::Float(value) => *value < 0.0 || value.is_nan(),
        Datum::Numeric(_) => compare(&SqlType::NUMERIC, offset, &Datum::Numeric(Numeric::from(0_i64))).is_lt(),
        Datum::Interval(_) => compare(&SqlType::Interval, offset, &Datum::Interval(Default::default())).is_lt(),
        _ => false,
    }
}

async fn eval_bound(bound: &FrameBound, unit: FrameUnit, end: &str, ctx: &mut ExecContext<'_>) -> SqlResult<Bound> {
    let (expr, is_preceding) = match bound {
        FrameBound::UnboundedPreceding | FrameBound::UnboundedFollowing => return Ok(Bound::Unbounded),
        FrameBound::CurrentRow => return Ok(Bound::CurrentRow),
        FrameBound::Preceding(expr) => (expr, true),
        FrameBound::Following(expr) => (expr, false),
    };
    let value = eval_scalar(expr, ctx).await?;
    if value.is_null() {
        return Err(SqlError::new(SqlState::NullValueNotAllowed, format!("frame {end} offset must not be null")));
    }
    if is_negative(&value) {
        return Err(match unit {
            FrameUnit::Range => bad_size(),
            FrameUnit::Rows | FrameUnit::Groups => SqlError::new(
                SqlState::InvalidPrecedingOrFollowingSize,
                format!("frame {end} offset must not be negative"),
            ),
        });
    }
    let offset = match (unit, &value) {
        (FrameUnit::Range, _) => Offset::Value(value, expr.ty()),
        (_, Datum::Int(count)) => Offset::Rows(usize::try_from(*count).unwrap_or(usize::MAX)),
        _ => return Err(SqlError::internal("a frame offset in rows is an integer")),
    };
    Ok(if is_preceding { Bound::Preceding(offset) } else { Bound::Following(offset) })
}

impl Frame {
    /// Without a clause: up to the current row and its peers, or everything where there is no order.
    pub(crate) async fn eval(
        frame: Option<&WindowFrame>,
        is_ordered: bool,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Self> {
        let Some(frame) = frame else {
            let end = if is_ordered { Bound::CurrentRow } else { Bound::Unbounded };
            return Ok(Self { unit: FrameUnit::Range, start: Bound::Unbounded, end });
        };
        let start = eval_bound(&frame.start, frame.unit, "starting", ctx).await?;
        let end = eval_bound(&frame.end, frame.unit, "ending", ctx).await?;
        Ok(Self { unit: frame.unit, start, end })
    }

    /// The frame of every row of a partition, as positions in the whole input.
    pub(crate) fn ranges(
        &self,
        partition: &Partition<'_>,
        context: &EvalContext<'_>,
    ) -> SqlResult<Vec<Range<usize>>> {
        let rows = partition.rows.clone();
        let shifts = [
            Shift::new(&self.start, partition.order)?,
            Shift::new(&self.end, partition.order)?,
        ];
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(rows.len());
        for row in rows.clone() {
            let before = ranges.last().cloned();
            // By their values peers have one frame.
            if self.unit == FrameUnit::Range
                && row > rows.start
                && partition.group_of[row - rows.start] == partition.group_of[row - 1 - rows.start]
            {
                ranges.extend(before);
                continue;
            }
            let near = before.unwrap_or(rows.start..rows.start);
            let start = match &self.start {
                Bound::Unbounded => rows.start,
                bound => self.edge(bound, shifts[0].as_ref(), true, row, near.start, partition, context)?,
            };
            let end = match &self.end {
                Bound::Unbounded => rows.end,
                bound => self.edge(bound, shifts[1].as_ref(), false, row, near.end, partition, context)?,
            };
            let start = start.clamp(rows.start, rows.end);
            ranges.push(start..end.clamp(start, rows.end));
        }
        Ok(ranges)
    }

    /// Where the frame of a row starts, or (one past the last row) ends; that of the row before is at `near`.
    #[expect(clippy::too_many_arguments)]
    fn edge(
        &self,
        bound: &Bound,
        shift: Option<&Shift>,
        is_start: bool,
        row: usize,
        near: usize,
        partition: &Partition<'_>,
        context: &EvalContext<'_>,
    ) -> SqlResult<usize> {
        let rows = &partition.rows;
        let group = partition.group_of[row - rows.start];
        let group_edge = |group: usize| {
            let peers = &partition.groups[group];
            if is_start { peers.start } else { peers.end }
        };
        let past = usize::from(!is_start);
        Ok(match (self.unit, bound) {
            (FrameUnit::Rows, Bound::CurrentRow) => row + past,
            (FrameUnit::Rows, Bound::Preceding(Offset::Rows(count))) => {
                // Before the partition's first row an end leaves nothing.
                (row + past).saturating_sub(*count).max(rows.start)
            }
            (FrameUnit::Rows, Bound::Following(Offset::Rows(count))) => (row + past).saturating_add(*count),
            (FrameUnit::Groups | FrameUnit::Range, Bound::CurrentRow) => group_edge(group),
            (FrameUnit::Groups, Bound::Preceding(Offset::Rows(count))) => match group.checked_sub(*count) {
                Some(group) => group_edge(group),
                None => rows.start,
            },
            (FrameUnit::Groups, Bound::Following(Offset::Rows(count))) => {
                let group = group.saturating_add(*count);
                if group < partition.groups.len() { group_edge(group) } else { rows.end }
            }
            (FrameUnit::Range, Bound::Preceding(Offset::Value(offset, ty)) | Bound::Following(Offset::Value(offset, ty)))
                if let Some(shift) = shift =>
            {
                match partition.shifted_word(row, shift) {
                    Some(bound) => partition.search_word(bound, is_start, near),
                    None => match partition.shifted(row, offset, ty, shift, context)? {
                        Some(target) => partition.search(&target, is_start, near, context)?,
                        None => group_edge(group),
                    },
                }
            }
            _ => return Err(SqlError::internal("a frame's offset does not fit its unit")),
        })
    }
}

/// How the offset of a RANGE bound is added to values, or taken from them.
struct Shift {
    resolved: Resolved<'static, Operator>,
    types: CallTypes,
    is_preceding: bool,
    /// What is added to the words of the column, where that is all the operator does.
    delta: Option<i128>,
}

/// An offset in the unit of the words of a column of this type; none where the column has no words, or where what is added
/// depends on the value, as months do.
fn offset_in_words(ty: &SqlType, offset: &Datum) -> Option<i64> {
    match (ty, offset) {
        (SqlType::Int2 | SqlType::Int4 | SqlType::Int8, Datum::Int(offset)) => Some(*offset),
        (SqlType::Timestamp(_), Datum::Interval(offset)) if offset.months == 0 => {
            i64::from(offset.days).checked_mul(MICROS_PER_DAY)?.checked_add(offset.micros)
        }
        // A day need not have 24 hours there.
        (SqlType::TimestampTz(_), Datum::Interval(offset)) if offset.months == 0 && offset.days == 0 => Some(offset.micros),
        _ => None,
    }
}

impl Shift {
    /// None for a bound without such an offset.
    fn new(bound: &Bound, order: &[SortColumn]) -> SqlResult<Option<Self>> {
        let (offset, offset_type, is_preceding) = match bound {
            Bound::Preceding(Offset::Value(offset, ty)) => (offset, ty, true),
            Bound::Following(Offset::Value(offset, ty)) => (offset, ty, false),
            _ => return Ok(None),
        };
        let [order] = order else {
            return Err(SqlError::new(
                SqlState::WindowingError,
                "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
            ));
        };
        let symbol = if is_preceding == order.descending { "+" } else { "-" };
        let resolved = resolve_binary_operator(symbol, Some(order.ty), Some(*offset_type)).map_err(|_| {
            SqlError::not_supported(format!(
                "RANGE with offset PRECEDING/FOLLOWING for column type {} and offset type {}",
                order.ty.name(),
                offset_type.name()
            ))
        })?;
        let types = CallTypes { args: resolved.args.clone(), ret: resolved.ret };
        let words = offset_in_words(&order.ty, offset).map(i128::from);
        let delta = words.map(|words| if symbol == "+" { words } else { -words });
        Ok(Some(Self { resolved, types, is_preceding, delta }))
    }
}

/// Rows of one partition, in order, with their groups of peers.
pub(crate) struct Partition<'c> {
    pub(crate) rows: Range<usize>,
    pub(crate) groups: Vec<Range<usize>>,
    /// For each row, counted from the partition's first, its group.
    pub(crate) group_of: Vec<usize>,
    pub(crate) order: &'c [SortColumn],
}

impl Partition<'_> {
    /// The row's value moved against (or along) the order by an offset; `None` where it is NULL.
    fn shifted(
        &self,
        row: usize,
        offset: &Datum,
        offset_type: &SqlType,
        shift: &Shift,
        context: &EvalContext<'_>,
    ) -> SqlResult<Option<Target>> {
        let [order] = self.order else { return Ok(None) };
        let Shift { resolved, types, is_preceding, .. } = shift;
        let value = order.column.get_datum(row);
        if value.is_null() {
            return Ok(None);
        }
        let implicit = |datum: Datum, from: &SqlType, to: &SqlType| {
            cast(datum, from, to, CastContext::Implicit, context.formatting)
        };
        let args = [
            implicit(value, &order.ty, &resolved.args[0])?,
            implicit(offset.clone(), offset_type, &resolved.args[1])?,
        ];
        match resolved.chosen.function.call(context, types, &args) {
            Ok(value) => Ok(Some(Target::Value(value, resolved.ret))),
            Err(error) if error.code() == SqlState::NumericValueOutOfRange => {
                Ok(Some(if *is_preceding { Target::BeforeAll } else { Target::AfterAll }))
            }
            Err(error) => Err(error),
        }
    }

    /// The row's word moved by an offset; none for NULL, for an infinity, and where it leaves the range of the type.
    fn shifted_word(&self, row: usize, shift: &Shift) -> Option<i128> {
        let ([order], Some(delta)) = (self.order, shift.delta) else { return None };
        let ColumnVec::Int(kind, ints) = order.column.as_ref() else { return None };
        let value = ints.get(row)?;
        let bound = i128::from(value) + delta;
        let is_plain = match kind {
            IntKind::Int => true,
            IntKind::Date | IntKind::Time | IntKind::Timestamp | IntKind::TimestampTz => TIMESTAMPS.contains(&i128::from(value)) && TIMESTAMPS.contains(&bound),
        };
        is_plain.then_some(bound)
    }

    /// As [`Partition::search`], in a column of words.
    fn search_word(&self, bound: i128, is_start: bool, near: usize) -> usize {
        let [order] = self.order else { return self.rows.start };
        let ColumnVec::Int(_, ints) = order.column.as_ref() else { return self.rows.start };
        let is_before = |row: usize| {
            let position = match ints.get(row) {
                None if order.nulls_first => Ordering::Less,
                None => Ordering::Greater,
                Some(value) if order.descending => bound.cmp(&i128::from(value)),
                Some(value) => i128::from(value).cmp(&bound),
            };
            if is_start { position.is_lt() } else { position.is_le() }
        };
        match self.search_by(near, |row| Ok::<bool, Infallible>(is_before(row))) {
            Ok(row) => row,
            Err(never) => match never {},
        }
    }

    /// The first row not before the bound (a start), or the first one after it (an end). It is looked for from `near` on:
    /// bounds move along with the rows.
    fn search(&self, target: &Target, is_start: bool, near: usize, context: &EvalContext<'_>) -> SqlResult<usize> {
        let [order] = self.order else { return Ok(self.rows.start) };
        let is_before = |row: usize| -> SqlResult<bool> {
            let value = order.column.get_datum(row);
            let position = if value.is_null() {
                if order.nulls_first { Ordering::Less } else { Ordering::Greater }
            } else {
                match target {
                    Target::BeforeAll => Ordering::Greater,
                    Target::AfterAll => Ordering::Less,
                    Target::Value(bound, ty) => {
                        let value = cast(value, &order.ty, ty, CastContext::Implicit, context.formatting)?;
                        let position = compare(ty, &value, bound);
                        if order.descending { position.reverse() } else { position }
                    }
                }
            };
            Ok(if is_start { position.is_lt() } else { position.is_le() })
        };
        self.search_by(near, is_before)
    }

    /// The first row for which `is_before` does not hold: it holds for those before it.
    fn search_by<E>(&self, near: usize, is_before: impl Fn(usize) -> Result<bool, E>) -> Result<usize, E> {
        let (mut low, mut high) = (self.rows.start, self.rows.end);
        let near = near.clamp(low, high);
        if near > low && !is_before(near - 1)? {
            high = near - 1;
        } else {
            low = near;
            let mut step = 1;
            while low + step < high {
                if !is_before(low + step - 1)? {
                    high = low + step - 1;
                    break;
                }
                low += step;
                step *= 2;
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle)? { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}
