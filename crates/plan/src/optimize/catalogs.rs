//! Reading the tables that are made when read: by a column's value where a condition gives one.
//!
//! The rows of one value are made without a look at any others where the catalog says so ([`estimated_matches`]). The value
//! is a constant, or that of a row on the other side of a join: an [`Node::Apply`] whose right side is made for each row of
//! its left.
//!
//! A pattern such as psql writes for a name, `^(t)$`, gives a value as well; it stays a condition.

use std::sync::Arc;

use catalog::VirtualTable;
use catalog::virtual_tables::{estimated_matches, estimated_rows};
use types::{Datum, SqlType};

use super::{
    Fact, Part, Want, access, cost,
    decorrelate::has_outer,
    exprs::{comparison, conjunction, equality, mark, remap, shift},
    make,
    method::Condition,
    selectivity,
};
use crate::{
    PlanContext,
    expr::Expr,
    plan::{CatalogLookup, Estimate, JoinKind, LookupValues, Node, PlanColumn},
};

/// Making a row.
const PER_MADE: f64 = 0.03;
/// Making the rows of one value, and running what is run for each row of a join.
const PER_LOOKUP: f64 = 0.1;

/// A table of the catalogs and what is asked of it, whichever way it is read.
#[derive(Clone, Debug)]
pub(super) struct MadeBase {
    table: &'static VirtualTable,
    /// All columns.
    columns: Vec<PlanColumn>,
    /// The columns that are read, by their positions.
    read: Vec<usize>,
    /// Over the table's columns.
    filters: Vec<Expr>,
    /// Where a join counts the table's first column.
    pub start: usize,
    /// For each column, about how many rows a value has, if they are found by it.
    matches: Vec<Option<f64>>,
}

impl MadeBase {
    /// The key of a join by which rows are found best: its place among the keys, its column, and how many rows that are.
    fn best_key(&self, keys: &[(&Expr, &Expr)]) -> Option<(usize, usize, f64)> {
        let found = keys.iter().enumerate().filter_map(|(at, (from, to))| {
            let (column, ty) = column_of(to)?;
            let column = column.checked_sub(self.start).filter(|column| *column < self.columns.len())?;
            Some((at, column, self.matches[column].filter(|_| is_alike(&ty, &from.ty()))?))
        });
        found.min_by(|a, b| a.2.total_cmp(&b.2))
    }

    /// What the rows for one row of a join's other side cost.
    pub fn lookup_cost(&self, keys: &[(&Expr, &Expr)]) -> Option<f64> {
        let (_, _, matches) = self.best_key(keys)?;
        let operations = (self.filters.len() + keys.len()) as f64 * cost::PER_OPERATION;
        Some(PER_LOOKUP + matches * (PER_MADE + operations))
    }
}

fn scan(table: &'static VirtualTable, read: &[usize], lookup: Option<CatalogLookup>, mut filters: Vec<Expr>) -> Node {
    let place = |column: usize| read.binary_search(&column).expect("the filter's columns are read");
    filters.iter_mut().for_each(|filter| remap(filter, &place));
    Node::VirtualScan { table, columns: read.to_vec(), lookup, filter: conjunction(filters) }
}

pub(super) fn plan_virtual(
    table: &'static VirtualTable,
    columns: Vec<PlanColumn>,
    filters: Vec<Expr>,
    mut want: Want,
    context: &PlanContext<'_>,
) -> Part {
    let matches: Vec<Option<f64>> =
        (0..table.columns.len()).map(|column| estimated_matches(table, column, context.catalog)).collect();
    filters.iter().for_each(|filter| mark(filter, &mut want.needed));
    let read: Vec<usize> = (0..columns.len()).filter(|column| want.needed[*column]).collect();
    let mut rest = filters.clone();
    let lookup = take_lookup(&mut rest, &matches);
    let all = estimated_rows(table, context.catalog);
    let found = lookup.as_ref().map_or(all, |lookup| lookup.rows(&matches));
    let share = selectivity::all(&rest, &selectivity::Nothing);
    let plan_columns: Vec<PlanColumn> = read.iter().map(|column| columns[*column].clone()).collect();
    let estimate = Estimate {
        rows: (found * share).max(1.0),
        width: plan_columns.iter().map(|column| access::default_width(&column.ty)).sum(),
        startup_cost: 0.0,
        total_cost: found * PER_MADE,
    };
    let facts = read.iter().zip(&plan_columns).map(|(column, named)| {
        let distinct = matches[*column].map(|matches| (all / matches).max(1.0));
        Fact { distinct, ..Fact::unknown(named) }
    });
    let facts: Vec<Fact> = facts.collect();
    let node = scan(table, &read, lookup, rest);
    let made = MadeBase { table, columns, read: read.clone(), filters, start: 0, matches };
    Part { columns: read, facts, made: Some(Box::new(made)), ..Part::whole(make(node, plan_columns, estimate)) }
}

/// The rows of `right`'s table that have a value of each row of `left`.
pub(super) fn lookup(
    left: Part,
    right: &Part,
    made: &MadeBase,
    kind: JoinKind,
    keys: &[Condition],
    rest: Vec<Expr>,
    estimate: Estimate,
) -> Part {
    let pairs: Vec<(&Expr, &Expr)> = keys.iter().map(|key| (&key.left, &key.right)).collect();
    let (chosen, column, matches) = made.best_key(&pairs).expect("the choice has found it");
    let argument = left.placed(keys[chosen].left.clone());
    let values = LookupValues::One(Expr::Outer(0, argument.ty()));
    // Slots of a query around this one mean nothing below.
    let (above, own): (Vec<Expr>, Vec<Expr>) = made.filters.iter().cloned().partition(has_outer);
    let node = scan(made.table, &made.read, Some(CatalogLookup { column, values }), own);
    let own_columns: Vec<PlanColumn> = made.read.iter().map(|column| made.columns[*column].clone()).collect();
    let inner = Estimate { rows: matches, startup_cost: 0.0, total_cost: PER_LOOKUP + matches * PER_MADE, ..right.plan.estimate };
    let right_plan = Arc::new(make(node, own_columns.clone(), inner));
    let mut all = left.columns.clone();
    all.extend(made.read.iter().map(|column| column + made.start));
    let place = |column: usize| {
        all.iter().position(|known| *known == column).expect("columns-in-order: the condition's columns are looked up")
    };
    let mut conditions = rest;
    let others = keys.iter().enumerate().filter(|(at, _)| *at != chosen);
    conditions.extend(others.filter_map(|(_, key)| equality(key.left.clone(), key.right.clone())));
    conditions.extend(above.into_iter().map(|mut filter| {
        shift(&mut filter, made.start as isize);
        filter
    }));
    conditions.iter_mut().for_each(|condition| remap(condition, &place));
    let (mut plan_columns, mut facts) = (left.plan.columns.clone(), left.facts.clone());
    if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
        all.truncate(left.columns.len());
    } else {
        facts.extend(right.facts.iter().copied());
        plan_columns.extend(own_columns);
    }
    let node = Node::Apply {
        left: Box::new(left.plan),
        right: right_plan,
        arguments: vec![argument],
        kind,
        filter: conjunction(conditions),
    };
    Part { columns: all, facts, ..Part::whole(make(node, plan_columns, estimate)) }
}

impl CatalogLookup {
    /// How many rows it finds.
    fn rows(&self, matches: &[Option<f64>]) -> f64 {
        let values = match &self.values {
            LookupValues::One(_) => 1.0,
            LookupValues::Among(list) => list.len() as f64,
            LookupValues::AnyOf(_) => 10.0,
        };
        values * matches[self.column].unwrap_or(1.0)
    }
}

/// Takes the filter that leaves the fewest rows to be made out of the others.
fn take_lookup(filters: &mut Vec<Expr>, matches: &[Option<f64>]) -> Option<CatalogLookup> {
    let found = filters.iter().enumerate().filter_map(|(at, filter)| {
        let (lookup, is_exact) = lookup_of(filter)?;
        matches[lookup.column].map(|_| (at, is_exact, lookup))
    });
    let (at, is_exact, lookup) = found.min_by(|a, b| a.2.rows(matches).total_cmp(&b.2.rows(matches)))?;
    if is_exact {
        filters.remove(at);
    }
    Some(lookup)
}

/// Whether values of the two types are looked up alike: oids and their kin are integers, names are texts.
fn is_alike(a: &SqlType, b: &SqlType) -> bool {
    let number = |ty: &SqlType| ty.is_integer() || ty.is_reg() || *ty == SqlType::Oid;
    let text = |ty: &SqlType| {
        matches!(ty, SqlType::Text | SqlType::Varchar(None) | SqlType::Name | SqlType::QuotedChar)
    };
    (number(a) && number(b)) || (text(a) && text(b))
}

/// Whether a cast between types that are alike leaves every value as it is: others cut texts short, wrap or refuse numbers.
fn keeps_value(from: &SqlType, to: &SqlType) -> bool {
    let is_oid = |ty: &SqlType| ty.is_reg() || *ty == SqlType::Oid;
    match to {
        to if from == to => true,
        SqlType::Text | SqlType::Varchar(None) => {
            matches!(from, SqlType::Text | SqlType::Varchar(None) | SqlType::Name)
        }
        SqlType::Int8 => from.is_integer() || is_oid(from),
        SqlType::Int4 => *from == SqlType::Int2,
        to => is_oid(to) && is_oid(from),
    }
}

/// The column that an expression has the value of, and its type.
fn column_of(expr: &Expr) -> Option<(usize, SqlType)> {
    match expr {
        Expr::Column(position, ty) => Some((*position, *ty)),
        Expr::Cast { expr, to, .. } if keeps_value(&expr.ty(), to) => column_of(expr),
        _ => None,
    }
}

fn is_usable(value: &Expr, ty: &SqlType) -> bool {
    value.is_row_independent() && !value.runs_queries() && is_alike(ty, &value.ty())
}

/// What a condition asks of one column, and whether that is all it says.
fn lookup_of(filter: &Expr) -> Option<(CatalogLookup, bool)> {
    let exact = |column: usize, values: LookupValues| Some((CatalogLookup { column, values }, true));
    match filter {
        Expr::Call { builtin, args, .. } => {
            let [left, right] = &args[..] else { return None };
            if builtin.name() == "textregexeq" {
                let (column, ty) = column_of(left)?;
                let Expr::Const(Datum::Text(pattern), _) = right else { return None };
                let values = whole_values(pattern).filter(|_| is_alike(&ty, &SqlType::Text))?;
                let values = values.into_iter().map(|value| Expr::Const(Datum::text(value), SqlType::Text)).collect();
                return Some((CatalogLookup { column, values: LookupValues::Among(values) }, false));
            }
            if comparison(builtin)? != "=" {
                return None;
            }
            let ((column, ty), value) = match (column_of(left), column_of(right)) {
                (Some(found), None) => (found, right),
                (None, Some(found)) => (found, left),
                _ => return None,
            };
            is_usable(value, &ty).then(|| exact(column, LookupValues::One(value.clone())))?
        }
        Expr::InList { expr, list, negated: false } => {
            let (column, ty) = column_of(expr)?;
            list.iter().all(|value| is_usable(value, &ty)).then(|| exact(column, LookupValues::Among(list.clone())))?
        }
        Expr::AnyAll { left, array, comparison: by, all: false } => {
            let (column, ty) = column_of(left)?;
            let element = array.ty().element()?;
            let usable = comparison(by.builtin) == Some("=")
                && keeps_value(&left.ty(), &by.left_cast)
                && keeps_value(&element, &by.right_cast)
                && is_alike(&element, &ty)
                && array.is_row_independent()
                && !array.runs_queries();
            usable.then(|| exact(column, LookupValues::AnyOf((**array).clone())))?
        }
        _ => None,
    }
}

/// The texts that a pattern is true of, where these are written out in it: `^(a|b)$`.
fn whole_values(pattern: &str) -> Option<Vec<String>> {
    let body = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let (inner, has_arms) = match body.strip_prefix('(').and_then(|body| body.strip_suffix(')')) {
        Some(inner) => (inner, true),
        None => (body, false),
    };
    let mut values = vec![String::new()];
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let value = match c {
            '\\' => chars.next().filter(|c| c.is_ascii_punctuation())?,
            '|' if has_arms => {
                values.push(String::new());
                continue;
            }
            '.' | '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' => return None,
            other => other,
        };
        values.last_mut().expect("there is a first").push(value);
    }
    // An arm without anything is no way to write a name.
    values.iter().all(|value| !value.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_that_change_values_hide_columns() {
        use SqlType::{Int2, Int4, Int8, Name, Oid, QuotedChar, RegClass, RegType, Text, Varchar};
        for (from, to) in [
            (Name, Text),
            (Name, Varchar(None)),
            (Text, Varchar(None)),
            (Name, Name),
            (QuotedChar, QuotedChar),
            (Oid, Int8),
            (RegClass, Int8),
            (Oid, RegClass),
            (RegType, Oid),
            (Int2, Int4),
            (Int4, Int8),
        ] {
            assert!(keeps_value(&from, &to) && is_alike(&from, &to), "{from:?} to {to:?}");
        }
        for (from, to) in [
            (QuotedChar, Text),
            (Text, QuotedChar),
            (Text, Name),
            (Name, Varchar(Some(3))),
            (Oid, Int4),
            (Int8, Int4),
            (Int4, Oid),
            (Int8, Oid),
            (Text, Oid),
            (Name, RegClass),
        ] {
            assert!(!keeps_value(&from, &to), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_pattern_that_is_written_out_names_its_texts() {
        let check = |pattern: &str, expected: Option<&[&str]>| {
            let found = whole_values(pattern);
            assert_eq!(found.as_ref().map(|it| it.iter().map(String::as_str).collect::<Vec<_>>()).as_deref(), expected, "{pattern}");
        };
        check("^(t5000)$", Some(&["t5000"]));
        check("^t$", Some(&["t"]));
        check("^(a|b\\$c)$", Some(&["a", "b$c"]));
        check("^(größe)$", Some(&["größe"]));
        for other in ["t", "^t", "t$", "^(t.*)$", "^(t)+$", "^a|b$", "^(a)|(b)$", "^(\\d)$", "^()$", "^(a|)$", "^$", "^(t)\\$"] {
            check(other, None);
        }
    }
}
