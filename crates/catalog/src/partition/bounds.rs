//! Which partition a row belongs to, which ones may have rows that a condition lets through, and whether a new bound is
//! apart from the others.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;
use types::{Datum, Formatting, SqlError, SqlResult, SqlState, SqlType, compare, to_text};

use super::hash::hash_key;
use super::shown::end_text;
use super::{Partition, PartitionBound, PartitionStrategy, Partitioned, RangeDatum};

/// So many keys are looked up one by one where a condition lists values of several columns.
const LISTED_KEYS_MAX: usize = 1000;

/// What is looked up of bounds, sorted.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Of lists, by their order: each value with the place of its partition.
    values: Vec<(Datum, usize)>,
    null: Option<usize>,
    /// Of hashes: the moduli that there are, and the place of a partition by its modulus and remainder.
    moduli: Vec<u32>,
    remainders: FxHashMap<(u32, u32), usize>,
}

/// The values that rows may have in one column of the key, as far as a condition says.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySet {
    /// NULL among them.
    Any,
    Null,
    /// None is NULL.
    Values(Vec<Datum>),
    /// An end, and whether the value itself is inside; NULL is not.
    Range { lower: Option<(Datum, bool)>, upper: Option<(Datum, bool)> },
}

impl KeySet {
    pub const NOT_NULL: Self = Self::Range { lower: None, upper: None };

    fn contains(&self, ty: &SqlType, value: &Datum) -> bool {
        match self {
            Self::Any => true,
            Self::Null => value.is_null(),
            Self::Values(values) => values.iter().any(|known| compare(ty, known, value).is_eq()),
            Self::Range { lower, upper } => {
                let above = lower.as_ref().is_none_or(|(end, is_inside)| match compare(ty, value, end) {
                    Ordering::Greater => true,
                    Ordering::Equal => *is_inside,
                    Ordering::Less => false,
                });
                let below = upper.as_ref().is_none_or(|(end, is_inside)| match compare(ty, value, end) {
                    Ordering::Less => true,
                    Ordering::Equal => *is_inside,
                    Ordering::Greater => false,
                });
                !value.is_null() && above && below
            }
        }
    }

    /// What both let through.
    #[must_use]
    pub fn and(self, other: Self, ty: &SqlType) -> Self {
        match (self, other) {
            (Self::Any, set) | (set, Self::Any) => set,
            (Self::Null, Self::Null) => Self::Null,
            (Self::Null, _) | (_, Self::Null) => Self::Values(Vec::new()),
            (Self::Values(values), set) | (set, Self::Values(values)) => {
                Self::Values(values.into_iter().filter(|value| set.contains(ty, value)).collect())
            }
            (Self::Range { lower: a, upper: b }, Self::Range { lower: c, upper: d }) => {
                let tighter = |a: Option<(Datum, bool)>, b: Option<(Datum, bool)>, wanted: Ordering| match (a, b) {
                    (None, end) | (end, None) => end,
                    (Some(a), Some(b)) => Some(match compare(ty, &a.0, &b.0) {
                        Ordering::Equal => (a.0, a.1 && b.1),
                        order if order == wanted => a,
                        _ => b,
                    }),
                };
                Self::Range { lower: tighter(a, c, Ordering::Greater), upper: tighter(b, d, Ordering::Less) }
            }
        }
    }
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::InvalidObjectDefinition, message)
}

impl Partitioned {
    fn types(&self) -> impl Iterator<Item = &SqlType> {
        self.key.iter().map(|key| &key.ty)
    }

    fn lookup(&self) -> &Lookup {
        self.lookup.get_or_init(|| {
            let mut lookup = Lookup::default();
            for (at, partition) in self.partitions.iter().enumerate() {
                match &partition.bound {
                    PartitionBound::List(values) => {
                        for value in values {
                            match value {
                                Datum::Null => lookup.null = Some(at),
                                value => lookup.values.push((value.clone(), at)),
                            }
                        }
                    }
                    PartitionBound::Hash { modulus, remainder } => {
                        lookup.remainders.insert((*modulus, *remainder), at);
                        if !lookup.moduli.contains(modulus) {
                            lookup.moduli.push(*modulus);
                        }
                    }
                    PartitionBound::Range(..) | PartitionBound::Default => {}
                }
            }
            if let Some(ty) = self.types().next() {
                lookup.values.sort_by(|(a, _), (b, _)| compare(ty, a, b));
            }
            lookup
        })
    }

    /// Those with ends.
    fn ranges(&self) -> &[Partition] {
        &self.partitions[..self.default_partition().unwrap_or(self.partitions.len())]
    }

    /// A whole key beside an end.
    fn compare_key(&self, values: &[Datum], end: &[RangeDatum]) -> Ordering {
        let orders = self.types().zip(values).zip(end).map(|((ty, value), end)| match end {
            RangeDatum::MinValue => Ordering::Greater,
            RangeDatum::MaxValue => Ordering::Less,
            RangeDatum::Value(end) => compare(ty, value, end),
        });
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Two ends.
    fn compare_ends(&self, a: &[RangeDatum], b: &[RangeDatum]) -> Ordering {
        for ((ty, a), b) in self.types().zip(a).zip(b) {
            let order = compare_end(ty, a, b);
            // What comes behind an infinite end says nothing.
            if order.is_ne() || !matches!(a, RangeDatum::Value(_)) {
                return order;
            }
        }
        Ordering::Equal
    }

    /// The order in which partitions are kept and read.
    pub(super) fn is_before(&self, a: &PartitionBound, b: &PartitionBound) -> bool {
        let least = |values: &[Datum]| {
            let ty = self.types().next()?;
            values.iter().filter(|value| !value.is_null()).min_by(|a, b| compare(ty, a, b)).cloned()
        };
        match (a, b) {
            (PartitionBound::Default, _) => false,
            (_, PartitionBound::Default) => true,
            (PartitionBound::Range(a, _), PartitionBound::Range(b, _)) => self.compare_ends(a, b).is_lt(),
            (PartitionBound::List(a), PartitionBound::List(b)) => match (least(a), least(b)) {
                (Some(a), Some(b)) => self.types().next().is_some_and(|ty| compare(ty, &a, &b).is_lt()),
                (a, b) => a.is_some() && b.is_none(),
            },
            (
                PartitionBound::Hash { modulus: a, remainder: c },
                PartitionBound::Hash { modulus: b, remainder: d },
            ) => (a, c) < (b, d),
            _ => false,
        }
    }

    /// The partition that a row with this key belongs to, by its place.
    #[must_use]
    pub fn find(&self, values: &[Datum]) -> Option<usize> {
        let lookup = self.lookup();
        match self.strategy {
            PartitionStrategy::Hash => {
                let hash = hash_key(self.types().zip(values));
                lookup.moduli.iter().find_map(|modulus| {
                    let remainder = hash.checked_rem(u64::from(*modulus))? as u32;
                    lookup.remainders.get(&(*modulus, remainder)).copied()
                })
            }
            PartitionStrategy::List => {
                let (value, ty) = (values.first()?, self.types().next()?);
                let found = match value {
                    Datum::Null => lookup.null,
                    value => {
                        let found = lookup.values.binary_search_by(|(known, _)| compare(ty, known, value)).ok();
                        found.map(|at| lookup.values[at].1)
                    }
                };
                found.or_else(|| self.default_partition())
            }
            PartitionStrategy::Range => {
                let ranges = self.ranges();
                let is_whole = !values.iter().any(Datum::is_null);
                let begun = ranges.partition_point(|it| match &it.bound {
                    PartitionBound::Range(from, _) => is_whole && self.compare_key(values, from).is_ge(),
                    _ => false,
                });
                let last = begun.checked_sub(1).filter(|at| match &ranges[*at].bound {
                    PartitionBound::Range(_, to) => self.compare_key(values, to).is_lt(),
                    _ => false,
                });
                last.or_else(|| self.default_partition())
            }
        }
    }

    /// Whether each partition may have rows with such keys.
    #[must_use]
    pub fn overlapping(&self, sets: &[KeySet]) -> Vec<bool> {
        let mut found = vec![false; self.partitions.len()];
        if sets.iter().any(|set| matches!(set, KeySet::Values(values) if values.is_empty())) {
            return found;
        }
        if let Some(keys) = listed_keys(sets) {
            keys.iter().filter_map(|key| self.find(key)).for_each(|at| found[at] = true);
            return found;
        }
        match self.strategy {
            PartitionStrategy::Hash => found.fill(true),
            PartitionStrategy::List => {
                let (Some(set), Some(ty)) = (sets.first(), self.types().next()) else { return vec![true; found.len()] };
                for (found, partition) in found.iter_mut().zip(&self.partitions) {
                    *found = match &partition.bound {
                        PartitionBound::List(values) => values.iter().any(|value| set.contains(ty, value)),
                        _ => true,
                    };
                }
            }
            PartitionStrategy::Range => {
                let is_reached = |partition: &Partition| match &partition.bound {
                    PartitionBound::Range(from, to) => self.meets(0, sets, from, to, (true, true)),
                    _ => !self.covers(sets),
                };
                found.iter_mut().zip(&self.partitions).for_each(|(found, partition)| *found = is_reached(partition));
            }
        }
        found
    }

    /// Whether a key in these sets, equal to an end in all columns before `at` where it is tied to it, lies within a range.
    fn meets(
        &self,
        at: usize,
        sets: &[KeySet],
        from: &[RangeDatum],
        to: &[RangeDatum],
        (tied_from, tied_to): (bool, bool),
    ) -> bool {
        let (Some(set), Some(key)) = (sets.get(at), self.key.get(at)) else { return !tied_to };
        let ty = &key.ty;
        let beside = |value: &Datum, end: &RangeDatum| match end {
            RangeDatum::MinValue => Ordering::Greater,
            RangeDatum::MaxValue => Ordering::Less,
            RangeDatum::Value(end) => compare(ty, value, end),
        };
        let with = |value: &Datum| {
            let (low, high) = (beside(value, &from[at]), beside(value, &to[at]));
            let is_outside = tied_from && low.is_lt() || tied_to && high.is_gt();
            !is_outside && self.meets(at + 1, sets, from, to, (tied_from && low.is_eq(), tied_to && high.is_eq()))
        };
        let (lower, upper) = match set {
            KeySet::Null => return false,
            KeySet::Values(values) => return values.iter().any(with),
            KeySet::Any => (None, None),
            KeySet::Range { lower, upper } => (lower.as_ref(), upper.as_ref()),
        };
        // At one of the ends.
        let ends = [tied_from.then_some(&from[at]), tied_to.then_some(&to[at])];
        let at_end = ends.into_iter().flatten().any(|end| match end {
            RangeDatum::Value(value) => set.contains(ty, value) && with(value),
            RangeDatum::MinValue | RangeDatum::MaxValue => false,
        });
        // Between them, where all that follows is free.
        let below_to = !tied_to || lower.is_none_or(|(value, _)| beside(value, &to[at]).is_lt());
        let above_from = !tied_from || upper.is_none_or(|(value, _)| beside(value, &from[at]).is_gt());
        let has_between = !(tied_from && tied_to) || compare_end(ty, &from[at], &to[at]).is_lt();
        let is_possible = !(tied_to && to[at] == RangeDatum::MinValue) && !(tied_from && from[at] == RangeDatum::MaxValue);
        at_end || below_to && above_from && has_between && is_possible && !sets[at + 1..].contains(&KeySet::Null)
    }

    /// Whether the ranges leave no key of these sets to the default partition.
    fn covers(&self, sets: &[KeySet]) -> bool {
        let ([KeySet::Range { lower, upper }], [key]) = (sets, &self.key[..]) else { return false };
        let end = |end: &Option<(Datum, bool)>, none: RangeDatum| {
            end.as_ref().map_or(none, |(value, _)| RangeDatum::Value(value.clone()))
        };
        let mut reached = end(lower, RangeDatum::MinValue);
        let last = end(upper, RangeDatum::MaxValue);
        let takes_last = upper.as_ref().is_some_and(|(_, is_inside)| *is_inside);
        let order = |a: &RangeDatum, b: &RangeDatum| self.compare_ends(std::slice::from_ref(a), std::slice::from_ref(b));
        let _ = key;
        for partition in self.ranges() {
            let PartitionBound::Range(from, to) = &partition.bound else { continue };
            let ([from], [to]) = (&from[..], &to[..]) else { return false };
            if order(to, &reached).is_le() {
                continue;
            }
            if order(from, &reached).is_gt() {
                return false;
            }
            reached = to.clone();
            match order(&reached, &last) {
                Ordering::Greater => return true,
                Ordering::Equal if !takes_last => return true,
                Ordering::Equal | Ordering::Less => {}
            }
        }
        false
    }

    /// *bounds-apart*: whether a partition of this name may have this bound. `name_of`: the names of tables.
    ///
    /// # Errors
    /// 42P17.
    pub fn check_new(&self, name: &str, bound: &PartitionBound, name_of: &dyn Fn(u32) -> String) -> SqlResult<()> {
        let overlaps = |at: usize| {
            let other = name_of(self.partitions[at].id);
            Err(invalid(format!("partition \"{name}\" would overlap partition \"{other}\"")))
        };
        match bound {
            PartitionBound::Default => match self.default_partition() {
                None => Ok(()),
                Some(at) => {
                    let other = name_of(self.partitions[at].id);
                    let message = format!("partition \"{name}\" conflicts with existing default partition \"{other}\"");
                    Err(invalid(message))
                }
            },
            PartitionBound::List(values) => {
                let lookup = self.lookup();
                let Some(ty) = self.types().next() else { return Ok(()) };
                for value in values {
                    let found = match value {
                        Datum::Null => lookup.null,
                        value => {
                            let found = lookup.values.binary_search_by(|(known, _)| compare(ty, known, value)).ok();
                            found.map(|at| lookup.values[at].1)
                        }
                    };
                    if let Some(at) = found {
                        return overlaps(at);
                    }
                }
                Ok(())
            }
            PartitionBound::Range(from, to) => {
                if self.compare_ends(from, to).is_ge() {
                    let shown = |end: &[RangeDatum]| end_text(self.types(), end);
                    let (from, to) = (shown(from), shown(to));
                    return Err(invalid(format!("empty range bound specified for partition \"{name}\"")).with_detail(format!(
                        "Specified lower bound {from} is greater than or equal to upper bound {to}."
                    )));
                }
                let is_met = |partition: &Partition| match &partition.bound {
                    PartitionBound::Range(begin, end) => {
                        self.compare_ends(begin, to).is_lt() && self.compare_ends(from, end).is_lt()
                    }
                    _ => false,
                };
                self.partitions.iter().position(is_met).map_or(Ok(()), overlaps)
            }
            PartitionBound::Hash { modulus, remainder } => self.check_hash(*modulus, *remainder, name_of, &overlaps),
        }
    }

    fn check_hash(
        &self,
        modulus: u32,
        remainder: u32,
        name_of: &dyn Fn(u32) -> String,
        overlaps: &dyn Fn(usize) -> SqlResult<()>,
    ) -> SqlResult<()> {
        let known: Vec<(u32, u32)> = self
            .partitions
            .iter()
            .filter_map(|it| match it.bound {
                PartitionBound::Hash { modulus, remainder } => Some((modulus, remainder)),
                _ => None,
            })
            .collect();
        let refuse = |at: usize, text: &str| {
            let message = "every hash partition modulus must be a factor of the next larger modulus";
            let (other, name) = (known[at].0, name_of(self.partitions[at].id));
            let detail =
                format!("The new modulus {modulus} is not {text} {other}, the modulus of existing partition \"{name}\".");
            Err(invalid(message.to_owned()).with_detail(detail))
        };
        let next = known.partition_point(|it| *it <= (modulus, remainder));
        if let Some(before) = next.checked_sub(1)
            && modulus % known[before].0 != 0
        {
            return refuse(before, "divisible by");
        }
        if next < known.len() && known[next].0 % modulus != 0 {
            return refuse(next, "a factor of");
        }
        // Each modulus is a factor of the greater ones, so that the remainders of the lesser one tell.
        let is_met = |(of, other): &(u32, u32)| {
            let least = modulus.min(*of);
            remainder.checked_rem(least) == other.checked_rem(least)
        };
        known.iter().position(is_met).map_or(Ok(()), overlaps)
    }

    /// A key as an error about its row shows it.
    #[must_use]
    pub fn key_text(&self, values: &[Datum]) -> String {
        let shown = self.types().zip(values).map(|(ty, value)| match value {
            Datum::Null => "null".to_owned(),
            value => to_text(ty, value, &Formatting::default()),
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Two ends of one column.
fn compare_end(ty: &SqlType, a: &RangeDatum, b: &RangeDatum) -> Ordering {
    let rank = |end: &RangeDatum| match end {
        RangeDatum::MinValue => 0,
        RangeDatum::Value(_) => 1,
        RangeDatum::MaxValue => 2,
    };
    match (a, b) {
        (RangeDatum::Value(a), RangeDatum::Value(b)) => compare(ty, a, b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Every key that the sets allow, where they list all values of all columns.
fn listed_keys(sets: &[KeySet]) -> Option<Vec<Vec<Datum>>> {
    let mut keys = vec![Vec::with_capacity(sets.len())];
    for set in sets {
        let values = match set {
            KeySet::Null => &[Datum::Null][..],
            KeySet::Values(values) => values,
            KeySet::Any | KeySet::Range { .. } => return None,
        };
        if keys.len() * values.len() > LISTED_KEYS_MAX {
            return None;
        }
        let with = |key: &Vec<Datum>, value: &Datum| key.iter().chain([value]).cloned().collect();
        keys = keys.iter().flat_map(|key| values.iter().map(move |value| with(key, value))).collect();
    }
    Some(keys)
}
