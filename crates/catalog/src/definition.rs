//! Objects as the SQL that would make them: what `pg_get_indexdef` and its kin answer.
//!
//! Expressions are kept as text, and shown by the view's printer.

use std::fmt::Write as _;

use keys::ColumnId;
use types::inverted::KeyClass;
use types::{Direction, NullsOrder, quote_identifier};

use crate::descriptor::{ColumnDefault, ForeignKey, Index, ReferentialAction, Table};
use crate::index_details::{IndexMethod, IndexRule};
use crate::trigger::{ConstraintTrigger, Trigger, TriggerEvent};
use crate::view::{CatalogView, Class};
use crate::virtual_tables;

/// `pretty` of the `pg_get_…` functions: fewer parentheses, and schemas only where needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Pretty,
}

impl Style {
    /// An expression in its place, by itself.
    #[must_use]
    pub fn expr(self, text: &str) -> String {
        match self {
            Self::Pretty => text.to_owned(),
            Self::Plain if is_atom(text) => text.to_owned(),
            Self::Plain => format!("({text})"),
        }
    }
}

/// Whether an expression is one name, literal or call, perhaps cast: what needs no parentheses.
fn is_atom(text: &str) -> bool {
    let bytes = text.trim().as_bytes();
    let quoted = |from: usize, quote: u8| {
        let mut at = from + 1;
        while at < bytes.len() {
            if bytes[at] == quote {
                if bytes.get(at + 1) != Some(&quote) {
                    return at + 1;
                }
                at += 1;
            }
            at += 1;
        }
        at
    };
    let enclosed = |from: usize| {
        let (mut at, mut depth) = (from, 0_usize);
        while at < bytes.len() {
            match bytes[at] {
                quote @ (b'\'' | b'"') => {
                    at = quoted(at, quote);
                    continue;
                }
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        at
    };
    let mut at = 0;
    let mut after_cast = false;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => at = quoted(at, quote),
            b'(' | b'[' => at = enclosed(at),
            b':' if bytes.get(at + 1) == Some(&b':') => {
                at += 2;
                after_cast = true;
            }
            // The words of a type, as in `timestamp with time zone`.
            b' ' if after_cast => at += 1,
            c if c.is_ascii_alphanumeric() || c == b'_' || c == b'.' || c >= 0x80 => at += 1,
            _ => return false,
        }
    }
    true
}

fn column_list(table: &Table, ids: impl Iterator<Item = ColumnId>) -> String {
    let names = ids.map(|id| {
        let position = table.column_position(id).expect("an index is dropped with the last of its columns");
        quote_identifier(&table.columns[position].name)
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Stands between the expressions of one index in `pg_index`.
pub(crate) const EXPRESSIONS_APART: &str = "\u{1f}";

/// A key of an index: a column, or the expression that a hidden column holds the values of. What is no call of a function
/// stands in parentheses.
fn index_key(view: &CatalogView, table: &Table, id: ColumnId, style: Style) -> Option<String> {
    let column = &table.columns[table.column_position(id)?];
    let Some(ColumnDefault::Stored(text)) = column.default.as_ref().filter(|_| column.hidden) else {
        return Some(quote_identifier(&column.name));
    };
    let shown = view.expr(table, text, style);
    Some(if is_call(&shown) { shown } else { format!("({shown})") })
}

/// `lower(x)`, and neither `(x)::text` nor `lower(x) || lower(y)`.
pub(crate) fn is_call(text: &str) -> bool {
    let name = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(0);
    let Some(rest) = text.get(name..).filter(|rest| name > 0 && rest.starts_with('(')) else { return false };
    let (mut depth, mut quote) = (0_u32, None);
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') if depth == 1 => return at + 1 == rest.len(),
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
    }
    false
}

fn include_clause(table: &Table, index: &Index) -> String {
    if index.included.is_empty() {
        return String::new();
    }
    format!(" INCLUDE ({})", column_list(table, index.included.iter().copied()))
}

/// The key column or included column at this place, counted from 1.
#[must_use]
pub fn index_column(view: &CatalogView, table: &Table, index: &Index, place: usize, style: Style) -> Option<String> {
    let columns = index.columns.iter().map(|it| it.column).chain(index.included.iter().copied());
    let id = columns.into_iter().nth(place.checked_sub(1)?)?;
    index_key(view, table, id, style)
}

#[must_use]
pub fn index(view: &CatalogView, table: &Table, index: &Index, style: Style) -> String {
    let relation = view.catalog.relation_by_id(table.id).map(Class::Relation);
    let on = match style {
        Style::Plain => relation.map(|it| view.qualified(it)),
        Style::Pretty => relation.map(|it| view.shown(it)),
    };
    let unique = if index.is_declared_unique() { "UNIQUE " } else { "" };
    let keys = index.declared_order().into_iter().map(|place| {
        let key = &index.columns[place];
        let mut shown =
            index_key(view, table, key.column, style).expect("an index is dropped with the last of its columns");
        if index.details.inverted.get(place) == Some(&KeyClass::JsonbPath) {
            shown.push_str(" jsonb_path_ops");
        }
        if let Some(name) = index.string_class(place).name() {
            shown.push(' ');
            shown.push_str(name);
        }
        shown.push_str(match (key.direction, key.nulls) {
            (Direction::Asc, NullsOrder::Last) => "",
            (Direction::Asc, NullsOrder::First) => " NULLS FIRST",
            (Direction::Desc, NullsOrder::First) => " DESC",
            (Direction::Desc, NullsOrder::Last) => " DESC NULLS LAST",
        });
        shown
    });
    let keys = keys.collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "CREATE {unique}INDEX {} ON {}{} USING {} ({keys}){}",
        quote_identifier(&index.name),
        // What its partitions have is said of them.
        if table.is_partitioned() { "ONLY " } else { "" },
        on.unwrap_or_default(),
        index.method().name(),
        include_clause(table, index)
    );
    if index.nulls_not_distinct {
        text.push_str(" NULLS NOT DISTINCT");
    }
    if let Some(predicate) = &index.predicate {
        let _ = write!(text, " WHERE {}", view.expr(table, predicate, style));
    }
    text
}

fn action(action: ReferentialAction) -> Option<&'static str> {
    match action {
        ReferentialAction::NoAction => None,
        ReferentialAction::Restrict => Some("RESTRICT"),
        ReferentialAction::Cascade => Some("CASCADE"),
        ReferentialAction::SetNull => Some("SET NULL"),
        ReferentialAction::SetDefault => Some("SET DEFAULT"),
    }
}

/// What is said of a constraint that rows from before it may break.
fn not_valid(validated: bool) -> &'static str {
    if validated { "" } else { " NOT VALID" }
}

/// When a constraint is looked at.
fn deferral(deferrable: bool, initially_deferred: bool) -> &'static str {
    match (deferrable, initially_deferred) {
        (_, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, false) => "",
    }
}

/// EXCLUDE, up to when it is looked at.
fn exclusion(view: &CatalogView, table: &Table, index: &Index, method: IndexMethod, style: Style) -> String {
    let overlaps = index.columns.len().checked_sub(1).filter(|_| {
        matches!(index.details.rule, Some(IndexRule::Exclude { overlaps: Some(_), .. }))
    });
    let keys = index.declared_order().into_iter().filter_map(|place| {
        let shown = index_key(view, table, index.columns[place].column, style)?;
        Some(format!("{shown} WITH {}", if overlaps == Some(place) { "&&" } else { "=" }))
    });
    let keys = keys.collect::<Vec<_>>().join(", ");
    let mut text = format!("EXCLUDE USING {} ({keys}){}", method.name(), include_clause(table, index));
    if let Some(predicate) = &index.predicate {
        let _ = write!(text, " WHERE ({})", view.expr(table, predicate, style));
    }
    text
}

fn foreign_key(view: &CatalogView, table: &Table, key: &ForeignKey) -> Option<String> {
    let referenced = view.catalog.table_by_id(key.referenced_table)?;
    let mut text = format!(
        "FOREIGN KEY ({}) REFERENCES {}({})",
        column_list(table, key.columns.iter().copied()),
        view.shown(view.class(referenced.id)?),
        column_list(referenced, key.referenced_columns.iter().copied())
    );
    if let Some(action) = action(key.on_update) {
        let _ = write!(text, " ON UPDATE {action}");
    }
    if let Some(action) = action(key.on_delete) {
        let _ = write!(text, " ON DELETE {action}");
    }
    text.push_str(deferral(key.deferrable, key.initially_deferred));
    text.push_str(not_valid(key.validated));
    Some(text)
}

/// The constraint with this oid, as in `ALTER TABLE … ADD CONSTRAINT name …`.
#[must_use]
pub fn constraint(view: &CatalogView, oid: u32, style: Style) -> Option<String> {
    let Some(table) = view.catalog.table_of_part(oid) else { return domain_constraint(view, oid, style) };
    let of_index = |index: &&Index| index.constraint.is_some_and(|constraint| constraint.oid == oid);
    if let Some(index) = table.indexes.iter().find(of_index) {
        let waits = deferral(index.details.deferrable, index.details.initially_deferred);
        if let Some(IndexRule::Exclude { method, .. }) = index.details.rule {
            return Some(format!("{}{waits}", exclusion(view, table, index, method, style)));
        }
        let kind = if table.is_primary_key(index) { "PRIMARY KEY" } else { "UNIQUE" };
        let keys = column_list(table, index.columns.iter().map(|key| key.column));
        let nulls = if index.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" };
        return Some(format!("{kind}{nulls} ({keys}){}{waits}", include_clause(table, index)));
    }
    if let Some(check) = table.checks.iter().find(|check| check.oid == oid) {
        let validity = not_valid(check.validated);
        return Some(format!("CHECK ({}){validity}", view.expr(table, &check.expr, style)));
    }
    if let Some(constraint) = table.triggers.iter().find(|it| it.oid == oid).and_then(|it| it.constraint) {
        let deferrable = if constraint.deferrable { " DEFERRABLE" } else { "" };
        let deferred = if constraint.initially_deferred { " INITIALLY DEFERRED" } else { "" };
        return Some(format!("TRIGGER{deferrable}{deferred}"));
    }
    foreign_key(view, table, table.foreign_keys.iter().find(|key| key.oid == oid)?)
}

/// The trigger with this oid.
#[must_use]
pub fn trigger(view: &CatalogView, oid: u32, style: Style) -> Option<String> {
    let (table, trigger) = view.trigger(oid)?;
    let class = view.class(table.id)?;
    let on = match style {
        Style::Plain => view.qualified(class),
        Style::Pretty => view.shown(class),
    };
    let events: Vec<String> = trigger
        .events
        .iter()
        .map(|event| match event {
            TriggerEvent::Update if !trigger.columns.is_empty() => {
                format!("UPDATE OF {}", column_list(table, trigger.columns.iter().copied()))
            }
            event => event.name().to_owned(),
        })
        .collect();
    let mut text = format!(
        "CREATE {}TRIGGER {} {} {} ON {on}",
        if trigger.constraint.is_some() { "CONSTRAINT " } else { "" },
        quote_identifier(&trigger.name),
        trigger.timing.name(),
        events.join(" OR "),
    );
    if let Some(ConstraintTrigger { deferrable, initially_deferred, from }) = trigger.constraint {
        if let Some(from) = from.and_then(|from| view.class(from)) {
            let _ = write!(text, " FROM {}", view.shown(from));
        }
        text.push_str(if deferrable { " DEFERRABLE" } else { " NOT DEFERRABLE" });
        text.push_str(if initially_deferred { " INITIALLY DEFERRED" } else { " INITIALLY IMMEDIATE" });
    }
    if trigger.old_table.is_some() || trigger.new_table.is_some() {
        text.push_str(" REFERENCING");
        for (word, name) in [("OLD", &trigger.old_table), ("NEW", &trigger.new_table)] {
            if let Some(name) = name {
                let _ = write!(text, " {word} TABLE AS {}", quote_identifier(name));
            }
        }
    }
    text.push_str(if trigger.for_each_row { " FOR EACH ROW" } else { " FOR EACH STATEMENT" });
    if let Some(condition) = &trigger.condition {
        let _ = write!(text, " WHEN ({})", view.trigger_condition(table, condition, style));
    }
    let _ = write!(text, " {}", trigger_action(view, trigger));
    Some(text)
}

/// What a trigger does: the call of its function.
#[must_use]
pub fn trigger_action(view: &CatalogView, trigger: &Trigger) -> String {
    let name = virtual_tables::routine_name(view, trigger.routine, false).unwrap_or_default();
    let arguments: Vec<String> = trigger.arguments.iter().map(|it| format!("'{}'", it.replace('\'', "''"))).collect();
    format!("EXECUTE FUNCTION {name}({})", arguments.join(", "))
}

fn domain_constraint(view: &CatalogView, oid: u32, style: Style) -> Option<String> {
    let types = view.catalog.types_of(view.database);
    types.into_iter().find_map(|ty| {
        let check = ty.domain()?.checks.iter().find(|check| check.oid == oid)?;
        Some(format!("CHECK ({}){}", view.domain_expr(ty, &check.expr, style), not_valid(check.validated)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parentheses_go_around_what_is_more_than_an_atom() {
        for text in ["a", "1.5", "now()", "'it''s'::text", "lower(a || b)", "x::timestamp with time zone", "\"a b\"", "f('(', 1)::numeric(3,2)"] {
            assert!(is_atom(text), "{text}");
        }
        for text in ["a > 0", "a IS NULL", "-1", "f(a) + 1", "'a' || 'b'"] {
            assert!(!is_atom(text), "{text}");
        }
        assert_eq!(Style::Plain.expr("a > 0"), "(a > 0)");
        assert_eq!(Style::Pretty.expr("a > 0"), "a > 0");
    }
}
