//! Bounds, keys and the conditions that partitions stand for, as SQL text.

use types::{Datum, Formatting, SqlType, quote_identifier, to_text};

use super::{KeyPart, PartitionBound, PartitionStrategy, Partitioned, RangeDatum};
use crate::definition::Style;
use crate::descriptor::Table;
use crate::view::CatalogView;

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value in a bound: what reads as a value of the type by itself stands without quotes.
fn value_text(ty: &SqlType, value: &Datum) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    let text = to_text(ty, value, &Formatting::default());
    match ty {
        SqlType::Int4 if !text.starts_with('-') => text,
        SqlType::Bool => if *value == Datum::Bool(true) { "true" } else { "false" }.to_owned(),
        SqlType::Numeric(_) if text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('.') => text,
        _ => quoted(&text),
    }
}

/// One end of a range: `(1, MAXVALUE)`.
pub(super) fn end_text<'a>(types: impl Iterator<Item = &'a SqlType>, end: &[RangeDatum]) -> String {
    let shown = types.zip(end).map(|(ty, end)| match end {
        RangeDatum::MinValue => "MINVALUE".to_owned(),
        RangeDatum::MaxValue => "MAXVALUE".to_owned(),
        RangeDatum::Value(value) => value_text(ty, value),
    });
    format!("({})", shown.collect::<Vec<_>>().join(", "))
}

impl Partitioned {
    /// As `pg_get_expr` shows `relpartbound`.
    #[must_use]
    pub fn bound_text(&self, bound: &PartitionBound) -> String {
        let types = || self.key.iter().map(|key| &key.ty);
        match bound {
            PartitionBound::Default => "DEFAULT".to_owned(),
            PartitionBound::Hash { modulus, remainder } => {
                format!("FOR VALUES WITH (modulus {modulus}, remainder {remainder})")
            }
            PartitionBound::List(values) => {
                let shown: Vec<String> =
                    types().next().map_or_else(Vec::new, |ty| values.iter().map(|value| value_text(ty, value)).collect());
                format!("FOR VALUES IN ({})", shown.join(", "))
            }
            PartitionBound::Range(from, to) => {
                format!("FOR VALUES FROM {} TO {}", end_text(types(), from), end_text(types(), to))
            }
        }
    }

    /// The columns and expressions of the key, as `pg_get_partkeydef` shows them.
    fn key_parts(&self, view: &CatalogView, table: &Table) -> Vec<String> {
        let shown = |part: &KeyPart| match part {
            KeyPart::Column(id) => {
                table.column_position(*id).map_or_else(String::new, |at| quote_identifier(&table.columns[at].name))
            }
            KeyPart::Expr(text) => {
                let shown = view.expr(table, text, Style::Plain);
                if crate::definition::is_call(&shown) { shown } else { format!("({shown})") }
            }
        };
        self.key.iter().map(|key| shown(&key.part)).collect()
    }

    /// What PARTITION BY says.
    #[must_use]
    pub fn definition(&self, view: &CatalogView, table: &Table) -> String {
        format!("{} ({})", self.strategy.name().to_uppercase(), self.key_parts(view, table).join(", "))
    }

    /// The key's parts in an error about a row that there is no partition for.
    #[must_use]
    pub fn key_names(&self, table: &Table) -> String {
        let shown = |part: &KeyPart| match part {
            KeyPart::Column(id) => {
                table.column_position(*id).map_or_else(String::new, |at| table.columns[at].name.clone())
            }
            KeyPart::Expr(text) => text.clone(),
        };
        self.key.iter().map(|key| shown(&key.part)).collect::<Vec<_>>().join(", ")
    }
}

/// A condition over the columns of a partition, in parts that all must hold, as SQL text that is read and shown again.
struct Condition<'a> {
    partitioned: &'a Partitioned,
    parent: &'a Table,
}

impl Condition<'_> {
    fn keys(&self) -> Vec<String> {
        let text = |part: &KeyPart| match part {
            KeyPart::Column(id) => {
                self.parent.column_position(*id).map_or_else(String::new, |at| quote_identifier(&self.parent.columns[at].name))
            }
            KeyPart::Expr(text) => format!("({text})"),
        };
        self.partitioned.key.iter().map(|key| text(&key.part)).collect()
    }

    fn literal(&self, at: usize, value: &Datum) -> String {
        let ty = self.partitioned.key.get(at).map_or(SqlType::Text, |key| key.ty);
        match ty {
            SqlType::Int4 | SqlType::Bool => value_text(&ty, value),
            _ => format!("{}::{}", quoted(&to_text(&ty, value, &Formatting::default())), ty.without_typmod()),
        }
    }

    fn list(&self, values: &[Datum]) -> Vec<String> {
        let keys = self.keys();
        let Some(key) = keys.first() else { return Vec::new() };
        let has_null = values.iter().any(Datum::is_null);
        let literals: Vec<String> =
            values.iter().filter(|value| !value.is_null()).map(|value| self.literal(0, value)).collect();
        let equal = match &literals[..] {
            [] => None,
            [only] => Some(format!("{key} = {only}")),
            many if self.partitioned.key.first().is_some_and(|key| key.ty.is_array()) => {
                let each: Vec<String> = many.iter().map(|one| format!("{key} = {one}")).collect();
                Some(format!("({})", each.join(" OR ")))
            }
            many => Some(format!("{key} = ANY (ARRAY[{}])", many.join(", "))),
        };
        match (has_null, equal) {
            (true, None) => vec![format!("{key} IS NULL")],
            (true, Some(equal)) => vec![format!("({key} IS NULL OR {equal})")],
            (false, equal) => [Some(format!("{key} IS NOT NULL")), equal].into_iter().flatten().collect(),
        }
    }

    fn not_null(&self) -> Vec<String> {
        self.keys().iter().map(|key| format!("{key} IS NOT NULL")).collect()
    }

    /// The ends of a range, without what is said of NULL.
    fn range(&self, from: &[RangeDatum], to: &[RangeDatum]) -> Vec<String> {
        let keys = self.keys();
        let mut parts = Vec::new();
        let mut first = 0;
        // Equal on both sides, which the last column cannot be.
        while first + 1 < keys.len()
            && let (RangeDatum::Value(low), RangeDatum::Value(high)) = (&from[first], &to[first])
            && low == high
        {
            parts.push(format!("{} = {}", keys[first], self.literal(first, low)));
            first += 1;
        }
        for (end, strict, loose, ends_open) in [(from, ">", ">=", true), (to, "<", "<=", false)] {
            let mut arms: Vec<String> = Vec::new();
            let mut equal: Vec<String> = Vec::new();
            for at in first..keys.len() {
                let RangeDatum::Value(value) = &end[at] else { break };
                let value = self.literal(at, value);
                let (is_last, is_loose) = match end.get(at + 1) {
                    None => (true, ends_open),
                    Some(RangeDatum::MinValue) => (true, ends_open),
                    Some(RangeDatum::MaxValue) => (true, !ends_open),
                    Some(RangeDatum::Value(_)) => (false, false),
                };
                let symbol = if is_loose { loose } else { strict };
                let own = format!("{} {symbol} {value}", keys[at]);
                arms.push(equal.iter().cloned().chain([own]).collect::<Vec<_>>().join(" AND "));
                if is_last {
                    break;
                }
                equal.push(format!("{} = {value}", keys[at]));
            }
            match &arms[..] {
                [] => {}
                [only] => parts.push(only.clone()),
                many => parts.push(format!("({})", many.iter().map(|arm| format!("({arm})")).collect::<Vec<_>>().join(" OR "))),
            }
        }
        parts
    }

    /// What rows outside of the other partitions are like.
    fn default(&self, view: &CatalogView, table: &Table) -> Option<String> {
        let mut values = Vec::new();
        let mut ranges = Vec::new();
        for partition in &self.partitioned.partitions {
            match &partition.bound {
                PartitionBound::List(list) => values.extend(list.iter().cloned()),
                PartitionBound::Range(from, to) => ranges.push(self.range(from, to).join(" AND ")),
                PartitionBound::Hash { .. } | PartitionBound::Default => {}
            }
        }
        let show = |text: &str| view.expr(table, text, Style::Plain);
        let inside = match self.partitioned.strategy {
            PartitionStrategy::List if !values.is_empty() => show(&self.list(&values).join(" AND ")),
            PartitionStrategy::Range if !ranges.is_empty() => {
                let any: Vec<String> = ranges.iter().map(|range| format!("({range})")).collect();
                let not_null = self.not_null().iter().map(|part| show(part)).collect::<Vec<_>>().join(" AND ");
                format!("({not_null} AND {})", show(&any.join(" OR ")))
            }
            _ => return None,
        };
        Some(format!("(NOT {inside})"))
    }

    /// Each as it is shown; all hold.
    fn parts(&self, bound: &PartitionBound, view: &CatalogView, table: &Table) -> Vec<String> {
        let show = |parts: Vec<String>| parts.iter().map(|part| view.expr(table, part, Style::Plain)).collect();
        match bound {
            PartitionBound::List(values) => show(self.list(values)),
            PartitionBound::Range(from, to) => show([self.not_null(), self.range(from, to)].concat()),
            PartitionBound::Default => self.default(view, table).into_iter().collect(),
            // There is no such function here.
            PartitionBound::Hash { modulus, remainder } => {
                let keys = self.keys().join(", ");
                vec![format!("satisfies_hash_partition('{}'::oid, {modulus}, {remainder}, {keys})", self.parent.id)]
            }
        }
    }
}

/// The condition that the rows of a partition meet, those of the tables above among it, as `pg_get_partition_constraintdef`
/// shows it; none where there is no such.
pub(crate) fn constraint_text(view: &CatalogView, table: &Table) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut at = table;
    while let Some((parent, bound)) = view.catalog.bound_of(at) {
        let condition = Condition { partitioned: parent.partitioned()?, parent };
        parts = [condition.parts(bound, view, table), parts].concat();
        at = parent;
    }
    match &parts[..] {
        [] => None,
        [only] => Some(only.clone()),
        many => Some(format!("({})", many.join(" AND "))),
    }
}
