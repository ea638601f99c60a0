//! Inverted indexes: which conditions name keys, and what it costs to find rows by them.

use builtins::Builtin;
use catalog::{ColumnStatistics, Index};
use types::{Datum, SqlType};
use types::inverted::{KeyClass, KeyQuestion, WantedKeys, entry_keys, wanted};

use super::access::Base;
use super::exprs::{column_of, comparison, is_volatile, same_key_family};
use super::selectivity::{Known, ANY_ELEMENTS};
use super::cost;
use crate::expr::Expr;
use crate::plan::{EntryCondition, EntryScan, EntryTerm};

/// Shares of rows that PostgreSQL guesses where it knows nothing of a column.
const MATCHING: f64 = 0.01;
const ARRAY_CONTAINS: f64 = 0.005;
/// Values of a sample tell no shares below this.
const SHARE_MIN: f64 = 0.0001;

/// The question that an operator asks of the column on its left, or right.
fn question_of(builtin: &'static Builtin, of_right: bool) -> Option<KeyQuestion> {
    use KeyQuestion::{ContainedBy, Contains, Equals, HasAllKeys, HasAnyKey, HasKey, Matches, Overlaps};
    Some(match (builtin.name(), of_right) {
        ("jsonb_contains" | "arraycontains", false) | ("jsonb_contained" | "arraycontained", true) => Contains,
        ("jsonb_contained" | "arraycontained", false) | ("jsonb_contains" | "arraycontains", true) => ContainedBy,
        ("arrayoverlap", _) => Overlaps,
        ("ts_match_vq", false) | ("ts_match_qv", true) => Matches,
        ("jsonb_exists", false) => HasKey,
        ("jsonb_exists_any", false) => HasAnyKey,
        ("jsonb_exists_all", false) => HasAllKeys,
        _ if comparison(builtin) == Some("=") => Equals,
        _ => return None,
    })
}

/// What a condition asks of a column, and the value it asks about.
fn asked<'e>(condition: &'e Expr, types: &dyn Fn(usize) -> SqlType) -> Option<(usize, KeyQuestion, &'e Expr)> {
    let Expr::Call { builtin, args, .. } = condition else { return None };
    let [left, right] = &args[..] else { return None };
    for (of_right, column, value) in [(false, left, right), (true, right, left)] {
        let (Some(column), Some(question)) = (column_of(column), question_of(builtin, of_right)) else { continue };
        // It is computed for the look-up and for the filter.
        if value.is_row_independent() && !is_volatile(value) && may_ask(question, &types(column), &value.ty()) {
            return Some((column, question, value));
        }
    }
    None
}

/// Whether a value has keys as those of a column are.
fn may_ask(question: KeyQuestion, column: &SqlType, value: &SqlType) -> bool {
    match question {
        KeyQuestion::HasKey | KeyQuestion::HasAnyKey | KeyQuestion::HasAllKeys | KeyQuestion::Matches => true,
        KeyQuestion::Contains | KeyQuestion::ContainedBy | KeyQuestion::Overlaps | KeyQuestion::Equals => {
            match (column.element(), value.element()) {
                (Some(column), Some(value)) => same_key_family(&column, &value),
                _ => same_key_family(column, value),
            }
        }
    }
}

/// How an index finds the rows that a condition may let through; none where the condition names no key of it.
fn condition_of(index: &Index, base: &Base, condition: &Expr) -> Option<EntryCondition> {
    match condition {
        Expr::And(parts) => {
            let mut found: Vec<EntryCondition> = parts.iter().filter_map(|part| condition_of(index, base, part)).collect();
            if found.len() > 1 { Some(EntryCondition::All(found)) } else { found.pop() }
        }
        Expr::Or(arms) => {
            arms.iter().map(|arm| condition_of(index, base, arm)).collect::<Option<_>>().map(EntryCondition::Any)
        }
        condition => {
            let (column, question, value) = asked(condition, &|column| base.table.columns[column].ty)?;
            let place = base.table.key_positions(index).zip(&index.details.inverted);
            let place = place.enumerate().find(|(_, (of, class))| *of == column && class.answers(question))?.0;
            Some(EntryCondition::Term(EntryTerm { place, question, value: value.clone() }))
        }
    }
}

/// What an inverted index makes of filters.
pub(super) struct Found {
    pub scan: EntryScan,
    /// The filters that it finds rows by.
    pub narrowed: Vec<usize>,
    /// What finding the rows costs, and the share of all rows that they are.
    pub cost: f64,
    pub share: f64,
}

/// The rows that filters let through by an inverted index; none where no filter names a key of it.
pub(super) fn matching(base: &Base, position: usize, filters: &[Expr]) -> Option<Found> {
    let index = &base.table.indexes[position];
    let mut narrowed = Vec::new();
    let mut parts = Vec::new();
    for (at, filter) in filters.iter().enumerate() {
        if let Some(condition) = condition_of(index, base, filter) {
            narrowed.push(at);
            parts.push(condition);
        }
    }
    let condition = if parts.len() > 1 { EntryCondition::All(parts) } else { parts.pop()? };
    let look = look_up(index, base, &condition);
    Some(Found { scan: EntryScan { index: position, condition }, narrowed, cost: look.cost, share: look.share })
}

/// Of a condition: what its entries cost, and the share of rows that they lead to.
struct Look {
    cost: f64,
    share: f64,
}

fn look_up(index: &Index, base: &Base, condition: &EntryCondition) -> Look {
    let entries = |share: f64| share * base.rows() * cost::PER_ROW;
    match condition {
        EntryCondition::Term(term) => {
            let column = base.table.key_positions(index).nth(term.place).unwrap_or_default();
            let class = index.details.inverted[term.place];
            let ty = base.table.columns[column].ty;
            let share = share(base.statistics(column), class, &ty, term.question, &term.value);
            let keys = match &term.value {
                Expr::Const(value, _) => match wanted(class, &ty, term.question, value) {
                    WantedKeys::All(keys) | WantedKeys::Any(keys) | WantedKeys::AnyPrefix(keys) => keys.len() as f64,
                    WantedKeys::Anything => return Look { cost: 0.0, share: 1.0 },
                },
                _ if matches!(term.question, KeyQuestion::HasKey) => 1.0,
                _ => ANY_ELEMENTS,
            };
            let each = if matches!(term.question, KeyQuestion::ContainedBy) { (share * keys).min(1.0) } else { share };
            Look { cost: keys * cost::PER_SPAN + keys * entries(share), share: each }
        }
        EntryCondition::Any(arms) => {
            let looks: Vec<Look> = arms.iter().map(|arm| look_up(index, base, arm)).collect();
            let share = looks.iter().map(|look| look.share).sum::<f64>().min(1.0);
            Look { cost: looks.iter().map(|look| look.cost).sum(), share }
        }
        // Of all stretches about as much is read as of the shortest.
        EntryCondition::All(parts) => {
            let looks: Vec<Look> = parts.iter().map(|part| look_up(index, base, part)).collect();
            let least = looks.iter().map(|look| look.share).fold(1.0, f64::min);
            let cost = looks.iter().map(|look| look.cost).fold(f64::MAX, f64::min) * looks.len() as f64;
            Look { cost, share: least }
        }
    }
}

/// The share of rows for which the answer to a question is yes, by their keys.
fn share(statistics: Option<&ColumnStatistics>, class: KeyClass, ty: &SqlType, question: KeyQuestion, value: &Expr) -> f64 {
    let unknown = match question {
        KeyQuestion::Equals => 1.0 / cost::DEFAULT_DISTINCT,
        KeyQuestion::Contains | KeyQuestion::ContainedBy if ty.is_array() => ARRAY_CONTAINS,
        // A path says more than the keys and scalars on it.
        _ if class == KeyClass::JsonbPath => MATCHING / 2.0,
        _ => MATCHING,
    };
    let (Some(statistics), Expr::Const(value, _)) = (statistics, value) else { return unknown };
    let wanted = wanted(class, ty, question, value);
    let matches = |datum: &Datum| {
        let keys = entry_keys(class, ty, datum);
        match &wanted {
            WantedKeys::Anything => true,
            WantedKeys::All(wanted) => wanted.iter().all(|key| keys.binary_search(key).is_ok()),
            WantedKeys::Any(wanted) if question == KeyQuestion::ContainedBy => {
                keys.iter().all(|key| wanted.binary_search(key).is_ok())
            }
            WantedKeys::Any(wanted) => wanted.iter().any(|key| keys.binary_search(key).is_ok()),
            WantedKeys::AnyPrefix(wanted) => wanted.iter().any(|prefix| keys.iter().any(|key| key.starts_with(prefix))),
        }
    };
    let common: f64 = statistics.common.iter().map(|(_, share)| share).sum();
    let matched: f64 = statistics.common.iter().filter(|(datum, _)| matches(datum)).map(|(_, share)| share).sum();
    let rest = (1.0 - statistics.null_fraction - common).max(0.0);
    let of_rest = match statistics.histogram.len() {
        0 => unknown,
        // The values between which the others lie are a sample of them.
        many => match statistics.histogram.iter().filter(|datum| matches(datum)).count() {
            0 => unknown.min(1.0 / many as f64),
            some => some as f64 / many as f64,
        },
    };
    (matched + rest * of_rest).clamp(SHARE_MIN, 1.0)
}

/// The share of rows that a condition about keys lets through; none where it is none.
pub(super) fn share_of(condition: &Expr, known: &dyn Known) -> Option<f64> {
    let Expr::Call { builtin, args, .. } = condition else { return None };
    let column = args.iter().find_map(column_of);
    let ty = args.iter().find(|arg| column_of(arg).is_some()).map(Expr::ty)?;
    let (_, question, value) = asked(condition, &|_| ty).filter(|(_, question, _)| *question != KeyQuestion::Equals)?;
    let class = match question {
        KeyQuestion::Matches => KeyClass::TsVector,
        _ if builtin.name().starts_with("array") => KeyClass::Array,
        _ => KeyClass::Jsonb,
    };
    Some(share(known.statistics(column?), class, &ty, question, value))
}

impl EntryScan {
    /// Whether an expression in it is one of these.
    pub fn any_value(&self, is_one: &mut dyn FnMut(&Expr) -> bool) -> bool {
        fn any(condition: &EntryCondition, is_one: &mut dyn FnMut(&Expr) -> bool) -> bool {
            match condition {
                EntryCondition::Term(term) => is_one(&term.value),
                EntryCondition::All(parts) | EntryCondition::Any(parts) => parts.iter().any(|part| any(part, is_one)),
            }
        }
        any(&self.condition, is_one)
    }
}
