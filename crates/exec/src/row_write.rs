//! Writing rows: every index entry of a row together, uniqueness, and the rules a row must pass.
//!
//! **Invariant (indexes-agree):** for each row there is exactly one entry in every index whose predicate it meets, and in
//! inverted ones an entry for each key of each of their columns; entries are written and deleted only here, and by what
//! fills a new index.

use std::sync::Arc;

use bytes::Bytes;
use catalog::{Table, row::IndexCodec};
use keys::{Key, LockStrength};
use kv::{Read, See};
use plan::plan::{LeafRules, PolicyCheck, PolicyRules, Reference, RowRules};
use planted::Bug;
use smallvec::SmallVec;
use types::{Batch, CastContext, Datum, Formatting, SqlError, SqlResult, SqlState, SqlType};

use crate::{
    context::ExecContext,
    error::from_kv,
    eval::eval_row,
    rules,
    touched::Touched,
};

/// With few rows a statement takes locks where it looks for duplicates, so that of two at once one waits; with many,
/// the refresh at commit decides; below serializable no commit may fail for it.
const LOCKED_ROWS_MAX: usize = 64;

/// What is to become of a row that policies are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    Inserted,
    Updated,
    /// Is there, and ON CONFLICT DO UPDATE changes it.
    InConflict,
    /// Is there, and MERGE changes it.
    ToUpdate,
    ToDelete,
}

impl Checked {
    const fn is_new(self) -> bool {
        matches!(self, Self::Inserted | Self::Updated)
    }

    fn checks(self, policies: &PolicyRules) -> &[PolicyCheck] {
        match self {
            Self::Inserted => &policies.insert,
            Self::Updated => &policies.update,
            Self::InConflict => &policies.conflict,
            Self::ToUpdate => &policies.merge_update,
            Self::ToDelete => &policies.merge_delete,
        }
    }

    fn refusal(self, check: &PolicyCheck, table: &str) -> SqlError {
        let row = if matches!(self, Self::ToUpdate | Self::ToDelete) { "target row" } else { "new row" };
        let using = if self.is_new() { "" } else { " (USING expression)" };
        let policy = check.policy.as_ref().map_or_else(String::new, |policy| format!(" \"{policy}\""));
        let message = format!("{row} violates row-level security policy{policy}{using} for table \"{table}\"");
        SqlError::new(SqlState::InsufficientPrivilege, message)
    }
}

/// The indexes of a table, ready to write to.
pub struct TableWriter {
    pub table: Arc<Table>,
    rules: Arc<RowRules>,
    /// It has indexes with rules ([`crate::rules`]).
    has_ruled: bool,
    /// Of a partition: rows come by way of a table above it, which has found that they belong here, and errors show them as that
    /// table's. For each of its columns, the place of that column here.
    routed: Option<(Arc<Table>, Vec<Option<usize>>)>,
}

/// A duplicate: which index, and the key it was found at.
pub struct Duplicate {
    pub index: usize,
    pub key: Key,
    pub value: Bytes,
}

impl TableWriter {
    #[must_use]
    pub fn new(table: &Arc<Table>, rules: &Arc<RowRules>) -> Self {
        let has_ruled = table.indexes.iter().any(|index| index.details.rule.is_some());
        Self { table: table.clone(), rules: rules.clone(), has_ruled, routed: None }
    }

    /// For rows whose indexes with rules are looked at when all of them are there ([`rules::check_filled`]).
    #[must_use]
    pub fn without_rules(self) -> Self {
        Self { has_ruled: false, ..self }
    }

    /// Of a partition whose rows were found to belong to it.
    #[must_use]
    pub fn routed(leaf: &LeafRules, root: &Arc<Table>) -> Self {
        Self { routed: Some((root.clone(), leaf.to_root.clone())), ..Self::new(&leaf.table, &leaf.rules) }
    }

    /// Fills in what indexes over expressions hold of a row that is there already.
    pub fn compute_hidden(&self, row: &mut [Datum], ctx: &ExecContext<'_>) -> SqlResult<()> {
        let scope = ctx.scope();
        for (position, expr) in &self.rules.generated {
            if self.table.columns[*position].hidden {
                row[*position] = eval_row(expr, row, &scope)?;
            }
        }
        Ok(())
    }

    /// 23514 for a row that does not belong to a partition.
    pub(crate) fn outside(&self, row: &[Datum], ctx: &ExecContext<'_>) -> SqlError {
        let message = format!("new row for relation \"{}\" violates partition constraint", self.table.name);
        ctx.about(&self.table, self.with_row(row, ctx, SqlError::new(SqlState::CheckViolation, message)))
    }

    #[must_use]
    pub fn primary(&self) -> &IndexCodec {
        &self.table.codecs()[0]
    }

    /// Fills generated columns in and checks NOT NULL, modifiers and CHECK.
    pub fn prepare(&self, row: &mut [Datum], ctx: &ExecContext<'_>) -> SqlResult<()> {
        self.compute_generated(row, ctx)?;
        for (column, datum) in self.table.columns.iter().zip(row.iter()) {
            if datum.is_null() && !column.nullable {
                let message = format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, self.table.name
                );
                let error = self.with_row(row, ctx, SqlError::new(SqlState::NotNullViolation, message));
                return Err(ctx.about(&self.table, error).with_column(column.name.clone()));
            }
        }
        let scope = ctx.scope();
        for (name, check) in &self.rules.checks {
            if eval_row(check, row, &scope)?.as_bool() == Some(false) {
                let message = format!("new row for relation \"{}\" violates check constraint \"{name}\"", self.table.name);
                let error = self.with_row(row, ctx, SqlError::new(SqlState::CheckViolation, message));
                return Err(ctx.about(&self.table, error).with_constraint(name.clone()));
            }
        }
        if let Some(check) = self.rules.partition.as_ref().filter(|_| self.routed.is_none())
            && !crate::partition::belongs(check, row, &scope)?
        {
            return Err(self.outside(row, ctx));
        }
        Ok(())
    }

    /// Row security: looks whether the policies let a row be written, or be changed by what it becomes. What is computed of
    /// a new row is computed for it.
    ///
    /// # Errors
    /// 42501 for one that they do not.
    pub(crate) async fn check_policies(&self, of: Checked, row: &mut [Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let Some(policies) = self.rules.policies.clone() else { return Ok(()) };
        let checks = of.checks(&policies);
        if checks.is_empty() {
            return Ok(());
        }
        // Of a partitioned table: the partition has computed it.
        if of.is_new() && self.rules.partitions.is_none() {
            self.compute_generated(row, ctx)?;
        }
        let batch = Batch::from_rows(&table_types(&self.table), &[row.to_vec()]);
        for check in checks {
            if crate::eval::eval_batch(&check.condition, &batch, ctx).await?.get_datum(0).as_bool() != Some(true) {
                return Err(of.refusal(check, &policies.table));
            }
        }
        Ok(())
    }

    /// The same of a row of a partition, which `leaf` writes: the policies are those of this table, which the statement names.
    pub(crate) async fn check_leaf_policies(
        &self,
        of: Checked,
        rules: &LeafRules,
        leaf: &Self,
        row: &mut [Datum],
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<()> {
        if self.rules.policies.is_none() {
            return Ok(());
        }
        leaf.compute_generated(row, ctx)?;
        self.check_policies(of, &mut crate::partition::to_root(rules, &self.table, row), ctx).await
    }

    fn compute_generated(&self, row: &mut [Datum], ctx: &ExecContext<'_>) -> SqlResult<()> {
        let scope = ctx.scope();
        for (position, expr) in &self.rules.generated {
            row[*position] = eval_row(expr, row, &scope)?;
        }
        Ok(())
    }

    /// WITH CHECK OPTION: looks whether rows that were written are in the views that they were written through.
    ///
    /// # Errors
    /// 44000 for one that is not.
    pub async fn check_views(&self, rows: &[Vec<Datum>], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        if self.rules.check_options.is_empty() || rows.is_empty() {
            return Ok(());
        }
        let batch = Batch::from_rows(&table_types(&self.table), rows);
        let mut verdicts = Vec::with_capacity(self.rules.check_options.len());
        for option in &self.rules.check_options {
            verdicts.push(crate::eval::eval_batch(&option.condition, &batch, ctx).await?);
        }
        for (at, row) in rows.iter().enumerate() {
            let is_outside = |verdict: &types::ColumnVec| verdict.get_datum(at).as_bool() != Some(true);
            if let Some(failed) = verdicts.iter().position(is_outside) {
                let view = &self.rules.check_options[failed].view;
                let message = format!("new row violates check option for view \"{view}\"");
                return Err(self.with_row(row, ctx, SqlError::new(SqlState::WithCheckOptionViolation, message)));
            }
        }
        Ok(())
    }

    /// An error about a row, with the row as far as the user may read it.
    fn with_row(&self, row: &[Datum], ctx: &ExecContext<'_>, error: SqlError) -> SqlError {
        let as_root: Vec<Datum>;
        let (table, row) = match &self.routed {
            None => (&self.table, row),
            Some((root, places)) => {
                as_root = places.iter().map(|place| place.map_or(Datum::Null, |place| row[place].clone())).collect();
                (root, &as_root[..])
            }
        };
        let columns = table.columns.iter().zip(row).filter(|(column, _)| !column.hidden);
        let value = |(column, datum): (&catalog::Column, &Datum)| match datum {
            Datum::Null => "null".to_owned(),
            datum => types::to_text(&column.ty, datum, &Formatting::default()),
        };
        if ctx.reads(table, &[]) {
            let values: Vec<String> = columns.map(value).collect();
            return error.with_detail(format!("Failing row contains ({}).", values.join(", ")));
        }
        let readable = columns.filter(|(column, _)| ctx.reads(table, &[column.id]));
        let (names, values): (Vec<&str>, Vec<String>) =
            readable.map(|it| (it.0.name.as_str(), value(it))).unzip();
        if names.is_empty() {
            return error;
        }
        error.with_detail(format!("Failing row contains ({}) = ({}).", names.join(", "), values.join(", ")))
    }

    /// Whether the row has an entry in an index.
    fn is_in(&self, index: usize, row: &[Datum], ctx: &ExecContext<'_>) -> SqlResult<bool> {
        match self.rules.predicates.get(index).and_then(Option::as_ref) {
            None => Ok(true),
            Some(predicate) => Ok(eval_row(predicate, row, &ctx.scope())?.as_bool() == Some(true)),
        }
    }

    fn is_checked(&self, index: usize, row: &[Datum], ctx: &ExecContext<'_>) -> SqlResult<bool> {
        let codec = &self.table.codecs()[index];
        Ok(codec.is_unique_of(row) && self.is_in(index, row, ctx)?)
    }

    /// Hidden row ids are unique by themselves.
    fn generates_key(&self, index: usize) -> bool {
        index == 0 && !self.table.has_declared_primary_key()
    }

    /// Whether keys of new rows are looked for.
    pub(crate) fn looks_for_duplicates(&self) -> bool {
        self.table.codecs().iter().enumerate().any(|(index, codec)| codec.is_unique() && !self.generates_key(index))
    }

    /// The first duplicate of each row, if it has one; the rows are compared with each other as well. The keys are
    /// locked, with or without a row.
    pub async fn duplicates(
        &self,
        rows: &[Vec<Datum>],
        indexes: &[usize],
        strength: LockStrength,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Vec<Option<Duplicate>>> {
        let mut found: Vec<Option<Duplicate>> = rows.iter().map(|_| None).collect();
        for &index in indexes {
            if self.generates_key(index) {
                continue;
            }
            let mut keys = Vec::with_capacity(rows.len());
            let mut owners = Vec::with_capacity(rows.len());
            for (at, row) in rows.iter().enumerate() {
                if found[at].is_none() && self.is_checked(index, row, ctx)? {
                    keys.push(self.table.codecs()[index].encode_key(row));
                    owners.push(at);
                }
            }
            let locks = keys.len() <= LOCKED_ROWS_MAX || ctx.txn()?.keeps_apart();
            let lock = locks.then_some(strength);
            let read = Read { lock, lock_absent: true, see: See::Now, binds: true, ..Read::default() };
            let values = match &keys[..] {
                [] => Vec::new(),
                [only] => vec![ctx.txn()?.get(only, read).await.map_err(from_kv)?],
                many => ctx.txn()?.get_many(many, read).await.map_err(from_kv)?,
            };
            for ((at, key), value) in owners.into_iter().zip(keys).zip(values) {
                if let Some(value) = value {
                    found[at] = Some(Duplicate { index, key, value });
                }
            }
        }
        Ok(found)
    }

    /// ON CONFLICT: whether a row would break the rule of one of these indexes, which makes nothing of it.
    ///
    /// # Errors
    /// 55000 for a rule that may wait.
    pub(crate) async fn breaks_rule(&self, row: &[Datum], indexes: &[usize], ctx: &mut ExecContext<'_>) -> SqlResult<bool> {
        if !self.has_ruled {
            return Ok(false);
        }
        for &at in indexes {
            let index = &self.table.indexes[at];
            if index.details.deferrable {
                let message = "ON CONFLICT does not support deferrable unique constraints/exclusion constraints as arbiters";
                return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message)
                    .with_table(self.table.name.clone())
                    .with_constraint(index.name.clone()));
            }
            let is_ruled = index.details.rule.is_some() && self.is_in(at, row, ctx)?;
            if is_ruled && rules::conflicts(&self.table, at, row, ctx).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As [`Self::violation`], without values that the user may not read.
    pub(crate) fn refused(&self, index: usize, row: &[Datum], ctx: &ExecContext<'_>) -> SqlError {
        let columns: Vec<keys::ColumnId> = self.table.indexes[index].columns.iter().map(|key| key.column).collect();
        let error = ctx.about(&self.table, self.violation(index, row));
        if ctx.reads(&self.table, &columns) { error } else { error.without_detail() }
    }

    #[must_use]
    pub fn violation(&self, index: usize, row: &[Datum]) -> SqlError {
        let found = &self.table.indexes[index];
        let positions: Vec<usize> = self.table.codecs()[index].key_positions().collect();
        let names: Vec<&str> = positions.iter().map(|&at| self.table.columns[at].name.as_str()).collect();
        let values: Vec<String> = positions
            .iter()
            .map(|&at| match &row[at] {
                types::Datum::Null => "null".to_owned(),
                value => types::to_text(&self.table.columns[at].ty, value, &Formatting::default()),
            })
            .collect();
        SqlError::new(
            SqlState::UniqueViolation,
            format!("duplicate key value violates unique constraint \"{}\"", found.name),
        )
        .with_detail(format!("Key ({})=({}) already exists.", names.join(", "), values.join(", ")))
        .with_table(self.table.name.clone())
        .with_constraint(found.name.clone())
    }

    /// Writes new rows, which must not be duplicates of anything or of each other.
    pub async fn insert(&self, rows: &[Vec<Datum>], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let all: Vec<usize> = (0..self.table.codecs().len()).collect();
        let duplicates = self.duplicates(rows, &all, LockStrength::NoKeyUpdate, ctx).await?;
        for (row, duplicate) in rows.iter().zip(&duplicates) {
            if let Some(duplicate) = duplicate {
                return Err(self.refused(duplicate.index, row, ctx));
            }
        }
        self.note_changes(rows.len() as u64, ctx);
        let mut seen: SmallVec<[Touched; 4]> = all.iter().map(|_| Touched::default()).collect();
        for row in rows {
            for (index, seen) in seen.iter_mut().enumerate() {
                if rows.len() > 1 && !self.generates_key(index) && self.is_checked(index, row, ctx)?
                    && !seen.insert(self.table.codecs()[index].encode_key(row))
                {
                    return Err(self.refused(index, row, ctx));
                }
            }
            self.put_entries(row, ctx)?;
            self.note_new(None, row, ctx);
        }
        if self.has_ruled {
            for index in 0..self.table.indexes.len() {
                self.keep_rule(index, rows, ctx).await?;
            }
        }
        Ok(())
    }

    /// Rows have come to an index: if it has a rule, they owe to it.
    async fn keep_rule(&self, index: usize, rows: &[Vec<Datum>], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let details = &self.table.indexes[index].details;
        if details.rule.is_none() {
            return Ok(());
        }
        let mut now = Vec::new();
        for row in rows {
            if self.is_in(index, row, ctx)? {
                match details.deferrable {
                    true => rules::note(&self.table, index, row, ctx)?,
                    false => now.push(&row[..]),
                }
            }
        }
        rules::check_now(&self.table, index, now.into_iter(), ctx).await
    }

    /// Notes what a new row, or a new version of one, owes to the rows it refers to.
    fn note_new(&self, old: Option<&[Datum]>, row: &[Datum], ctx: &mut ExecContext<'_>) {
        for &key in &self.rules.references {
            ctx.foreign.referring(&self.table, key, old, row);
        }
    }

    /// Notes what referring rows are owed by one that is going, or changing.
    fn note_old(&self, old: &[Datum], new: Option<&[Datum]>, ctx: &mut ExecContext<'_>) {
        for reference in &self.rules.referenced_by {
            self.note_reference(reference, old, new, ctx);
        }
    }

    /// The same of a row that goes to another partition: to the keys of which `stays` holds it is one that changes.
    pub(crate) fn note_moved(
        &self,
        old: &[Datum],
        new: &[Datum],
        stays: &dyn Fn(&Reference) -> bool,
        ctx: &mut ExecContext<'_>,
    ) {
        for reference in &self.rules.referenced_by {
            self.note_reference(reference, old, Some(new).filter(|_| stays(reference)), ctx);
        }
    }

    fn note_reference(&self, reference: &Reference, old: &[Datum], new: Option<&[Datum]>, ctx: &mut ExecContext<'_>) {
        let count = ctx.after.count();
        let Some(root) = &reference.root else {
            return ctx.foreign.referenced(&self.table, reference, old, new, count);
        };
        let as_root = |row: &[Datum]| -> Vec<Datum> {
            root.columns.iter().map(|place| place.map_or(Datum::Null, |place| row[place].clone())).collect()
        };
        ctx.foreign.referenced(&root.table, reference, &as_root(old), new.map(as_root).as_deref(), count);
    }

    /// The statistics grow old by these rows.
    pub fn note_changes(&self, rows: u64, ctx: &ExecContext<'_>) {
        ctx.catalog.statistics().note_changes(self.table.storage, rows);
    }

    fn put_entries(&self, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        for index in 0..self.table.codecs().len() {
            if !self.is_in(index, row, ctx)? {
                continue;
            }
            let codec = &self.table.codecs()[index];
            if codec.is_inverted() {
                for key in codec.inverted_keys(row) {
                    self.put_entry(index, key, row, ctx)?;
                }
            } else {
                self.put_entry(index, codec.encode_key(row), row, ctx)?;
            }
        }
        Ok(())
    }

    /// The columns that [`TableWriter::delete`] looks at; none where it may be any.
    #[must_use]
    pub fn columns_of_deletion(&self) -> Option<Vec<usize>> {
        if self.rules.predicates.iter().any(Option::is_some) {
            return None;
        }
        let keys = self.table.codecs().iter().flat_map(IndexCodec::key_positions);
        let referenced = self.rules.referenced_by.iter().flat_map(|reference| {
            let ids = &reference.from.foreign_keys[reference.key].referenced_columns;
            match &reference.root {
                None => self.table.positions(ids).collect::<Vec<_>>(),
                Some(root) => root.table.positions(ids).filter_map(|at| root.columns[at]).collect(),
            }
        });
        let mut columns: Vec<usize> = keys.chain(referenced).collect();
        columns.sort_unstable();
        columns.dedup();
        Some(columns)
    }

    /// The caller notes the change ([`TableWriter::note_changes`]).
    pub fn delete(&self, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.delete_keyed(self.primary().encode_key(row), row, ctx)
    }

    /// The same of a row whose key is known.
    pub fn delete_keyed(&self, key: Key, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.note_old(row, None, ctx);
        ctx.txn()?.delete(key);
        self.delete_other_entries(row, ctx)
    }

    /// Of a row that goes elsewhere.
    pub(crate) fn delete_entries(&self, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        ctx.txn()?.delete(self.primary().encode_key(row));
        self.delete_other_entries(row, ctx)
    }

    /// All but that of the primary index, which has every row.
    fn delete_other_entries(&self, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        for index in 1..self.table.codecs().len() {
            if !self.is_in(index, row, ctx)? {
                continue;
            }
            let codec = &self.table.codecs()[index];
            if codec.is_inverted() {
                for key in codec.inverted_keys(row) {
                    ctx.txn()?.delete(key);
                }
            } else {
                ctx.txn()?.delete(codec.encode_key(row));
            }
        }
        Ok(())
    }

    /// Replaces a row: only the entries that differ are written.
    pub async fn update(&self, old: &[Datum], new: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        self.note_changes(1, ctx);
        self.update_keyed(self.primary().encode_key(old), old, new, ctx).await
    }

    /// The same of a row whose key is known. The caller notes the change ([`TableWriter::note_changes`]).
    pub async fn update_keyed(
        &self,
        primary: Key,
        old: &[Datum],
        new: &[Datum],
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<()> {
        let mut changes = SmallVec::<[EntryChange; 4]>::new();
        let mut moved = SmallVec::<[usize; 4]>::new();
        for (index, codec) in self.table.codecs().iter().enumerate() {
            let (was_in, is_in) = (self.is_in(index, old, ctx)?, self.is_in(index, new, ctx)?);
            if codec.is_inverted() {
                changed_entries(index, codec, old, new, (was_in, is_in), &mut changes);
                continue;
            }
            if was_in == is_in && (!is_in || codec.has_same_entry(old, new)) {
                continue;
            }
            let gone = was_in.then(|| if index == 0 { primary.clone() } else { codec.encode_key(old) });
            let come = match &gone {
                Some(key) if is_in && codec.has_same_key(old, new) => Some(key.clone()),
                _ => is_in.then(|| codec.encode_key(new)),
            };
            if gone != come {
                if come.is_some() {
                    moved.push(index);
                }
                changes.push(EntryChange { index, gone, come });
            } else if !codec.has_equal_values(old, new) || codec.encode(old).1 != codec.encode(new).1 {
                changes.push(EntryChange { index, gone: None, come });
            }
        }
        // Entries of the old row go first: a new key may be one that it held.
        for change in &mut changes {
            if let Some(key) = change.gone.take()
                && !(change.index > 0 && planted::is_on(Bug::IndexEntryLeft))
            {
                ctx.txn()?.delete(key);
            }
        }
        if !moved.is_empty() {
            let rows = [new.to_vec()];
            let mut checked = Vec::new();
            for &index in &moved {
                if self.is_checked(index, new, ctx)? {
                    checked.push(index);
                }
            }
            let duplicates = self.duplicates(&rows, &checked, LockStrength::NoKeyUpdate, ctx).await?;
            if let Some(Some(duplicate)) = duplicates.into_iter().next() {
                return Err(self.refused(duplicate.index, new, ctx));
            }
        }
        for EntryChange { index, come, .. } in changes {
            if let Some(key) = come {
                self.put_entry(index, key, new, ctx)?;
            }
        }
        if self.has_ruled {
            for index in moved {
                self.keep_rule(index, &[new.to_vec()], ctx).await?;
            }
        }
        self.note_old(old, Some(new), ctx);
        self.note_new(Some(old), new, ctx);
        Ok(())
    }

    fn put_entry(&self, index: usize, key: Key, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let codec = &self.table.codecs()[index];
        if codec.is_inverted() {
            ctx.txn()?.put(key, IndexCodec::empty_value());
        } else {
            ctx.txn()?.put_with(key, |value| codec.encode_value(row, value));
        }
        Ok(())
    }
}

/// What becomes of an index when a row changes.
struct EntryChange {
    index: usize,
    /// The entry that goes.
    gone: Option<Key>,
    /// The entry that is written.
    come: Option<Key>,
}

/// What becomes of the entries of an inverted index: only those that one of the rows does not have.
fn changed_entries(
    index: usize,
    codec: &IndexCodec,
    old: &[Datum],
    new: &[Datum],
    (was_in, is_in): (bool, bool),
    out: &mut SmallVec<[EntryChange; 4]>,
) {
    if was_in == is_in && codec.has_same_values(old, new) {
        return;
    }
    let keys = |row: &[Datum], is_in: bool| if is_in { codec.inverted_keys(row) } else { Vec::new() };
    let (before, after) = (keys(old, was_in), keys(new, is_in));
    let gone = before.iter().filter(|key| after.binary_search(key).is_err());
    out.extend(gone.map(|key| EntryChange { index, gone: Some(key.clone()), come: None }));
    let come = after.iter().filter(|key| before.binary_search(key).is_err());
    out.extend(come.map(|key| EntryChange { index, gone: None, come: Some(key.clone()) }));
}

/// Values as a table's columns want them: modifiers applied.
pub fn fit_row(table: &Table, row: &mut [Datum]) -> SqlResult<()> {
    for (column, datum) in table.columns.iter().zip(row.iter_mut()) {
        if column.ty.typmod() >= 0 && !datum.is_null() {
            *datum = types::fit_modifier(std::mem::take(datum), &column.ty, CastContext::Assignment)?;
        }
    }
    Ok(())
}

#[must_use]
pub fn table_types(table: &Table) -> Vec<SqlType> {
    table.columns.iter().map(|column| column.ty).collect()
}

/// RETURNING over rows.
pub async fn returning(
    exprs: &[plan::Expr],
    rows: Vec<Vec<Datum>>,
    row_types: &[SqlType],
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Batch> {
    let batch = Batch::from_rows(row_types, &rows);
    let mut columns = Vec::with_capacity(exprs.len());
    for expr in exprs {
        columns.push(crate::eval::eval_batch(expr, &batch, ctx).await?);
    }
    Ok(Batch::from_columns(columns, batch.len()))
}
