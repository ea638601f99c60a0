//! Foreign keys: what a statement's changes owe, looked at when all of them are made.
//!
//! ```text
//! a row with a new key        -> Present: the key must be among the referenced ones
//! a referenced key is gone    -> Gone:    rows that refer to it forbid that, follow, or let go
//! ```
//! Whoever writes a row only notes what it owes ([`ForeignQueue`]); [`settle`] asks and acts at the end of the
//! statement, so that rows of one statement may refer to each other. Following rows is a change like any other, which
//! notes what it owes in the same queue.
//!
//! **Invariant (keys-referred-to-exist):** a statement that leaves a key without the row it refers to fails. Between
//! transactions it rests on serializability: the rows asked about, and their absence, are part of what was read.
//!
//! The rows asked about are locked FOR KEY SHARE: they may change, but who deletes them waits.
//!
//! Deliberately left out: checks put off until the commit; DEFERRABLE is kept in the catalog and has no effect.

use std::collections::VecDeque;
use std::sync::Arc;

use catalog::{CatalogSnapshot, ForeignKey, ReferentialAction, Table};
use plan::PreparedPlan;
use plan::plan::Reference;
use rustc_hash::{FxHashMap, FxHashSet};
use types::{Datum, Direction, Formatting, NullsOrder, SqlError, SqlResult, SqlState, SqlType, encode_key};

use crate::context::ExecContext;
use crate::internal::{self, quoted};

/// What the changes of a statement owe.
#[derive(Default)]
pub struct ForeignQueue {
    present: VecDeque<Present>,
    gone: VecDeque<Gone>,
    /// Keys that were asked for already, by constraint.
    asked: FxHashSet<(u32, Vec<u8>)>,
    plans: FxHashMap<(u32, Question), Arc<PreparedPlan>>,
}

struct Present {
    from: Arc<Table>,
    key: usize,
    values: Vec<Datum>,
}

struct Gone {
    to: Arc<Table>,
    reference: Reference,
    old: Vec<Datum>,
    /// `None`: the row was deleted.
    new: Option<Vec<Datum>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Question {
    IsReferenced,
    IsReferring,
    Delete,
    Update,
    SetNull,
    SetDefault,
}

fn key_of(table: &Table, columns: &[keys::ColumnId], row: &[Datum]) -> Option<Vec<Datum>> {
    let key: Vec<Datum> = table.positions(columns).map(|position| row[position].clone()).collect();
    // A key with a NULL in it refers to nothing.
    (!key.iter().any(Datum::is_null)).then_some(key)
}

fn types_of(table: &Table, columns: &[keys::ColumnId]) -> Vec<SqlType> {
    table.positions(columns).map(|position| table.columns[position].ty).collect()
}

fn encoded(types: &[SqlType], key: &[Datum]) -> Vec<u8> {
    let mut out = Vec::new();
    for (ty, datum) in types.iter().zip(key) {
        encode_key(&mut out, ty, datum, Direction::Asc, NullsOrder::Last);
    }
    out
}

impl ForeignQueue {
    /// A row has come with this foreign key, or `old` has become `row`.
    pub(crate) fn referring(&mut self, from: &Arc<Table>, key: usize, old: Option<&[Datum]>, row: &[Datum]) {
        let constraint = &from.foreign_keys[key];
        let Some(values) = key_of(from, &constraint.columns, row) else { return };
        let types = types_of(from, &constraint.columns);
        let bytes = encoded(&types, &values);
        let before = old.and_then(|old| key_of(from, &constraint.columns, old));
        if before.is_some_and(|before| encoded(&types, &before) == bytes) {
            return;
        }
        if self.asked.insert((constraint.oid, bytes)) {
            self.present.push_back(Present { from: from.clone(), key, values });
        }
    }

    /// A row of the referenced table has gone, or has become `new`.
    pub(crate) fn referenced(&mut self, to: &Arc<Table>, reference: &Reference, old: &[Datum], new: Option<&[Datum]>) {
        let columns = &reference.from.foreign_keys[reference.key].referenced_columns;
        let Some(old) = key_of(to, columns, old) else { return };
        let new: Option<Vec<Datum>> =
            new.map(|new| to.positions(columns).map(|position| new[position].clone()).collect());
        let types = types_of(to, columns);
        if new.as_ref().is_some_and(|new| encoded(&types, new) == encoded(&types, &old)) {
            return;
        }
        self.gone.push_back(Gone { to: to.clone(), reference: reference.clone(), old, new });
    }
}

/// A table's name as statements of our own have it, and its database.
pub(crate) fn qualified(table: &Table, catalog: &CatalogSnapshot) -> SqlResult<(String, u32)> {
    let schema = catalog
        .schema_by_id(table.schema)
        .ok_or_else(|| SqlError::internal(format!("the schema of table \"{}\" is missing", table.name)))?;
    Ok((format!("{}.{}", quoted(&schema.name), quoted(&table.name)), schema.database))
}

fn names(table: &Table, columns: &[keys::ColumnId]) -> Vec<String> {
    table.positions(columns).map(|position| table.columns[position].name.clone()).collect()
}

/// `"a" = $1 AND "b" = $2`
fn equals(names: &[String]) -> String {
    let parts: Vec<String> =
        names.iter().enumerate().map(|(at, name)| format!("{} = ${}", quoted(name), at + 1)).collect();
    parts.join(" AND ")
}

/// `"a" = $3, "b" = $4`, or a word in place of the parameters.
fn assignments(names: &[String], value: Option<&str>) -> String {
    let value = |at: usize| value.map_or_else(|| format!("${}", names.len() + at + 1), str::to_owned);
    let parts: Vec<String> =
        names.iter().enumerate().map(|(at, name)| format!("{} = {}", quoted(name), value(at))).collect();
    parts.join(", ")
}

/// `Key (a, b)=(1, 2)`
fn shown(names: &[String], types: &[SqlType], key: &[Datum]) -> String {
    let values: Vec<String> = types
        .iter()
        .zip(key)
        .map(|(ty, datum)| types::to_text(ty, datum, &Formatting::default()))
        .collect();
    format!("Key ({})=({})", names.join(", "), values.join(", "))
}

/// 23503 for a row that refers to nothing.
pub(crate) fn not_present(from: &Table, key: &ForeignKey, to: &Table, values: &[Datum]) -> SqlError {
    let types = types_of(from, &key.columns);
    SqlError::new(
        SqlState::ForeignKeyViolation,
        format!("insert or update on table \"{}\" violates foreign key constraint \"{}\"", from.name, key.name),
    )
    .with_detail(format!("{} is not present in table \"{}\".", shown(&names(from, &key.columns), &types, values), to.name))
    .with_table(from.name.clone())
    .with_constraint(key.name.clone())
}

fn still_referenced(from: &Table, key: &ForeignKey, to: &Table, values: &[Datum]) -> SqlError {
    let types = types_of(to, &key.referenced_columns);
    SqlError::new(
        SqlState::ForeignKeyViolation,
        format!(
            "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
            to.name, key.name, from.name
        ),
    )
    .with_detail(format!(
        "{} is still referenced from table \"{}\".",
        shown(&names(to, &key.referenced_columns), &types, values),
        from.name
    ))
    .with_table(from.name.clone())
    .with_constraint(key.name.clone())
}

/// Looks at all that is owed, and at what that brings in its turn.
///
/// # Errors
/// 23503 for a key without the row it refers to, and whatever the changes of referring rows fail with.
pub async fn settle(ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    loop {
        if let Some(gone) = ctx.foreign.gone.pop_front() {
            settle_gone(gone, ctx).await?;
        } else if let Some(present) = ctx.foreign.present.pop_front() {
            let key = &present.from.foreign_keys[present.key];
            let to = referenced_table(key, ctx)?;
            let types = types_of(&present.from, &key.columns);
            if ask(Question::IsReferenced, key, &present.from, &to, &types, &present.values, ctx).await?.is_empty() {
                return Err(not_present(&present.from, key, &to, &present.values));
            }
        } else {
            // Rows may change again before the next statement asks.
            ctx.foreign.asked.clear();
            return Ok(());
        }
    }
}

fn referenced_table(key: &ForeignKey, ctx: &ExecContext<'_>) -> SqlResult<Arc<Table>> {
    let table = ctx.catalog.table_by_id(key.referenced_table).cloned();
    table.ok_or_else(|| SqlError::internal(format!("the table that \"{}\" refers to is missing", key.name)))
}

async fn settle_gone(gone: Gone, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let Gone { to, reference: Reference { from, key }, old, new } = gone;
    let constraint = &from.foreign_keys[key];
    let types = types_of(&to, &constraint.referenced_columns);
    let action = if new.is_some() { constraint.on_update } else { constraint.on_delete };
    let question = match (action, new) {
        (ReferentialAction::NoAction | ReferentialAction::Restrict | ReferentialAction::SetDefault, _) => {
            if action == ReferentialAction::SetDefault {
                ask(Question::SetDefault, constraint, &from, &to, &types, &old, ctx).await?;
            }
            // Another row may have taken the key over; the default may be the key that has gone.
            let is_there = action != ReferentialAction::Restrict
                && !ask(Question::IsReferenced, constraint, &from, &to, &types, &old, ctx).await?.is_empty();
            if !is_there && !ask(Question::IsReferring, constraint, &from, &to, &types, &old, ctx).await?.is_empty() {
                return Err(still_referenced(&from, constraint, &to, &old));
            }
            return Ok(());
        }
        (ReferentialAction::Cascade, Some(new)) => {
            let both: Vec<Datum> = old.into_iter().chain(new).collect();
            let types: Vec<SqlType> = types.iter().chain(&types).copied().collect();
            ask(Question::Update, constraint, &from, &to, &types, &both, ctx).await?;
            return Ok(());
        }
        (ReferentialAction::Cascade, None) => Question::Delete,
        (ReferentialAction::SetNull, _) => Question::SetNull,
    };
    ask(question, constraint, &from, &to, &types, &old, ctx).await.map(drop)
}

async fn ask(
    question: Question,
    key: &ForeignKey,
    from: &Table,
    to: &Table,
    types: &[SqlType],
    params: &[Datum],
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Vec<Vec<Datum>>> {
    let prepared = match ctx.foreign.plans.get(&(key.oid, question)) {
        Some(prepared) => prepared.clone(),
        None => {
            let (from_name, database) = qualified(from, ctx.catalog)?;
            let (to_name, _) = qualified(to, ctx.catalog)?;
            let (columns, referenced) = (names(from, &key.columns), names(to, &key.referenced_columns));
            let sql = match question {
                Question::IsReferenced => {
                    format!("SELECT 1 FROM {to_name} WHERE {} LIMIT 1 FOR KEY SHARE", equals(&referenced))
                },
                Question::IsReferring => {
                    format!("SELECT 1 FROM {from_name} WHERE {} LIMIT 1 FOR KEY SHARE", equals(&columns))
                },
                Question::Delete => format!("DELETE FROM {from_name} WHERE {}", equals(&columns)),
                Question::Update => {
                    format!("UPDATE {from_name} SET {} WHERE {}", assignments(&columns, None), equals(&columns))
                }
                Question::SetNull => {
                    format!("UPDATE {from_name} SET {} WHERE {}", assignments(&columns, Some("NULL")), equals(&columns))
                }
                Question::SetDefault => {
                    format!("UPDATE {from_name} SET {} WHERE {}", assignments(&columns, Some("DEFAULT")), equals(&columns))
                }
            };
            let hints: Vec<Option<SqlType>> = types.iter().map(|ty| Some(*ty)).collect();
            let prepared = internal::prepare(&sql, database, &hints, ctx)?;
            ctx.foreign.plans.insert((key.oid, question), prepared.clone());
            prepared
        }
    };
    internal::run(&prepared, params, ctx).await
}
