//! Range values, and what is done with one or several of them.
//!
//! A range is empty or lies between two bounds, each a value that belongs to it or not, or none: there it has no end. A
//! multirange is a list of ranges. Everything that asks about ranges and multiranges alike is asked of a slice: of a range as
//! one that has a single member, or none when it is empty ([`spans`]).
//!
//! **Invariants**
//! - *bounds-in-order*: the lower bound of a range that is not empty is not above the upper one, and some value may lie between.
//! - *discrete-is-canonical*: over integers and dates the lower bound belongs to a range, the upper does not.
//! - *apart-and-rising*: the ranges of a multirange are not empty, rise, and neither overlap nor touch.
//!
//! All are upheld by [`RangeType::make`] and [`RangeType::normalize`], through which every value is made.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::compare::compare;
use crate::datetime::arithmetic::is_infinite_date;
use crate::datetime::calendar::END_DATE;
use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::range_type::RangeType;
use crate::sql_type::SqlType;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub enum Range {
    Empty,
    Span { lower: Bound, upper: Bound },
}

/// An end of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// `None`: there is no end on this side.
    pub value: Option<Datum>,
    pub inclusive: bool,
}

/// PostgreSQL's flags, of which the first byte of a range consists, stored or sent.
pub(crate) mod flags {
    pub(crate) const EMPTY: u8 = 0x01;
    pub(crate) const LOWER_INCLUSIVE: u8 = 0x02;
    pub(crate) const UPPER_INCLUSIVE: u8 = 0x04;
    pub(crate) const LOWER_INFINITE: u8 = 0x08;
    pub(crate) const UPPER_INFINITE: u8 = 0x10;
}

/// A range as it is stored: flags, then the bounds that have a value.
#[derive(Serialize, Deserialize)]
struct Stored {
    flags: u8,
    bounds: Vec<Datum>,
}

impl From<Range> for Stored {
    fn from(range: Range) -> Self {
        let flags = range.flags();
        let bounds = match range {
            Range::Empty => Vec::new(),
            Range::Span { lower, upper } => lower.value.into_iter().chain(upper.value).collect(),
        };
        Self { flags, bounds }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a range has other bounds than its flags say")]
struct WrongBounds;

impl TryFrom<Stored> for Range {
    type Error = WrongBounds;

    fn try_from(stored: Stored) -> Result<Self, WrongBounds> {
        let mut bounds = stored.bounds.into_iter();
        let range = Self::from_flags(stored.flags, |_| bounds.next().ok_or(WrongBounds))?;
        if bounds.next().is_some() { Err(WrongBounds) } else { Ok(range) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Lower,
    Upper,
}

impl Bound {
    pub const UNBOUNDED: Self = Self { value: None, inclusive: false };

    #[must_use]
    pub fn new(value: Option<Datum>, inclusive: bool) -> Self {
        let inclusive = inclusive && value.is_some();
        Self { value, inclusive }
    }

    /// The end of what this is the beginning of the other side of.
    fn flipped(&self) -> Self {
        Self { value: self.value.clone(), inclusive: !self.inclusive }
    }
}

impl Range {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    #[must_use]
    pub const fn bounds(&self) -> Option<(&Bound, &Bound)> {
        match self {
            Self::Empty => None,
            Self::Span { lower, upper } => Some((lower, upper)),
        }
    }

    pub(crate) fn flags(&self) -> u8 {
        let Some((lower, upper)) = self.bounds() else { return flags::EMPTY };
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        flag(lower.inclusive, flags::LOWER_INCLUSIVE)
            | flag(upper.inclusive, flags::UPPER_INCLUSIVE)
            | flag(lower.value.is_none(), flags::LOWER_INFINITE)
            | flag(upper.value.is_none(), flags::UPPER_INFINITE)
    }

    /// The range of these flags, whose bounds `next` gives: the lower one first, each unless it is infinite.
    pub(crate) fn from_flags<E>(flags: u8, mut next: impl FnMut(()) -> Result<Datum, E>) -> Result<Self, E> {
        if flags & flags::EMPTY != 0 {
            return Ok(Self::Empty);
        }
        let mut bound = |infinite: u8, inclusive: u8| -> Result<Bound, E> {
            let value = if flags & infinite == 0 { Some(next(())?) } else { None };
            Ok(Bound::new(value, flags & inclusive != 0))
        };
        let lower = bound(flags::LOWER_INFINITE, flags::LOWER_INCLUSIVE)?;
        let upper = bound(flags::UPPER_INFINITE, flags::UPPER_INCLUSIVE)?;
        Ok(Self::Span { lower, upper })
    }

    /// The same bounds with their values replaced.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map(&self, mut f: impl FnMut(&Datum) -> SqlResult<Datum>) -> SqlResult<Self> {
        let mut bound = |it: &Bound| -> SqlResult<Bound> {
            Ok(Bound { value: it.value.as_ref().map(&mut f).transpose()?, inclusive: it.inclusive })
        };
        Ok(match self {
            Self::Empty => Self::Empty,
            Self::Span { lower, upper } => Self::Span { lower: bound(lower)?, upper: bound(upper)? },
        })
    }

    /// Bytes of memory held.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.values().map(Datum::heap_bytes).sum::<usize>()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Datum> {
        self.bounds().into_iter().flat_map(|(lower, upper)| lower.value.iter().chain(&upper.value))
    }
}

/// The ranges that a range or multirange consists of: *apart-and-rising*.
#[must_use]
pub fn spans(datum: &Datum) -> &[Range] {
    match datum {
        Datum::Range(range) if range.is_empty() => &[],
        Datum::Range(range) => std::slice::from_ref(&**range),
        Datum::MultiRange(ranges) => ranges,
        _ => &[],
    }
}

type Edge<'a> = (&'a Bound, Side);

/// Which bound comes first: of two at one value, an upper one that leaves it out, then what takes it in, then a lower one that
/// leaves it out.
fn order(subtype: &SqlType, (a, a_side): Edge<'_>, (b, b_side): Edge<'_>) -> Ordering {
    let end = |side| if side == Side::Lower { Ordering::Less } else { Ordering::Greater };
    match (&a.value, &b.value) {
        (None, None) if a_side == b_side => Ordering::Equal,
        (None, _) => end(a_side),
        (_, None) => end(b_side).reverse(),
        (Some(x), Some(y)) => {
            let place = |inclusive: bool, side: Side| match (inclusive, side) {
                (true, _) => 0,
                (false, Side::Upper) => -1,
                (false, Side::Lower) => 1,
            };
            compare(subtype, x, y).then_with(|| place(a.inclusive, a_side).cmp(&place(b.inclusive, b_side)))
        }
    }
}

fn lower_of(range: &Range) -> Option<Edge<'_>> {
    range.bounds().map(|(lower, _)| (lower, Side::Lower))
}

fn upper_of(range: &Range) -> Option<Edge<'_>> {
    range.bounds().map(|(_, upper)| (upper, Side::Upper))
}

/// What the bounds of two ranges are when their own type is not at hand: in records whose fields' types are not known.
pub(crate) fn subtype_of(ty: &SqlType, a: &[Range], b: &[Range]) -> SqlType {
    match ty.range_type() {
        Some(of) => of.subtype(),
        None => a.iter().chain(b).flat_map(Range::values).next().map_or(SqlType::Unknown, Datum::implied_type),
    }
}

/// The order of indexes: empty ranges first, then by the lower bounds, then by the upper ones.
pub(crate) fn compare_ranges(subtype: &SqlType, a: &Range, b: &Range) -> Ordering {
    match (a.bounds(), b.bounds()) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some((a_lower, a_upper)), Some((b_lower, b_upper))) => order(subtype, (a_lower, Side::Lower), (b_lower, Side::Lower))
            .then_with(|| order(subtype, (a_upper, Side::Upper), (b_upper, Side::Upper))),
    }
}

/// Range by range, the shorter first where all are equal.
pub(crate) fn compare_multiranges(subtype: &SqlType, a: &[Range], b: &[Range]) -> Ordering {
    let differing = a.iter().zip(b).map(|(a, b)| compare_ranges(subtype, a, b)).find(|order| order.is_ne());
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn not_contiguous(what: &str) -> SqlError {
    SqlError::new(SqlState::DataException, format!("result of range {what} would not be contiguous"))
}

/// What comes next after a value of a discrete type.
fn successor(of: RangeType, value: &Datum) -> SqlResult<Option<Datum>> {
    Ok(match (of, value) {
        (RangeType::Int4, Datum::Int(value)) => {
            let next = i32::try_from(*value + 1).map_err(|_| raise::out_of_range("integer"))?;
            Some(Datum::Int(next.into()))
        }
        (RangeType::Int8, Datum::Int(value)) => {
            Some(Datum::Int(value.checked_add(1).ok_or_else(|| raise::out_of_range("bigint"))?))
        }
        (RangeType::Date, Datum::Date(days)) if !is_infinite_date(*days) => {
            let next = i64::from(*days) + 1;
            let is_date = next < END_DATE;
            let next = i32::try_from(next).ok().filter(|_| is_date);
            Some(Datum::Date(next.ok_or_else(|| raise::datetime_out_of_range("date"))?))
        }
        _ => None,
    })
}

impl RangeType {
    const fn is_discrete(self) -> bool {
        matches!(self, Self::Int4 | Self::Int8 | Self::Date)
    }

    /// The range between two bounds, in its canonical form.
    ///
    /// # Errors
    /// 22000 when the lower bound is above the upper one; 22003 or 22008 where the canonical form has no bound.
    pub fn make(self, lower: Bound, upper: Bound) -> SqlResult<Range> {
        let is_empty = |lower: &Bound, upper: &Bound| -> SqlResult<bool> {
            let (Some(low), Some(high)) = (&lower.value, &upper.value) else { return Ok(false) };
            match compare(&self.subtype(), low, high) {
                Ordering::Less => Ok(false),
                Ordering::Equal => Ok(!(lower.inclusive && upper.inclusive)),
                Ordering::Greater => Err(SqlError::new(
                    SqlState::DataException,
                    "range lower bound must be less than or equal to range upper bound",
                )),
            }
        };
        let (mut lower, mut upper) = (Bound::new(lower.value, lower.inclusive), Bound::new(upper.value, upper.inclusive));
        if is_empty(&lower, &upper)? {
            return Ok(Range::Empty);
        }
        if !self.is_discrete() {
            return Ok(Range::Span { lower, upper });
        }
        if let Some(value) = &lower.value
            && !lower.inclusive
            && let Some(next) = successor(self, value)?
        {
            lower = Bound::new(Some(next), true);
        }
        if let Some(value) = &upper.value
            && upper.inclusive
            && let Some(next) = successor(self, value)?
        {
            upper = Bound::new(Some(next), false);
        }
        Ok(if is_empty(&lower, &upper)? { Range::Empty } else { Range::Span { lower, upper } })
    }

    /// Ranges as a multirange has them: *apart-and-rising*.
    #[must_use]
    pub fn normalize(self, mut ranges: Vec<Range>) -> Vec<Range> {
        let subtype = self.subtype();
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by(|a, b| compare_ranges(&subtype, a, b));
        let mut made: Vec<Range> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match made.last_mut() {
                Some(last) if self.overlap(last, &range) || self.touch(last, &range) => *last = self.hull(last, &range),
                _ => made.push(range),
            }
        }
        made
    }

    /// The least range that both are in.
    fn hull(self, a: &Range, b: &Range) -> Range {
        let (Some((a_lower, a_upper)), Some((b_lower, b_upper))) = (a.bounds(), b.bounds()) else {
            return if a.is_empty() { b.clone() } else { a.clone() };
        };
        let subtype = self.subtype();
        // Of equal bounds the second's, which may print differently: as PostgreSQL does.
        let is_lower = order(&subtype, (a_lower, Side::Lower), (b_lower, Side::Lower)).is_lt();
        let is_upper = order(&subtype, (a_upper, Side::Upper), (b_upper, Side::Upper)).is_gt();
        let (lower, upper) = (if is_lower { a_lower } else { b_lower }, if is_upper { a_upper } else { b_upper });
        Range::Span { lower: lower.clone(), upper: upper.clone() }
    }

    fn overlap(self, a: &Range, b: &Range) -> bool {
        let (Some(a_lower), Some(a_upper), Some(b_lower), Some(b_upper)) = (lower_of(a), upper_of(a), lower_of(b), upper_of(b))
        else {
            return false;
        };
        let subtype = self.subtype();
        order(&subtype, a_lower, b_upper).is_le() && order(&subtype, b_lower, a_upper).is_le()
    }

    /// Whether nothing lies between an upper bound and a lower one, and neither has what the other has.
    fn meet(self, upper: &Bound, lower: &Bound) -> bool {
        let (Some(low), Some(high)) = (&upper.value, &lower.value) else { return false };
        match compare(&self.subtype(), low, high) {
            Ordering::Less => self.is_discrete() && self.make(upper.flipped(), lower.flipped()).is_ok_and(|it| it.is_empty()),
            Ordering::Equal => upper.inclusive != lower.inclusive,
            Ordering::Greater => false,
        }
    }

    fn touch(self, a: &Range, b: &Range) -> bool {
        let (Some((a_lower, a_upper)), Some((b_lower, b_upper))) = (a.bounds(), b.bounds()) else { return false };
        self.meet(a_upper, b_lower) || self.meet(b_upper, a_lower)
    }

    fn contain(self, outer: &Range, inner: &Range) -> bool {
        let (Some((a_lower, a_upper)), Some((b_lower, b_upper))) = (outer.bounds(), inner.bounds()) else {
            return inner.is_empty();
        };
        let subtype = self.subtype();
        order(&subtype, (a_lower, Side::Lower), (b_lower, Side::Lower)).is_le()
            && order(&subtype, (a_upper, Side::Upper), (b_upper, Side::Upper)).is_ge()
    }

    /// `@>` of an element.
    #[must_use]
    pub fn contains_element(self, ranges: &[Range], value: &Datum) -> bool {
        let point = Bound { value: Some(value.clone()), inclusive: true };
        let subtype = self.subtype();
        ranges.iter().any(|range| {
            let (Some(lower), Some(upper)) = (lower_of(range), upper_of(range)) else { return false };
            order(&subtype, lower, (&point, Side::Lower)).is_le() && order(&subtype, upper, (&point, Side::Upper)).is_ge()
        })
    }

    /// `@>`
    #[must_use]
    pub fn contains(self, outer: &[Range], inner: &[Range]) -> bool {
        let mut left = outer.iter().peekable();
        inner.iter().all(|inner| {
            // What ends before it contains neither it nor what follows.
            while left.next_if(|outer| self.is_before(outer, inner)).is_some() {}
            left.peek().is_some_and(|outer| self.contain(outer, inner))
        })
    }

    fn is_before(self, a: &Range, b: &Range) -> bool {
        let (Some(upper), Some(lower)) = (upper_of(a), lower_of(b)) else { return false };
        order(&self.subtype(), upper, lower).is_lt()
    }

    /// `&&`
    #[must_use]
    pub fn overlaps(self, a: &[Range], b: &[Range]) -> bool {
        let mut left = b.iter().peekable();
        a.iter().any(|range| {
            while left.next_if(|other| self.is_before(other, range)).is_some() {}
            left.peek().is_some_and(|other| self.overlap(range, other))
        })
    }

    /// `<<`
    #[must_use]
    pub fn before(self, a: &[Range], b: &[Range]) -> bool {
        matches!((a.last(), b.first()), (Some(a), Some(b)) if self.is_before(a, b))
    }

    /// `&<`: does not end after the other.
    #[must_use]
    pub fn ends_within(self, a: &[Range], b: &[Range]) -> bool {
        let (Some(a), Some(b)) = (a.last().and_then(upper_of), b.last().and_then(upper_of)) else { return false };
        order(&self.subtype(), a, b).is_le()
    }

    /// `&>`: does not begin before the other.
    #[must_use]
    pub fn begins_within(self, a: &[Range], b: &[Range]) -> bool {
        let (Some(a), Some(b)) = (a.first().and_then(lower_of), b.first().and_then(lower_of)) else { return false };
        order(&self.subtype(), a, b).is_ge()
    }

    /// `-|-`
    #[must_use]
    pub fn adjacent(self, a: &[Range], b: &[Range]) -> bool {
        let meets = |a: &[Range], b: &[Range]| {
            let upper = a.last().and_then(Range::bounds).map(|(_, upper)| upper);
            let lower = b.first().and_then(Range::bounds).map(|(lower, _)| lower);
            matches!((upper, lower), (Some(upper), Some(lower)) if self.meet(upper, lower))
        };
        meets(a, b) || meets(b, a)
    }

    /// `+` of two ranges.
    ///
    /// # Errors
    /// 22000 when there is a gap between them.
    pub fn union(self, a: &Range, b: &Range) -> SqlResult<Range> {
        if !a.is_empty() && !b.is_empty() && !self.overlap(a, b) && !self.touch(a, b) {
            return Err(not_contiguous("union"));
        }
        Ok(self.hull(a, b))
    }

    /// From where the first begins to where the last ends.
    #[must_use]
    pub fn merge(self, ranges: &[Range]) -> Range {
        ranges.iter().fold(Range::Empty, |all, range| self.hull(&all, range))
    }

    /// What of a range is not in another: two parts at most.
    fn parts(self, of: &Range, without: &Range) -> SqlResult<Vec<Range>> {
        let (Some((lower, upper)), Some((from, to))) = (of.bounds(), without.bounds()) else { return Ok(vec![of.clone()]) };
        if !self.overlap(of, without) {
            return Ok(vec![of.clone()]);
        }
        let subtype = self.subtype();
        let mut parts = Vec::new();
        if order(&subtype, (lower, Side::Lower), (from, Side::Lower)).is_lt() {
            parts.push(self.make(lower.clone(), from.flipped())?);
        }
        if order(&subtype, (upper, Side::Upper), (to, Side::Upper)).is_gt() {
            parts.push(self.make(to.flipped(), upper.clone())?);
        }
        parts.retain(|part| !part.is_empty());
        Ok(parts)
    }

    /// `-` of two ranges.
    ///
    /// # Errors
    /// 22000 when the second cuts the first in two.
    pub fn difference(self, of: &Range, without: &Range) -> SqlResult<Range> {
        let mut parts = self.parts(of, without)?;
        if parts.len() > 1 {
            return Err(not_contiguous("difference"));
        }
        Ok(parts.pop().unwrap_or(Range::Empty))
    }

    /// `-`
    ///
    /// # Errors
    /// As [`RangeType::make`].
    pub fn without(self, of: &[Range], without: &[Range]) -> SqlResult<Vec<Range>> {
        let mut made = Vec::new();
        let mut first = 0;
        for range in of {
            while without.get(first).is_some_and(|other| self.is_before(other, range)) {
                first += 1;
            }
            // What is left of the range to the right of what was taken out of it.
            let mut left = Some(range.clone());
            for other in &without[first..] {
                let Some(rest) = left.take() else { break };
                if self.is_before(&rest, other) {
                    left = Some(rest);
                    break;
                }
                let mut parts = self.parts(&rest, other)?;
                let ends_here = matches!(
                    (parts.last().and_then(upper_of), upper_of(&rest)),
                    (Some(part), Some(whole)) if order(&self.subtype(), part, whole).is_eq()
                );
                left = if ends_here { parts.pop() } else { None };
                made.append(&mut parts);
            }
            made.extend(left);
        }
        Ok(self.normalize(made))
    }

    /// `*` of two ranges.
    ///
    /// # Errors
    /// As [`RangeType::make`].
    pub fn intersection(self, a: &Range, b: &Range) -> SqlResult<Range> {
        let (Some((a_lower, a_upper)), Some((b_lower, b_upper))) = (a.bounds(), b.bounds()) else { return Ok(Range::Empty) };
        if !self.overlap(a, b) {
            return Ok(Range::Empty);
        }
        let subtype = self.subtype();
        let is_later = order(&subtype, (a_lower, Side::Lower), (b_lower, Side::Lower)).is_ge();
        let is_earlier = order(&subtype, (a_upper, Side::Upper), (b_upper, Side::Upper)).is_le();
        let (lower, upper) = (if is_later { a_lower } else { b_lower }, if is_earlier { a_upper } else { b_upper });
        self.make(lower.clone(), upper.clone())
    }

    /// `*`
    ///
    /// # Errors
    /// As [`RangeType::make`].
    pub fn common(self, a: &[Range], b: &[Range]) -> SqlResult<Vec<Range>> {
        let mut made = Vec::new();
        let mut first = 0;
        for range in a {
            while b.get(first).is_some_and(|other| self.is_before(other, range)) {
                first += 1;
            }
            for other in b[first..].iter().take_while(|other| !self.is_before(range, other)) {
                made.push(self.intersection(range, other)?);
            }
        }
        Ok(self.normalize(made))
    }
}

impl Datum {
    #[must_use]
    pub fn range(range: Range) -> Self {
        Self::Range(Arc::new(range))
    }

    #[must_use]
    pub fn multirange(ranges: Vec<Range>) -> Self {
        Self::MultiRange(ranges.into())
    }
}

#[cfg(test)]
mod tests;
