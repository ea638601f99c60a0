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
//! What is put off until the commit is noted in [`Deferred`](crate::deferred::Deferred) instead of being asked, and asked
//! by [`settle_deferred`].

use std::collections::VecDeque;
use std::sync::Arc;

use catalog::row::EntryReader;
use catalog::{CatalogSnapshot, ForeignKey, Index, ReferentialAction, Table};
use keys::{Key, LockStrength};
use kv::{Keep, Read, See};
use plan::PreparedPlan;
use plan::plan::Reference;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use types::{Datum, Direction, Formatting, NullsOrder, SqlError, SqlResult, SqlState, SqlType, encode_key};

use crate::context::ExecContext;
use crate::deferred::Side;
use crate::error::{from_entry, from_kv};
use crate::internal::{self, quoted};
use crate::rules::{Noted, RuleQueue};

/// What the changes of a statement owe.
#[derive(Default)]
pub struct ForeignQueue {
    present: VecDeque<Present>,
    gone: VecDeque<Gone>,
    /// Keys that were asked for already, by constraint.
    asked: FxHashSet<(u32, Vec<u8>)>,
    /// By the table whose key the parameters are, too: the types of the two differ.
    plans: FxHashMap<(u32, Question, u32), Arc<PreparedPlan>>,
    /// What rows owe to rules of indexes.
    pub(crate) rules: RuleQueue,
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
    /// So many triggers' events come before it.
    events_before: usize,
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

    /// A row of the referenced table has gone, or has become `new`, after so many events of triggers.
    pub(crate) fn referenced(
        &mut self,
        to: &Arc<Table>,
        reference: &Reference,
        old: &[Datum],
        new: Option<&[Datum]>,
        events_before: usize,
    ) {
        let columns = &reference.from.foreign_keys[reference.key].referenced_columns;
        let Some(old) = key_of(to, columns, old) else { return };
        let new: Option<Vec<Datum>> =
            new.map(|new| to.positions(columns).map(|position| new[position].clone()).collect());
        let types = types_of(to, columns);
        if new.as_ref().is_some_and(|new| encoded(&types, new) == encoded(&types, &old)) {
            return;
        }
        self.gone.push_back(Gone { to: to.clone(), reference: reference.clone(), old, new, events_before });
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

/// A key of a table as messages show it.
pub(crate) fn shown_key(table: &Table, columns: &[keys::ColumnId], values: &[Datum]) -> String {
    shown(&names(table, columns), &types_of(table, columns), values)
}

/// 23503 for a row that refers to nothing; `sees`: the user may read the values.
pub(crate) fn not_present(from: &Table, key: &ForeignKey, to: &Table, values: &[Datum], sees: bool) -> SqlError {
    let shown = if sees { shown(&names(from, &key.columns), &types_of(from, &key.columns), values) } else { "Key".to_owned() };
    SqlError::new(
        SqlState::ForeignKeyViolation,
        format!("insert or update on table \"{}\" violates foreign key constraint \"{}\"", from.name, key.name),
    )
    .with_detail(format!("{shown} is not present in table \"{}\".", to.name))
    .with_table(from.name.clone())
    .with_constraint(key.name.clone())
}

fn still_referenced(from: &Table, key: &ForeignKey, to: &Table, values: &[Datum], sees: bool) -> SqlError {
    let columns = &key.referenced_columns;
    let shown = if sees { shown(&names(to, columns), &types_of(to, columns), values) } else { "Key".to_owned() };
    SqlError::new(
        SqlState::ForeignKeyViolation,
        format!(
            "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
            to.name, key.name, from.name
        ),
    )
    .with_detail(format!("{shown} is still referenced from table \"{}\".", from.name))
    .with_table(from.name.clone())
    .with_constraint(key.name.clone())
}

/// Looks at all that is owed, and at what that brings in its turn. Rows that go or change are seen to in the order in which
/// they did, and AFTER triggers of those before them fire in between.
///
/// # Errors
/// 23503 for a key without the row it refers to, and whatever the changes of referring rows fail with.
pub async fn settle(ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    loop {
        if let Some(gone) = ctx.foreign.gone.pop_front() {
            if ctx.after.is_waiting_before(gone.events_before) {
                let present = std::mem::take(&mut ctx.foreign.present);
                settle_present(present, ctx).await?;
                crate::trigger::fire_before(gone.events_before, ctx).await?;
            }
            settle_gone(gone, ctx).await?;
        } else if ctx.foreign.present.is_empty() {
            // Rows may change again before the next statement asks.
            ctx.foreign.asked.clear();
            return crate::rules::settle(ctx).await;
        } else {
            let present = std::mem::take(&mut ctx.foreign.present);
            settle_present(present, ctx).await?;
        }
    }
}

/// Keys looked up in one request.
const LOOKUPS: usize = 1024;

/// Locks the rows that new keys refer to. They are looked up in the referenced tables' unique indexes, many in one
/// request, without a statement to plan.
async fn settle_present(present: VecDeque<Present>, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let mut now = Vec::with_capacity(present.len());
    for item in present {
        let key = &item.from.foreign_keys[item.key];
        if ctx.state.deferred.puts_off(key) {
            let bytes = encoded(&types_of(&item.from, &key.columns), &item.values);
            ctx.state.deferred.note(Side::Referring, item.from.id, key.oid, item.from.id, item.values, bytes)?;
        } else {
            now.push(item);
        }
    }
    for items in now.chunks(LOOKUPS) {
        if let Some((item, to)) = missing(items, ctx).await?.first() {
            let constraint = &item.from.foreign_keys[item.key];
            let sees = ctx.reads(&item.from, &constraint.columns);
            return Err(ctx.about(&item.from, not_present(&item.from, constraint, to, &item.values, sees)));
        }
    }
    Ok(())
}

/// Looks at what was put off: of these constraints, or of all.
///
/// # Errors
/// 23503 for a row that refers to nothing, 23505 and 23P01 for one that breaks a rule. What is owed stays so then.
pub async fn settle_deferred(of: Option<&[u32]>, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let mut referring = Vec::new();
    let mut ruled = Vec::new();
    for owed in ctx.state.deferred.due(of) {
        // A constraint that was dropped since owes nothing.
        let Some(from) = ctx.catalog.table_by_id(owed.table).cloned() else { continue };
        if owed.side == Side::Rule {
            let is_it = |index: &Index| index.constraint.is_some_and(|it| it.oid == owed.constraint);
            if let Some(index) = from.indexes.iter().position(is_it) {
                ruled.push(Noted { table: from, index, values: owed.values.clone() });
            }
            continue;
        }
        let Some(key) = from.foreign_keys.iter().position(|key| key.oid == owed.constraint) else { continue };
        match owed.side {
            Side::Rule => {}
            Side::Referring => {
                referring.push(Present { from, key, values: owed.values.clone() });
                if referring.len() == LOOKUPS {
                    settle_late(&std::mem::take(&mut referring), ctx).await?;
                }
            }
            Side::Referenced => {
                settle_late(&std::mem::take(&mut referring), ctx).await?;
                let to = referenced_table(&from.foreign_keys[key], ctx)?;
                forbid_referring(&from, key, &to, &owed.values, true, ctx).await?;
            }
        }
    }
    settle_late(&referring, ctx).await?;
    crate::rules::check(ruled, ctx).await?;
    ctx.state.deferred.settled(of);
    Ok(())
}

/// Keys that rows came with earlier: each must be there by now, or no row has it any more.
async fn settle_late(items: &[Present], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    for (item, to) in missing(items, ctx).await? {
        if !ask_of_referring(Question::IsReferring, item, &to, ctx).await?.is_empty() {
            let constraint = &item.from.foreign_keys[item.key];
            let sees = ctx.reads(&item.from, &constraint.columns);
            return Err(ctx.about(&item.from, not_present(&item.from, constraint, &to, &item.values, sees)));
        }
    }
    Ok(())
}

/// Of these, no more than [`LOOKUPS`], the ones whose rows are not there, in their order, each with the table it refers
/// to. The rows that are there are locked FOR KEY SHARE.
async fn missing<'p>(items: &'p [Present], ctx: &mut ExecContext<'_>) -> SqlResult<Vec<(&'p Present, Arc<Table>)>> {
    let mut is_missing = vec![false; items.len()];
    let mut tables = Vec::with_capacity(items.len());
    // By the position of what they are for. An entry of a secondary index leads to its row.
    let (mut rows, mut secondary) = (Vec::with_capacity(items.len()), Vec::new());
    for (at, item) in items.iter().enumerate() {
        let key = &item.from.foreign_keys[item.key];
        let to = referenced_table(key, ctx)?;
        match UniqueKey::new(key, &item.from, &to, &item.values) {
            Some(lookup) if lookup.index == 0 => rows.push((at, lookup.entry)),
            Some(lookup) => secondary.push((at, lookup)),
            None => is_missing[at] = ask_of_referring(Question::IsReferenced, item, &to, ctx).await?.is_empty(),
        }
        tables.push(to);
    }
    // The rows of this statement count. Whatever else becomes of them, a reference needs its row to be there.
    let look = Read { see: See::Now, keep: Keep::Presence, binds: true, ..Read::default() };
    if !secondary.is_empty() {
        let entries: Vec<Key> = secondary.iter().map(|(_, lookup)| lookup.entry.clone()).collect();
        let found = ctx.txn()?.get_many(&entries, look).await.map_err(from_kv)?;
        for ((at, lookup), value) in secondary.into_iter().zip(found) {
            let Some(value) = value else {
                is_missing[at] = true;
                continue;
            };
            let (table, entry) = (&tables[at], lookup.entry.as_bytes());
            let reader = EntryReader::new(table, &table.indexes[lookup.index], &[]);
            rows.push((at, reader.row_key(&table.codecs()[0], entry, &value).map_err(from_entry)?));
        }
    }
    if !rows.is_empty() {
        let keys: Vec<Key> = rows.iter().map(|(_, key)| key.clone()).collect();
        let locking = Read { lock: Some(LockStrength::KeyShare), ..look };
        let found = ctx.txn()?.get_many(&keys, locking).await.map_err(from_kv)?;
        for ((at, _), value) in rows.into_iter().zip(found) {
            is_missing[at] = value.is_none();
        }
    }
    let missing = items.iter().zip(tables).zip(is_missing).filter(|(_, is_missing)| *is_missing);
    Ok(missing.map(|(item, _)| item).collect())
}

/// The entry of a referenced key in the unique index that the foreign key rests on.
struct UniqueKey {
    index: usize,
    entry: Key,
}

impl UniqueKey {
    /// None where the two sides' types have different key bytes, and of partitioned tables.
    fn new(key: &ForeignKey, from: &Table, to: &Arc<Table>, values: &[Datum]) -> Option<Self> {
        // Which partition has the row is found out by a query.
        if to.is_partitioned() {
            return None;
        }
        let referenced: SmallVec<[usize; 4]> = to.positions(&key.referenced_columns).collect();
        let has_columns = |index: &Index| {
            index.unique
                && index.predicate.is_none()
                && index.columns.len() == referenced.len()
                && to.key_positions(index).all(|column| referenced.contains(&column))
        };
        let index = to.indexes.iter().position(has_columns)?;
        let same_bytes = from.positions(&key.columns).zip(&referenced).all(|(column, to_column)| {
            let (ty, to_ty) = (&from.columns[column].ty, &to.columns[*to_column].ty);
            ty.same_base(to_ty) || (ty.is_integer() && to_ty.is_integer())
        });
        if !same_bytes {
            return None;
        }
        let codec = &to.codecs()[index];
        let mut entry = codec.prefix().to_vec();
        for (place, column) in to.key_positions(&to.indexes[index]).enumerate() {
            let at = referenced.iter().position(|known| *known == column)?;
            codec.put_key_column(&mut entry, place, &values[at]);
        }
        Some(Self { index, entry: entry.into() })
    }
}

fn referenced_table(key: &ForeignKey, ctx: &ExecContext<'_>) -> SqlResult<Arc<Table>> {
    let table = ctx.catalog.table_by_id(key.referenced_table).cloned();
    table.ok_or_else(|| SqlError::internal(format!("the table that \"{}\" refers to is missing", key.name)))
}

async fn settle_gone(gone: Gone, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let Gone { to, reference: Reference { from, key, root: _ }, old, new, .. } = gone;
    let constraint = &from.foreign_keys[key];
    let types = types_of(&to, &constraint.referenced_columns);
    let action = if new.is_some() { constraint.on_update } else { constraint.on_delete };
    let question = match (action, new) {
        (ReferentialAction::NoAction, _) if ctx.state.deferred.puts_off(constraint) => {
            let bytes = encoded(&types, &old);
            ctx.state.deferred.note(Side::Referenced, from.id, constraint.oid, to.id, old, bytes)?;
            return Ok(());
        }
        (ReferentialAction::NoAction | ReferentialAction::Restrict | ReferentialAction::SetDefault, _) => {
            if action == ReferentialAction::SetDefault {
                ask(Question::SetDefault, constraint, &from, &to, &types, &old, ctx).await?;
            }
            // The default may be the key that has gone.
            return forbid_referring(&from, key, &to, &old, action != ReferentialAction::Restrict, ctx).await;
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

/// 23503 where rows refer to a key that is not there. Another row may have taken it over, if `may_be_there`.
async fn forbid_referring(
    from: &Table,
    key: usize,
    to: &Table,
    values: &[Datum],
    may_be_there: bool,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let constraint = &from.foreign_keys[key];
    let types = types_of(to, &constraint.referenced_columns);
    let is_there =
        may_be_there && !ask(Question::IsReferenced, constraint, from, to, &types, values, ctx).await?.is_empty();
    if !is_there && !ask(Question::IsReferring, constraint, from, to, &types, values, ctx).await?.is_empty() {
        let sees = ctx.reads(to, &constraint.referenced_columns);
        return Err(ctx.about(from, still_referenced(from, constraint, to, values, sees)));
    }
    Ok(())
}

/// As [`ask`], about the key of a referring row.
async fn ask_of_referring(
    question: Question,
    item: &Present,
    to: &Table,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Vec<Vec<Datum>>> {
    let key = &item.from.foreign_keys[item.key];
    let types = types_of(&item.from, &key.columns);
    ask_as(question, key, &item.from, to, (item.from.id, &types), &item.values, ctx).await
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
    ask_as(question, key, from, to, (to.id, types), params, ctx).await
}

/// The parameters are keys of one of the two tables, and have its columns' types.
async fn ask_as(
    question: Question,
    key: &ForeignKey,
    from: &Table,
    to: &Table,
    (of, types): (u32, &[SqlType]),
    params: &[Datum],
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Vec<Vec<Datum>>> {
    let prepared = match ctx.foreign.plans.get(&(key.oid, question, of)) {
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
            ctx.foreign.plans.insert((key.oid, question, of), prepared.clone());
            prepared
        }
    };
    internal::run(&prepared, params, ctx).await
}
