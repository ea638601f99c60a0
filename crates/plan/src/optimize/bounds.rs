//! What a filter says about one column, in a form that an index can use.
//!
//! A bound is *exact* when a row of the span satisfies the filter; otherwise the span only narrows what is read, and the
//! filter is evaluated on each row: the fixed prefix of a LIKE pattern, the first column of a row comparison, what all
//! arms of an OR have in common.

use builtins::Builtin;
use catalog::Table;
use types::{Datum, SqlType};

use super::exprs::{column_of, commuted, comparison, conjuncts, same_key_family};
use crate::{bind::same::same_expr, expr::Expr};

/// The end of a range of values, and whether the value itself is inside.
type End = (Expr, bool);

/// A condition on one column that an index can use.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    Equal(Expr),
    In(Vec<Expr>),
    /// One of the elements of an array.
    AnyOf(Expr),
    IsNull,
    NotNull,
    Range { lower: Option<End>, upper: Option<End> },
}

#[derive(Clone, Debug)]
pub(super) struct ColumnBound {
    /// Position in the table.
    pub column: usize,
    pub bound: Bound,
    /// The bound says all that the filter says.
    pub exact: bool,
}

impl ColumnBound {
    fn exact(column: usize, bound: Bound) -> Self {
        Self { column, bound, exact: true }
    }
}

/// Whether a value can stand in a key of a column: the same for every row, and of a type with the column's key bytes.
pub(super) fn usable_value(value: &Expr, column: &SqlType) -> bool {
    value.is_row_independent() && same_key_family(&value.ty(), column)
}

/// The bound of a filter, if it has one.
pub(super) fn bound_of(filter: &Expr, table: &Table) -> Option<ColumnBound> {
    match filter {
        Expr::Call { builtin, args, .. } => match &args[..] {
            [left, right] => comparison_bound(builtin, left, right, table).or_else(|| like(builtin, left, right, table)),
            _ => None,
        },
        Expr::InList { expr, list, negated: false } => {
            let column = column_of(expr)?;
            let ty = &table.columns[column].ty;
            let usable = list.iter().all(|value| usable_value(value, ty));
            usable.then(|| ColumnBound::exact(column, Bound::In(list.clone())))
        }
        Expr::AnyAll { left, array, comparison: by, all: false } => {
            let column = column_of(left)?;
            let ty = &table.columns[column].ty;
            let keeps_left = same_key_family(&left.ty(), &by.left_cast);
            let element = array.ty().element()?;
            let usable = comparison(by.builtin) == Some("=")
                && keeps_left
                && array.is_row_independent()
                && same_key_family(&element, ty)
                && same_key_family(&element, &by.right_cast);
            usable.then(|| ColumnBound::exact(column, Bound::AnyOf((**array).clone())))
        }
        Expr::IsNull(expr) => Some(ColumnBound::exact(column_of(expr)?, Bound::IsNull)),
        Expr::Not(inner) => match &**inner {
            Expr::IsNull(expr) => Some(ColumnBound::exact(column_of(expr)?, Bound::NotNull)),
            _ => None,
        },
        Expr::Or(arms) => of_arms(arms, table),
        _ => None,
    }
}

fn comparison_bound(builtin: &'static Builtin, left: &Expr, right: &Expr, table: &Table) -> Option<ColumnBound> {
    let symbol = comparison(builtin)?;
    let (column, value, symbol) = match (column_of(left), column_of(right)) {
        (Some(column), _) if usable_value(right, &table.columns[column].ty) => (column, right, symbol),
        (_, Some(column)) if usable_value(left, &table.columns[column].ty) => {
            let mirrored = commuted(symbol);
            (column, left, mirrored)
        }
        _ => return None,
    };
    let value = value.clone();
    let bound = match symbol {
        "=" => Bound::Equal(value),
        "<" | "<=" => Bound::Range { lower: None, upper: Some((value, symbol == "<=")) },
        ">" | ">=" => Bound::Range { lower: Some((value, symbol == ">=")), upper: None },
        _ => return None,
    };
    Some(ColumnBound::exact(column, bound))
}

/// `column LIKE 'prefix%'`: keys compare as bytes, so all matches lie between the prefix and the next one.
fn like(builtin: &'static Builtin, left: &Expr, right: &Expr, table: &Table) -> Option<ColumnBound> {
    if builtin.name() != "textlike" {
        return None;
    }
    let column = column_of(left)?;
    let ty = table.columns[column].ty;
    let Expr::Const(Datum::Text(pattern), _) = right else { return None };
    if !same_key_family(&SqlType::Text, &ty) {
        return None;
    }
    let (prefix, rest) = fixed_prefix(pattern);
    if prefix.is_empty() {
        return None;
    }
    let end = |text: String| Expr::Const(Datum::Text(text.into()), SqlType::Text);
    let upper = match rest {
        Rest::Nothing => Some((end(prefix.clone()), true)),
        Rest::Anything | Rest::Other => next_prefix(&prefix).map(|next| (end(next), false)),
    };
    let bound = Bound::Range { lower: Some((end(prefix), true)), upper };
    Some(ColumnBound { column, bound, exact: rest != Rest::Other })
}

/// What follows the fixed prefix of a LIKE pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// A single `%`.
    Anything,
    Other,
}

fn fixed_prefix(pattern: &str) -> (String, Rest) {
    let mut prefix = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' if chars.as_str().is_empty() => return (prefix, Rest::Anything),
            '%' | '_' => return (prefix, Rest::Other),
            '\\' => match chars.next() {
                Some(escaped) => prefix.push(escaped),
                // An error, which evaluation reports.
                None => return (prefix, Rest::Other),
            },
            other => prefix.push(other),
        }
    }
    (prefix, Rest::Nothing)
}

/// The least text above all that begin with a prefix; none where there is no such text.
fn next_prefix(prefix: &str) -> Option<String> {
    let mut next = prefix.to_owned();
    while let Some(last) = next.pop() {
        // Surrogates are no characters.
        let following = match u32::from(last) + 1 {
            0xd800 => 0xe000,
            code => code,
        };
        if let Some(following) = char::from_u32(following) {
            next.push(following);
            return Some(next);
        }
    }
    None
}

/// What all arms of an OR say about one column.
fn of_arms(arms: &[Expr], table: &Table) -> Option<ColumnBound> {
    let bounds: Vec<(Vec<ColumnBound>, usize)> = arms
        .iter()
        .map(|arm| {
            let mut parts = Vec::new();
            conjuncts(arm.clone(), &mut parts);
            (parts.iter().filter_map(|part| bound_of(part, table)).collect(), parts.len())
        })
        .collect();
    let (first, _) = bounds.first()?;
    let mut columns: Vec<usize> = first.iter().map(|found| found.column).collect();
    columns.dedup();
    columns.into_iter().find_map(|column| values_of_arms(&bounds, column)).or_else(|| {
        first.iter().find_map(|found| hull_of_arms(&bounds, found.column))
    })
}

/// `column = a OR column = b`, each perhaps with further conditions.
fn values_of_arms(arms: &[(Vec<ColumnBound>, usize)], column: usize) -> Option<ColumnBound> {
    let mut values: Vec<Expr> = Vec::with_capacity(arms.len());
    let mut exact = true;
    for (bounds, parts) in arms {
        let found = bounds.iter().find(|found| {
            found.column == column && matches!(found.bound, Bound::Equal(_) | Bound::In(_))
        })?;
        match &found.bound {
            Bound::Equal(value) => values.push(value.clone()),
            Bound::In(list) => values.extend(list.iter().cloned()),
            _ => return None,
        }
        exact &= found.exact && *parts == 1;
    }
    Some(ColumnBound { column, bound: Bound::In(values), exact })
}

/// `(a, b) > (x, y)` is `a > x OR a = x AND b > y`: `a >= x` in any case.
fn hull_of_arms(arms: &[(Vec<ColumnBound>, usize)], column: usize) -> Option<ColumnBound> {
    let end_of = |bounds: &[ColumnBound], upper: bool| -> Option<Expr> {
        bounds.iter().filter(|found| found.column == column).find_map(|found| match &found.bound {
            Bound::Equal(value) => Some(value.clone()),
            Bound::Range { upper: Some((value, _)), .. } if upper => Some(value.clone()),
            Bound::Range { lower: Some((value, _)), .. } if !upper => Some(value.clone()),
            _ => None,
        })
    };
    let common = |upper: bool| {
        let first = end_of(&arms.first()?.0, upper)?;
        let same = |(bounds, _): &(Vec<ColumnBound>, usize)| {
            end_of(bounds, upper).is_some_and(|value| same_expr(&value, &first))
        };
        arms[1..].iter().all(same).then_some((first, true))
    };
    let (lower, upper) = (common(false), common(true));
    if lower.is_none() && upper.is_none() {
        return None;
    }
    Some(ColumnBound { column, bound: Bound::Range { lower, upper }, exact: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_like_pattern_has_a_fixed_prefix() {
        for (pattern, prefix, rest) in [
            ("abc", "abc", Rest::Nothing),
            ("abc%", "abc", Rest::Anything),
            ("a_c", "a", Rest::Other),
            ("a%c", "a", Rest::Other),
            ("a\\%c%", "a%c", Rest::Anything),
            ("%", "", Rest::Anything),
            ("a\\", "a", Rest::Other),
        ] {
            assert_eq!(fixed_prefix(pattern), (prefix.to_owned(), rest), "{pattern}");
        }
    }

    #[test]
    fn the_next_prefix_is_above_all_texts_with_the_prefix() {
        assert_eq!(next_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(next_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(next_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(next_prefix("\u{10ffff}"), None);
    }
}
