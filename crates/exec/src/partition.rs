//! INSERT, UPDATE and DELETE of partitioned tables: each row is changed in the partition that it is in, or goes to.
//!
//! ```text
//! a row of the partitioned table ──route──▶ a partition ──to_leaf──▶ its row, by whose rules, triggers and indexes it is written
//!        RETURNING, transition tables ◀──to_root── as it was written
//! ```
//! Statements' expressions are over rows of the table that is named ([`plan::plan::PartitionRules`]); a hidden column of these
//! says which partition a row was read from. Statement triggers are those of the named table, row triggers the partitions'.
//!
//! **Invariant (where-it-belongs):** a row that is written lies within the bound of the partition that it is written to, and of
//! those above. Rows that are routed do; for others [`belongs`] is asked.

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{Table, TriggerEvent};
use keys::LockStrength;
use plan::plan::{Branch, Delete, Insert, LeafRules, OnConflict, PartitionCheck, PartitionRules, RouteNode, RowRules, Update};
use rustc_hash::FxHashMap;
use types::{Batch, Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::change::{Upsert, assigned, conflict_lock};
use crate::context::ExecContext;
use crate::error::from_kv;
use crate::eval::{EvalScope, eval_row};
use crate::operator::Operator;
use crate::row_write::{Checked, TableWriter, fit_row, returning, table_types};
use crate::touched::Touched;
use crate::trigger::{Firing, Watch};

/// *where-it-belongs*: whether a row lies within the bounds that a check has.
///
/// # Errors
/// What computing a key fails with.
pub(crate) fn belongs(check: &PartitionCheck, row: &[Datum], scope: &EvalScope<'_>) -> SqlResult<bool> {
    for level in &check.levels {
        let Some(of) = level.parent.partitioned() else { continue };
        let values = level.key.iter().map(|key| eval_row(key, row, scope)).collect::<SqlResult<Vec<_>>>()?;
        if of.find(&values).map(|at| of.partitions[at].id) != Some(level.child) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A partition's row as one of the table that the statement names.
pub(crate) fn to_root(leaf: &LeafRules, root: &Table, row: &[Datum]) -> Vec<Datum> {
    let oid = root.table_oid_position();
    let value = |(at, place): (usize, &Option<usize>)| match place {
        Some(place) => row[*place].clone(),
        None if oid == Some(at) => Datum::Int(leaf.table.id.into()),
        None => Datum::Null,
    };
    leaf.to_root.iter().enumerate().map(value).collect()
}

/// A row of the table that the statement names as one of a partition. What is computed is not there yet; a row id is given where
/// the row has none.
pub(crate) fn to_leaf(leaf: &LeafRules, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Datum>> {
    let value = |place: &Option<usize>| place.map_or(Datum::Null, |place| row[place].clone());
    let mut own: Vec<Datum> = leaf.from_root.iter().map(value).collect();
    if let Some(at) = leaf.table.row_id_position()
        && own[at].is_null()
    {
        own[at] = ctx.row_id()?;
    }
    Ok(own)
}

/// A partition that rows are written to.
struct Leaf {
    writer: TableWriter,
    insert: Firing,
    update: Firing,
    delete: Firing,
}

/// The partitions of a table that a statement changes.
pub struct Partitions {
    root: TableWriter,
    root_rules: Arc<RowRules>,
    rules: Arc<PartitionRules>,
    /// Those that rows have gone to or come from, by their places.
    leaves: FxHashMap<usize, Leaf>,
    /// The names of the columns that UPDATE assigns.
    assigned: Vec<String>,
}

impl Partitions {
    /// None of a table that is not partitioned. `assigned`: positions of the columns that UPDATE names.
    #[must_use]
    pub fn new(table: &Arc<Table>, rules: &Arc<RowRules>, assigned: &[usize]) -> Option<Self> {
        let partitions = rules.partitions.clone()?;
        Some(Self {
            root: TableWriter::new(table, rules),
            root_rules: rules.clone(),
            leaves: FxHashMap::default(),
            rules: partitions,
            assigned: assigned.iter().map(|at| table.columns[*at].name.clone()).collect(),
        })
    }

    fn leaf(&mut self, at: usize) -> &mut Leaf {
        let rules = &self.rules.leaves[at];
        let (assigned, root) = (&self.assigned, &self.root.table);
        self.leaves.entry(at).or_insert_with(|| {
            let named = |name: &String| rules.table.column_named(name).map(|(at, _)| at);
            let assigned: Vec<usize> = assigned.iter().filter_map(named).collect();
            let firing = |event, assigned: &[usize]| Firing::of_rows(&rules.table, &rules.rules, event, assigned);
            Leaf {
                writer: TableWriter::routed(rules, root),
                insert: firing(TriggerEvent::Insert, &[]),
                update: firing(TriggerEvent::Update, &assigned),
                delete: firing(TriggerEvent::Delete, &[]),
            }
        })
    }

    /// A partition that is written to already, and the table that the statement names.
    fn leaf_and_root(&mut self, at: usize) -> (&Leaf, &TableWriter) {
        self.leaf(at);
        (&self.leaves[&at], &self.root)
    }

    /// Whether the policies of the table that is named let a row of a partition be written.
    async fn check_policies(&mut self, of: Checked, at: usize, row: &mut [Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
        let rules = self.rules.clone();
        let (leaf, root) = self.leaf_and_root(at);
        root.check_leaf_policies(of, &rules.leaves[at], &leaf.writer, row, ctx).await
    }

    /// The place of the partition that a row was read from.
    fn place_of(&self, row: &[Datum]) -> SqlResult<usize> {
        let oid = self.root.table.table_oid_position().and_then(|at| row[at].as_int());
        let place = oid.and_then(|oid| u32::try_from(oid).ok()).and_then(|oid| self.rules.places.get(&oid));
        place.copied().ok_or_else(|| SqlError::internal(format!("a row of \"{}\" is in none of its partitions", self.root.table.name)))
    }

    /// The place of the partition that a row goes to.
    ///
    /// # Errors
    /// 23514 where there is none.
    fn route(&self, row: &[Datum], ctx: &ExecContext<'_>) -> SqlResult<usize> {
        let scope = ctx.scope();
        if let Some(check) = &self.root_rules.partition
            && !belongs(check, row, &scope)?
        {
            return Err(self.root.outside(row, ctx));
        }
        let mut node: &RouteNode = &self.rules.root;
        loop {
            let values = node.key.iter().map(|key| eval_row(key, row, &scope)).collect::<SqlResult<Vec<_>>>()?;
            let found = node.table.partitioned().and_then(|of| of.find(&values)).and_then(|at| node.branches.get(at));
            match found {
                Some(Branch::Leaf(at)) => return Ok(*at),
                Some(Branch::Node(below)) => node = below,
                None => return Err(no_partition(node, &values, ctx)),
            }
        }
    }

    /// Fires BEFORE INSERT of a row that was routed to a partition; false: the row is passed over.
    async fn before_insert(&mut self, at: usize, row: &mut Vec<Datum>, ctx: &mut ExecContext<'_>) -> SqlResult<bool> {
        self.leaf(at).insert.start(ctx).await?;
        let rules = self.rules.clone();
        let firing = &self.leaf(at).insert;
        if !firing.changes_rows() {
            return Ok(true);
        }
        if !firing.before_row(None, Some(row), ctx).await? {
            return Ok(false);
        }
        let leaf = &rules.leaves[at];
        if let Some(check) = &leaf.rules.partition
            && !belongs(check, row, &ctx.scope())?
        {
            // Where the trigger is the partition's own, it is the partition's constraint that fails.
            let own = self.leaf(at);
            let Some(trigger) = own.insert.last_before_row() else { return Err(own.writer.outside(row, ctx)) };
            let schema = ctx.catalog.schema_by_id(leaf.table.schema).map_or("", |schema| &schema.name);
            let message = "moving row to another partition during a BEFORE FOR EACH ROW trigger is not supported";
            return Err(SqlError::not_supported(message).with_detail(format!(
                "Before executing trigger \"{trigger}\", the row was to be in partition \"{schema}.{}\".",
                leaf.table.name
            )));
        }
        Ok(true)
    }

    /// Writes new rows, each to the partition that it goes to; those that were written, in their order, as they were.
    ///
    /// # Errors
    /// 23514 for one that there is no partition for, and whatever writing fails with.
    pub async fn insert(&mut self, rows: Vec<Vec<Datum>>, ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Vec<Datum>>> {
        let mut written: Vec<Option<Vec<Datum>>> = rows.iter().map(|_| None).collect();
        let mut waiting: Vec<Waiting> = Vec::new();
        for (at, row) in rows.into_iter().enumerate() {
            let place = self.route(&row, ctx)?;
            let mut own = to_leaf(&self.rules.leaves[place], &row, ctx)?;
            self.leaf(place).insert.start(ctx).await?;
            let is_looked_at = self.leaf(place).insert.changes_rows();
            if is_looked_at {
                // What its triggers look at is there.
                self.write_waiting(&mut waiting, &mut written, ctx).await?;
                if !self.before_insert(place, &mut own, ctx).await? {
                    continue;
                }
            }
            self.check_policies(Checked::Inserted, place, &mut own, ctx).await?;
            self.leaf(place).writer.prepare(&mut own, ctx)?;
            match waiting.iter_mut().find(|known| known.place == place) {
                Some(known) => {
                    known.at.push(at);
                    known.rows.push(own);
                }
                None => waiting.push(Waiting { place, at: vec![at], rows: vec![own] }),
            }
            if is_looked_at {
                self.write_waiting(&mut waiting, &mut written, ctx).await?;
            }
        }
        self.write_waiting(&mut waiting, &mut written, ctx).await?;
        Ok(written.into_iter().flatten().collect())
    }

    async fn write_waiting(
        &mut self,
        waiting: &mut Vec<Waiting>,
        written: &mut [Option<Vec<Datum>>],
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<()> {
        let mut looked_at: Vec<(usize, usize, Vec<Datum>)> = Vec::new();
        for Waiting { place, at, rows } in waiting.drain(..) {
            let rules = self.rules.clone();
            let root = self.root.table.clone();
            let leaf = self.leaf(place);
            leaf.writer.insert(&rows, ctx).await?;
            let wants_rows = leaf.insert.wants_rows();
            for (at, row) in at.into_iter().zip(rows) {
                written[at] = Some(to_root(&rules.leaves[place], &root, &row));
                if wants_rows {
                    looked_at.push((at, place, row));
                }
            }
        }
        // Triggers fire in the order of the rows, whichever partitions these are in.
        looked_at.sort_by_key(|(at, ..)| *at);
        for (_, place, row) in looked_at {
            self.leaf(place).insert.after_row(None, Some(&row), ctx).await?;
        }
        Ok(())
    }

    /// A row that an UPDATE has made another of, so that it belongs to another partition: it goes from the one and comes to the
    /// other. What was written, unless a trigger has kept it from that.
    async fn move_row(
        &mut self,
        from: usize,
        (old, new): (&[Datum], &[Datum]),
        watch: &mut Watch,
        ctx: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Vec<Datum>>> {
        let rules = self.rules.clone();
        let root_row = to_root(&rules.leaves[from], &self.root.table, new);
        let to = self.route(&root_row, ctx)?;
        let goes_with = |of: &RowRules, reference: &plan::plan::Reference| {
            reference.root.is_some()
                && of.referenced_by.iter().any(|other| {
                    let root = |it: &plan::plan::Reference| it.root.as_ref().map(|root| root.table.id);
                    (other.from.id, other.key, root(other)) == (reference.from.id, reference.key, root(reference))
                })
        };
        let leaves_between = rules.leaves[from].rules.referenced_by.iter().find_map(|reference| {
            let between = reference.root.as_ref()?;
            (!goes_with(&rules.leaves[to].rules, reference)).then(|| between.table.name.clone())
        });
        if let Some(between) = leaves_between {
            return Err(moves_away(&between, &self.root.table.name));
        }
        let leaf = self.leaf(from);
        leaf.delete.start(ctx).await?;
        if !leaf.delete.before_row(Some(old), None, ctx).await? {
            return Ok(None);
        }
        if !watch.is_as_read(&leaf.writer, old, "updated", ctx).await? {
            return Ok(None);
        }
        leaf.writer.delete_entries(old, ctx)?;
        leaf.writer.note_moved(old, new, &|reference| goes_with(&rules.leaves[to].rules, reference), ctx);
        leaf.writer.note_changes(1, ctx);
        watch.own(ctx)?;
        leaf.delete.after_row(Some(old), None, ctx).await?;
        let mut row = to_leaf(&rules.leaves[to], &root_row, ctx)?;
        if !self.before_insert(to, &mut row, ctx).await? {
            return Ok(None);
        }
        // What its triggers have written is not the change itself.
        watch.look(ctx)?;
        self.check_policies(Checked::Updated, to, &mut row, ctx).await?;
        let leaf = self.leaf(to);
        leaf.writer.prepare(&mut row, ctx)?;
        leaf.writer.insert(std::slice::from_ref(&row), ctx).await?;
        watch.own(ctx)?;
        leaf.insert.after_row(None, Some(&row), ctx).await?;
        Ok(Some(to_root(&rules.leaves[to], &self.root.table, &row)))
    }
}

/// Rows that go to a partition together, with their places among those that are inserted.
struct Waiting {
    place: usize,
    at: Vec<usize>,
    rows: Vec<Vec<Datum>>,
}

fn moves_away(between: &str, root: &str) -> SqlError {
    let message = "cannot move tuple across partitions when a non-root ancestor of the source partition is directly \
                   referenced in a foreign key";
    let detail = format!("A foreign key points to ancestor \"{between}\" but not the root ancestor \"{root}\".");
    SqlError::not_supported(message).with_detail(detail).with_hint(format!(
        "Consider defining the foreign key on table \"{root}\"."
    ))
}

fn no_partition(node: &RouteNode, values: &[Datum], ctx: &ExecContext<'_>) -> SqlError {
    let message = format!("no partition of relation \"{}\" found for row", node.table.name);
    let error = ctx.about(&node.table, SqlError::new(SqlState::CheckViolation, message));
    let Some(of) = node.table.partitioned() else { return error };
    let columns: Vec<keys::ColumnId> = of.key_columns().collect();
    let is_readable = match of.has_expressions() {
        true => ctx.reads(&node.table, &[]),
        false => ctx.reads(&node.table, &columns),
    };
    if !is_readable {
        return error;
    }
    let (names, shown) = (of.key_names(&node.table), of.key_text(values));
    error.with_detail(format!("Partition key of the failing row contains ({names}) = ({shown})."))
}

pub(crate) struct PartitionedInsert {
    source: Box<dyn Operator>,
    partitions: Partitions,
    on_conflict: Option<OnConflict>,
    lock: LockStrength,
    returning: Option<Vec<plan::Expr>>,
    touched: Touched,
    /// Of the statement.
    firing: Firing,
    updates: Option<Firing>,
    watch: Watch,
}

impl PartitionedInsert {
    /// None of a table that is not partitioned.
    pub fn new(insert: &Insert, source: Box<dyn Operator>) -> Result<Box<dyn Operator>, Box<dyn Operator>> {
        let update = insert.on_conflict.as_ref().and_then(|conflict| conflict.update.as_ref());
        let assigned: Vec<usize> =
            update.into_iter().flat_map(|update| &update.assignments).map(|(position, _)| *position).collect();
        let Some(partitions) = Partitions::new(&insert.table, &insert.row_rules, &assigned) else { return Err(source) };
        let firing = |event, assigned: &[usize]| Firing::of_statement(&insert.table, &insert.row_rules, event, assigned);
        Ok(Box::new(Self {
            source,
            on_conflict: insert.on_conflict.clone(),
            lock: match update {
                // Any partition may have triggers and keys of its own.
                Some(_) => LockStrength::Update,
                None => conflict_lock(insert),
            },
            returning: insert.returning.clone(),
            touched: Touched::default(),
            firing: firing(TriggerEvent::Insert, &[]),
            updates: update.map(|_| firing(TriggerEvent::Update, &assigned)),
            watch: Watch::default(),
            partitions,
        }))
    }

    /// One row under ON CONFLICT; what was written, if anything was.
    async fn insert_or(&mut self, row: Vec<Datum>, conflict: &OnConflict, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Datum>>> {
        let rules = self.partitions.rules.clone();
        let root = self.partitions.root.table.clone();
        let place = self.partitions.route(&row, ctx)?;
        let of = &rules.leaves[place];
        let mut own = to_leaf(of, &row, ctx)?;
        if !self.partitions.before_insert(place, &mut own, ctx).await? {
            return Ok(None);
        }
        self.partitions.check_policies(Checked::Inserted, place, &mut own, ctx).await?;
        self.partitions.leaf(place).update.start(ctx).await?;
        let (leaf, named) = self.partitions.leaf_and_root(place);
        leaf.writer.prepare(&mut own, ctx)?;
        let arbiters = match &conflict.arbiters {
            Some(arbiters) => arbiters.iter().filter_map(|at| of.indexes[*at]).collect(),
            None => (0..of.table.indexes.len()).collect(),
        };
        let upsert = Upsert {
            writer: &leaf.writer,
            insert: &leaf.insert,
            updates: Some(&leaf.update),
            lock: self.lock,
            touched: &mut self.touched,
            watch: &mut self.watch,
            partition: Some((of, named)),
        };
        let written = upsert.run(own, conflict, arbiters, ctx).await?;
        let Some(written) = written else { return Ok(None) };
        let new = to_root(of, &root, &written.new);
        match written.old {
            None => self.firing.after_row(None, Some(&new), ctx).await?,
            Some(old) => {
                if let Some(updates) = &self.updates {
                    updates.after_row(Some(&to_root(of, &root, &old)), Some(&new), ctx).await?;
                }
            }
        }
        Ok(Some(new))
    }
}

#[async_trait]
impl Operator for PartitionedInsert {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("INSERT")?;
        self.firing.start(ctx).await?;
        if let Some(updates) = &mut self.updates {
            updates.start(ctx).await?;
        }
        loop {
            let Some(batch) = self.source.next(ctx).await? else {
                if let Some(updates) = &mut self.updates {
                    updates.end(ctx)?;
                }
                self.firing.end(ctx)?;
                return Ok(None);
            };
            let root = self.partitions.root.table.clone();
            let mut rows: Vec<Vec<Datum>> = (0..batch.len()).map(|row| batch.row(row)).collect();
            rows.iter_mut().try_for_each(|row| fit_row(&root, row))?;
            let written = match self.on_conflict.clone() {
                None => {
                    let written = self.partitions.insert(rows, ctx).await?;
                    for row in written.iter().filter(|_| self.firing.wants_rows()) {
                        self.firing.after_row(None, Some(row), ctx).await?;
                    }
                    written
                }
                Some(conflict) => {
                    let mut written = Vec::with_capacity(rows.len());
                    for row in rows {
                        written.extend(self.insert_or(row, &conflict, ctx).await?);
                    }
                    written
                }
            };
            self.partitions.root.check_views(&written, ctx).await?;
            ctx.affected += written.len() as u64;
            ctx.txn()?.check_size().map_err(from_kv)?;
            if let Some(exprs) = &self.returning
                && !written.is_empty()
            {
                return returning(exprs, written, &table_types(&root), ctx).await.map(Some);
            }
        }
    }
}

pub(crate) struct PartitionedUpdate {
    source: Box<dyn Operator>,
    source_types: Vec<SqlType>,
    partitions: Partitions,
    assignments: Vec<(usize, plan::Expr)>,
    returning: Option<Vec<plan::Expr>>,
    touched: Touched,
    /// Of the statement.
    firing: Firing,
    watch: Watch,
}

impl PartitionedUpdate {
    /// None of a table that is not partitioned.
    pub fn new(update: &Update, source: Box<dyn Operator>) -> Result<Box<dyn Operator>, Box<dyn Operator>> {
        let assigned: Vec<usize> = update.assignments.iter().map(|(position, _)| *position).collect();
        let Some(partitions) = Partitions::new(&update.table, &update.row_rules, &assigned) else { return Err(source) };
        Ok(Box::new(Self {
            source,
            source_types: update.source.columns.iter().map(|column| column.ty).collect(),
            partitions,
            assignments: update.assignments.clone(),
            returning: update.returning.clone(),
            touched: Touched::default(),
            firing: Firing::of_statement(&update.table, &update.row_rules, TriggerEvent::Update, &assigned),
            watch: Watch::default(),
        }))
    }

    /// Changes one row; what was written, unless it was passed over. `new` is of the table that is named.
    async fn row(&mut self, old: &[Datum], new: Vec<Datum>, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Datum>>> {
        let rules = self.partitions.rules.clone();
        let root = self.partitions.root.table.clone();
        let place = self.partitions.place_of(old)?;
        let of = &rules.leaves[place];
        let mut own_old = to_leaf(of, old, ctx)?;
        let leaf = self.partitions.leaf(place);
        leaf.writer.compute_hidden(&mut own_old, ctx)?;
        // A row that FROM joins several times is changed once.
        if !self.touched.insert(leaf.writer.primary().encode_key(&own_old)) {
            return Ok(None);
        }
        let mut own = to_leaf(of, &new, ctx)?;
        fit_row(&of.table, &mut own)?;
        leaf.update.start(ctx).await?;
        if !leaf.update.before_row(Some(&own_old), Some(&mut own), ctx).await? {
            return Ok(None);
        }
        let stays = match &of.rules.partition {
            Some(check) => belongs(check, &own, &ctx.scope())?,
            None => true,
        };
        if !stays {
            return self.partitions.move_row(place, (&own_old, &own), &mut self.watch, ctx).await;
        }
        self.partitions.check_policies(Checked::Updated, place, &mut own, ctx).await?;
        let leaf = self.partitions.leaf(place);
        leaf.writer.prepare(&mut own, ctx)?;
        if !self.watch.is_as_read(&leaf.writer, &own_old, "updated", ctx).await? {
            return Ok(None);
        }
        leaf.writer.update(&own_old, &own, ctx).await?;
        self.watch.own(ctx)?;
        leaf.update.after_row(Some(&own_old), Some(&own), ctx).await?;
        Ok(Some(to_root(of, &root, &own)))
    }
}

#[async_trait]
impl Operator for PartitionedUpdate {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("UPDATE")?;
        let width = self.partitions.root.table.columns.len();
        self.firing.start(ctx).await?;
        loop {
            ctx.cancel.checkpoint().await?;
            self.watch.look(ctx)?;
            let Some(batch) = self.source.next(ctx).await? else {
                self.firing.end(ctx)?;
                return Ok(None);
            };
            let values = assigned(&self.assignments, &batch, ctx).await?;
            let mut written = Vec::new();
            for row in 0..batch.len() {
                let whole = batch.row(row);
                let mut new = whole[..width].to_vec();
                for ((position, _), value) in self.assignments.iter().zip(&values) {
                    new[*position] = value.get_datum(row);
                }
                let Some(mut new) = self.row(&whole[..width], new, ctx).await? else { continue };
                if self.firing.wants_rows() {
                    self.firing.after_row(Some(&whole[..width]), Some(&new), ctx).await?;
                }
                self.partitions.root.check_views(std::slice::from_ref(&new), ctx).await?;
                ctx.affected += 1;
                if self.returning.is_some() {
                    new.extend_from_slice(&whole[width..]);
                    written.push(new);
                }
            }
            ctx.txn()?.check_size().map_err(from_kv)?;
            if let Some(exprs) = &self.returning
                && !written.is_empty()
            {
                return returning(exprs, written, &self.source_types, ctx).await.map(Some);
            }
        }
    }
}

pub(crate) struct PartitionedDelete {
    source: Box<dyn Operator>,
    source_types: Vec<SqlType>,
    partitions: Partitions,
    returning: Option<Vec<plan::Expr>>,
    touched: Touched,
    /// Of the statement.
    firing: Firing,
    watch: Watch,
}

impl PartitionedDelete {
    /// None of a table that is not partitioned.
    pub fn new(delete: &Delete, source: Box<dyn Operator>) -> Result<Box<dyn Operator>, Box<dyn Operator>> {
        let Some(partitions) = Partitions::new(&delete.table, &delete.row_rules, &[]) else { return Err(source) };
        Ok(Box::new(Self {
            source,
            source_types: delete.source.columns.iter().map(|column| column.ty).collect(),
            partitions,
            returning: delete.returning.clone(),
            touched: Touched::default(),
            firing: Firing::of_statement(&delete.table, &delete.row_rules, TriggerEvent::Delete, &[]),
            watch: Watch::default(),
        }))
    }

    /// Deletes one row of the table that is named; false: it was passed over.
    async fn row(&mut self, old: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<bool> {
        let rules = self.partitions.rules.clone();
        let place = self.partitions.place_of(old)?;
        let mut own = to_leaf(&rules.leaves[place], old, ctx)?;
        let leaf = self.partitions.leaf(place);
        leaf.writer.compute_hidden(&mut own, ctx)?;
        if !self.touched.insert(leaf.writer.primary().encode_key(&own)) {
            return Ok(false);
        }
        leaf.delete.start(ctx).await?;
        if !leaf.delete.before_row(Some(&own), None, ctx).await? {
            return Ok(false);
        }
        let verb = if leaf.delete.changes_rows() { "updated" } else { "deleted" };
        if !self.watch.is_as_read(&leaf.writer, &own, verb, ctx).await? {
            return Ok(false);
        }
        leaf.writer.delete(&own, ctx)?;
        leaf.writer.note_changes(1, ctx);
        self.watch.own(ctx)?;
        leaf.delete.after_row(Some(&own), None, ctx).await?;
        Ok(true)
    }
}

#[async_trait]
impl Operator for PartitionedDelete {
    async fn next(&mut self, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Batch>> {
        ctx.check_writable("DELETE")?;
        let width = self.partitions.root.table.columns.len();
        self.firing.start(ctx).await?;
        loop {
            ctx.cancel.checkpoint().await?;
            self.watch.look(ctx)?;
            let Some(batch) = self.source.next(ctx).await? else {
                self.firing.end(ctx)?;
                return Ok(None);
            };
            let mut deleted = Vec::new();
            for row in 0..batch.len() {
                let whole = batch.row(row);
                if !self.row(&whole[..width], ctx).await? {
                    continue;
                }
                if self.firing.wants_rows() {
                    self.firing.after_row(Some(&whole[..width]), None, ctx).await?;
                }
                ctx.affected += 1;
                if self.returning.is_some() {
                    deleted.push(whole);
                }
            }
            ctx.txn()?.check_size().map_err(from_kv)?;
            if let Some(exprs) = &self.returning
                && !deleted.is_empty()
            {
                return returning(exprs, deleted, &self.source_types, ctx).await.map(Some);
            }
        }
    }
}
