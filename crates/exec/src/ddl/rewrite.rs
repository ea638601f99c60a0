//! Reading and rewriting the rows of a table that DDL changes.
//!
//! A table whose stored rows must change gets new storage in the same transaction; the old one is garbage once that has
//! committed.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use catalog::{
    Table,
    row::{EntryReader, IndexCodec},
};
use keys::{ColumnId, Key, Span};
use kv::{KvRows, Read, ScanOptions, See};
use plan::plan::{Estimate, RowRules, TableScan};
use plan::{Expr, Node, Plan, PlanColumn};
use types::{Datum, SqlError, SqlResult, SqlState};

use super::{DdlContext, create::bind_all, table_span};
use crate::{
    error::{from_entry, from_kv},
    eval::{EvalScope, eval_row},
    operator::build,
    row_write::{TableWriter, fit_row},
    rules,
};

/// Entries for every row of the table, in an index that is new; duplicates are 23505.
pub(super) async fn fill_index(table: &Arc<Table>, index: usize, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let codec = IndexCodec::new(table, &table.indexes[index]);
    let predicate = match &table.indexes[index].predicate {
        Some(text) => Some(ctx.bind(text, table)?),
        None => None,
    };
    let writer = TableWriter::new(table, &Arc::default());
    // A predicate may look at any column.
    let mut pages = if predicate.is_some() { Pages::of(table) } else { Pages::with(table, codec.positions()) };
    let mut row = pages.row();
    while let Some(page) = pages.page(ctx).await? {
        // Of a unique index they wait until it is known that they are.
        let mut unique: Vec<(Key, Bytes, usize)> = Vec::new();
        let scope = EvalScope { params: &[], outer: &[], eval: ctx.eval, memory: None, made_max: usize::MAX };
        for (at, (key, value)) in page.iter().enumerate() {
            pages.read(key, value, &mut row)?;
            if let Some(predicate) = &predicate
                && eval_row(predicate, &row, &scope)?.as_bool() != Some(true)
            {
                continue;
            }
            if codec.is_inverted() {
                codec.inverted_keys(&row).into_iter().for_each(|key| ctx.txn.put(key, IndexCodec::empty_value()));
            } else if codec.is_unique() {
                let (key, value) = codec.encode(&row);
                unique.push((key, value, at));
            } else {
                ctx.txn.put_with(codec.encode_key(&row), |value| codec.encode_value(&row, value));
            }
        }
        if !unique.is_empty() {
            unique.sort_by(|a, b| a.0.cmp(&b.0));
            let keys: Vec<Key> = unique.iter().map(|(key, ..)| key.clone()).collect();
            let read = Read { see: See::Now, ..Read::default() };
            let known = ctx.txn.get_many(&keys, read).await.map_err(from_kv)?;
            let twice = (0..keys.len()).find(|&at| known[at].is_some() || at > 0 && keys[at - 1] == keys[at]);
            if let Some(twice) = twice {
                let (key, value) = page.get(unique[twice].2);
                pages.read(key, value, &mut row)?;
                return Err(as_new_index(writer.violation(index, &row)));
            }
        }
        unique.into_iter().for_each(|(key, value, _)| ctx.txn.put(key, value));
        ctx.txn.flush_if_large().await.map_err(from_kv)?;
    }
    ctx.txn.check_size().map_err(from_kv)?;
    if table.indexes[index].details.rule.is_some() {
        ctx.with_exec(async |exec| rules::check_filled(table, index, exec).await).await?;
    }
    Ok(())
}

/// A duplicate as it is told to who makes the index.
pub fn as_new_index(violation: SqlError) -> SqlError {
    let fields = violation.into_fields();
    let name = fields.constraint.unwrap_or_default();
    SqlError::new(SqlState::UniqueViolation, format!("could not create unique index \"{name}\""))
        .with_detail(fields.detail.unwrap_or_default().replace("already exists", "is duplicated"))
        .with_constraint(name)
}

/// A rule that an old row does not keep, as it is told to who makes the rule.
fn as_old_row(error: SqlError, table: &Table) -> SqlError {
    let fields = error.clone().into_fields();
    if fields.datatype.is_some() {
        // A domain's.
        return error;
    }
    match (error.code(), fields.column, fields.constraint) {
        (SqlState::NotNullViolation, Some(column), _) => contains_nulls(table, &column),
        (SqlState::CheckViolation, _, Some(name)) => is_violated(table, &name),
        (SqlState::UniqueViolation, ..) => as_new_index(error),
        (SqlState::ExclusionViolation, _, Some(name)) => {
            let detail = error.clone().into_fields().detail.unwrap_or_default();
            SqlError::new(SqlState::ExclusionViolation, format!("could not create exclusion constraint \"{name}\""))
                .with_detail(detail.replace("conflicts with existing key", "conflicts with key"))
                .with_table(table.name.clone())
                .with_constraint(name)
        }
        _ => error,
    }
}

pub(super) fn contains_nulls(table: &Table, column: &str) -> SqlError {
    SqlError::new(
        SqlState::NotNullViolation,
        format!("column \"{column}\" of relation \"{}\" contains null values", table.name),
    )
}

pub(super) fn is_violated(table: &Table, check: &str) -> SqlError {
    SqlError::new(
        SqlState::CheckViolation,
        format!("check constraint \"{check}\" of relation \"{}\" is violated by some row", table.name),
    )
}

pub(super) async fn for_each_row(
    table: &Arc<Table>,
    ctx: &mut DdlContext<'_>,
    mut each: impl FnMut(&[Datum], &EvalScope<'_>) -> SqlResult<()>,
) -> SqlResult<()> {
    let scope = EvalScope { params: &[], outer: &[], eval: ctx.eval, memory: None, made_max: usize::MAX };
    let mut pages = Pages::of(table);
    let mut row = pages.row();
    while let Some(page) = pages.page(ctx).await? {
        for (key, value) in page.iter() {
            pages.read(key, value, &mut row)?;
            each(&row, &scope)?;
        }
    }
    Ok(())
}

/// The rows of a table, some thousands at a time.
struct Pages {
    reader: EntryReader,
    /// Positions of what is read; of other columns the rows have NULL.
    columns: Vec<usize>,
    found: Vec<Datum>,
    width: usize,
    rest: Option<Span>,
}

impl Pages {
    fn of(table: &Table) -> Self {
        Self::with(table, (0..table.columns.len()).collect())
    }

    fn with(table: &Table, columns: Vec<usize>) -> Self {
        let rest = Some(IndexCodec::new(table, table.primary()).span());
        let reader = EntryReader::new(table, table.primary(), &columns);
        let found = vec![Datum::Null; columns.len()];
        Self { reader, columns, found, width: table.columns.len(), rest }
    }

    /// A row to read into.
    fn row(&self) -> Vec<Datum> {
        vec![Datum::Null; self.width]
    }

    fn read(&mut self, key: &[u8], value: &[u8], row: &mut [Datum]) -> SqlResult<()> {
        self.reader.read_datums(key, value, &mut self.found).map_err(from_entry)?;
        for (position, datum) in self.columns.iter().zip(&mut self.found) {
            row[*position] = std::mem::take(datum);
        }
        Ok(())
    }

    async fn page(&mut self, ctx: &mut DdlContext<'_>) -> SqlResult<Option<KvRows>> {
        ctx.cancel.checkpoint().await?;
        let Some(span) = &self.rest else { return Ok(None) };
        let read = Read { see: See::Now, ..Read::default() };
        let options = ScanOptions { read, max_rows: 4096, ..ScanOptions::default() };
        let page = ctx.txn.scan(span, options).await.map_err(from_kv)?;
        self.rest = page.resume;
        Ok(Some(page.rows))
    }
}

/// Whether the table has any row.
pub(super) async fn has_rows(table: &Arc<Table>, ctx: &mut DdlContext<'_>) -> SqlResult<bool> {
    let read = Read { see: See::Now, ..Read::default() };
    let options = ScanOptions { read, max_rows: 1, ..ScanOptions::default() };
    let span = IndexCodec::new(table, table.primary()).span();
    let page = ctx.txn.scan(&span, options).await.map_err(from_kv)?;
    Ok(page.rows.iter().next().is_some())
}

/// Moves the rows of `old` into new storage as `new` describes them: columns are carried over by their ids, `computed`
/// is what one of them becomes (over the old row), and those that are new get their defaults.
pub(super) async fn rewrite(
    old: &Arc<Table>,
    mut new: Table,
    computed: Option<(ColumnId, Expr)>,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    new.storage = ctx.new_ids(1).await?;
    ctx.garbage.push(table_span(old));
    ctx.put_table(new);
    let new = ctx.table(old.id)?;
    bind_all(&new, ctx)?;
    let (exprs, rules) = ctx.plan(|context| {
        let mut exprs = Vec::with_capacity(new.columns.len());
        for (position, column) in new.columns.iter().enumerate() {
            exprs.push(match (&computed, old.column_position(column.id)) {
                (Some((id, expr)), _) if *id == column.id => expr.clone(),
                (_, Some(before)) => Expr::Column(before, old.columns[before].ty),
                (_, None) => plan::column_default(&new, position, context)?,
            });
        }
        // Keys that refer to rows go on doing so.
        let rules = plan::row_rules(&new, context)?;
        let rules = RowRules { references: Vec::new(), referenced_by: Vec::new(), ..(*rules).clone() };
        Ok((exprs, Arc::new(rules)))
    })?;
    let source = source(old, &new, exprs);
    let writer = TableWriter::new(&new, &rules).without_rules();
    // A materialized view that was not filled has no rows.
    if !old.is_populated() {
        return Ok(());
    }
    let moved = ctx
        .with_exec(async |exec| {
            let mut source = build(&source)?;
            while let Some(batch) = source.next(exec).await? {
                let mut rows: Vec<Vec<Datum>> = (0..batch.len()).map(|row| batch.row(row)).collect();
                for row in &mut rows {
                    fit_row(&new, row)?;
                    writer.prepare(row, exec)?;
                }
                writer.insert(&rows, exec).await?;
                exec.txn()?.flush_if_large().await.map_err(from_kv)?;
            }
            for (index, it) in new.indexes.iter().enumerate() {
                if it.details.rule.is_some() {
                    rules::check_filled(&new, index, exec).await?;
                }
            }
            Ok(())
        })
        .await;
    moved.map_err(|error| as_old_row(error, &new))
}

/// The old rows, as the new table has them.
fn source(old: &Arc<Table>, new: &Table, exprs: Vec<Expr>) -> Plan {
    let columns = |table: &Table| -> Vec<PlanColumn> {
        let columns = table.columns.iter();
        columns.map(|it| PlanColumn { name: it.name.clone(), ty: it.ty, table_oid: 0, attribute: 0 }).collect()
    };
    let estimate = Estimate::default();
    let scan = TableScan {
        table: old.clone(),
        index: 0,
        spans: Vec::new(),
        columns: (0..old.columns.len()).collect(),
        filter: None,
        reverse: false,
        lock: None,
        fetch_rows: false,
        limit_hint: None,
        point: false,
        entries: None,
        access: OnceLock::new(),
    };
    let scan = Plan { node: Node::TableScan(Arc::new(scan)), columns: columns(old), estimate };
    Plan { node: Node::Project { input: Box::new(scan), exprs }, columns: columns(new), estimate }
}
