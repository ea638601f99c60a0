//! Rules of indexes whose keys rows may share for a while: DEFERRABLE UNIQUE and PRIMARY KEY, and EXCLUDE.
//!
//! ```text
//! not deferrable (EXCLUDE)   looked at when rows have been written
//! deferrable, immediate      noted when rows are written, looked at when the statement ends
//! deferred                   noted in the transaction, looked at when it commits, or by SET CONSTRAINTS
//! ```
//! Two entries break a rule when they are equal in all columns of the key; of EXCLUDE with `&&`, when they are equal in all but
//! the last column and their ranges overlap there. Entries are ordered by their columns: ranges of one group of equal columns
//! by where they begin. If any two of a group overlap, two neighbours do, because a range that overlaps a later one
//! overlaps every range that begins in between. So it is enough to compare each entry that was written with both of its
//! neighbours: entries from before do not break the rule among themselves.
//!
//! **Invariant (rules-hold):** a transaction that commits leaves no two rows that break a rule. A check first locks the group of
//! equal columns, under a key that no entry has. Of two transactions that write to a group, one waits for the other and then
//! reads its rows. Who takes a row away does not lock its group: a row that is in the way is locked, and others are refused
//! only if it is still there then. Locks are kept in memory and may be lost: what a check has read is verified at the commit,
//! at every isolation level.
//!
//! Tests: `tests/sessions/rules.rs`.

use std::sync::Arc;

use catalog::row::{EntryError, EntryReader, IndexCodec};
use catalog::{Index, IndexRule, Table};
use hlc::Timestamp;
use keys::{Key, LockStrength, Span};
use kv::{Keep, Read, ScanOptions, See, Txn};
use rustc_hash::FxHashSet;
use types::{Datum, Formatting, SqlError, SqlResult, SqlState};

use crate::context::ExecContext;
use crate::deferred::Side;
use crate::error::{from_entry, from_kv};
use crate::memory::Reservation;
use crate::row_write::TableWriter;

/// Rows whose groups are locked in one request.
const AT_ONCE: usize = 256;
/// Between the columns of a group and what follows them in an entry: no column begins with it.
const GROUP_LOCK: u8 = 0x01;

/// What the rows of a statement owe to rules that are looked at when it ends.
#[derive(Debug, Default)]
pub(crate) struct RuleQueue {
    owed: Vec<Noted>,
    known: FxHashSet<(u32, Key)>,
    /// Of all that is noted; none before the first.
    memory: Option<Reservation>,
}

/// A row that was written under a rule, by its values at [`positions`].
#[derive(Debug)]
pub(crate) struct Noted {
    pub table: Arc<Table>,
    pub index: usize,
    pub values: Vec<Datum>,
}

impl Noted {
    fn new(table: &Arc<Table>, index: usize, row: &[Datum]) -> Self {
        let values = positions(table, index).map(|at| row[at].clone()).collect();
        Self { table: table.clone(), index, values }
    }

    fn row(&self) -> OwedRow {
        OwedRow::of_values(&self.table, self.index, &self.values)
    }
}

/// The row while it is looked at.
#[derive(Clone, Debug)]
struct OwedRow {
    table: Arc<Table>,
    index: usize,
    /// As wide as the table's; what is no part of the entry's key may be missing.
    row: Vec<Datum>,
}

/// Columns of an entry's key: those of the index and those of the primary key.
fn positions(table: &Arc<Table>, index: usize) -> impl Iterator<Item = usize> + '_ {
    table.codecs()[index].key_positions().chain(table.codecs()[0].key_positions())
}

impl OwedRow {
    fn new(table: &Arc<Table>, index: usize, row: &[Datum]) -> Self {
        let mut kept = vec![Datum::Null; table.columns.len()];
        positions(table, index).for_each(|at| kept[at] = row[at].clone());
        Self { table: table.clone(), index, row: kept }
    }

    /// Of the values of [`positions`].
    fn of_values(table: &Arc<Table>, index: usize, values: &[Datum]) -> Self {
        let mut row = vec![Datum::Null; table.columns.len()];
        positions(table, index).zip(values).for_each(|(at, value)| row[at] = value.clone());
        Self { table: table.clone(), index, row }
    }

    fn descriptor(&self) -> &Index {
        &self.table.indexes[self.index]
    }

    fn codec(&self) -> &IndexCodec {
        &self.table.codecs()[self.index]
    }

    fn key(&self) -> Key {
        self.codec().encode_key(&self.row)
    }

    /// How many columns say which group the row belongs to.
    fn group_columns(&self) -> usize {
        self.codec().key_len() - usize::from(overlaps(self.descriptor()))
    }

    fn group(&self) -> Vec<u8> {
        let mut prefix = self.codec().prefix().to_vec();
        let columns: Vec<usize> = self.codec().key_positions().take(self.group_columns()).collect();
        for (place, at) in columns.into_iter().enumerate() {
            self.codec().put_key_column(&mut prefix, place, &self.row[at]);
        }
        prefix
    }

    /// What is locked before the rows of a group are looked at.
    fn group_lock(&self) -> Key {
        let mut key = self.group();
        key.push(GROUP_LOCK);
        Key::from(key)
    }
}

fn overlaps(index: &Index) -> bool {
    matches!(index.details.rule, Some(IndexRule::Exclude { overlaps: Some(_), .. }))
}

/// Whether a row may break the rule of an index: NULL is not equal to anything, unless NULLs are not distinct, and overlaps
/// nothing.
fn may_break(table: &Arc<Table>, index: usize, row: &[Datum]) -> bool {
    let nulls_count = table.indexes[index].nulls_not_distinct;
    nulls_count || table.codecs()[index].key_positions().all(|at| !row[at].is_null())
}

/// Notes a row that has come to an index with a rule.
///
/// # Errors
/// 53200.
pub(crate) fn note(table: &Arc<Table>, index: usize, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    if !may_break(table, index, row) {
        return Ok(());
    }
    let key = table.codecs()[index].encode_key(row);
    let key_bytes = key.as_bytes().len();
    let queue = &mut ctx.foreign.rules;
    if !queue.known.insert((table.indexes[index].oid, key)) {
        return Ok(());
    }
    let noted = Noted::new(table, index, row);
    let value_bytes: usize = noted.values.iter().map(|value| size_of::<Datum>() + value.heap_bytes()).sum();
    let memory = queue.memory.get_or_insert_with(|| ctx.memory.reservation());
    memory.grow(size_of::<Noted>() + size_of::<(u32, Key)>() + key_bytes + value_bytes)?;
    queue.owed.push(noted);
    Ok(())
}

/// Looks at once at rows that have come to an index with a rule that does not wait.
pub(crate) async fn check_now<'r>(
    table: &Arc<Table>,
    index: usize,
    rows: impl Iterator<Item = &'r [Datum]>,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let may = rows.filter(|row| may_break(table, index, row));
    let owed: Vec<Noted> = may.map(|row| Noted::new(table, index, row)).collect();
    check(owed, ctx).await
}

/// What the statement owes, now that it ends: looked at, or put off with the transaction's.
///
/// # Errors
/// 23505 and 23P01.
pub(crate) async fn settle(ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    if ctx.foreign.rules.owed.is_empty() {
        return Ok(());
    }
    let RuleQueue { owed, known, memory } = std::mem::take(&mut ctx.foreign.rules);
    drop(known);
    let mut now = Vec::new();
    for noted in owed {
        let index = &noted.table.indexes[noted.index];
        let Some(constraint) = index.constraint else { continue };
        if ctx.state.deferred.puts_off_rule(constraint.oid, &index.details) {
            let (table, bytes) = (noted.table.id, noted.row().key().as_bytes().to_vec());
            ctx.state.deferred.note(Side::Rule, table, constraint.oid, table, noted.values, bytes)?;
        } else {
            now.push(noted);
        }
    }
    let checked = check(now, ctx).await;
    drop(memory);
    checked
}

/// Looks at rows, which may have gone by now.
pub(crate) async fn check(mut owed: Vec<Noted>, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    if owed.len() > AT_ONCE {
        // Groups are locked in one order, whichever request they are locked by.
        owed.sort_by_cached_key(|noted| noted.row().group());
    }
    for some in owed.chunks(AT_ONCE) {
        let rows: Vec<OwedRow> = some.iter().map(Noted::row).collect();
        check_some(&rows, ctx).await?;
    }
    Ok(())
}

async fn check_some(some: &[OwedRow], ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let mut groups: Vec<Key> = some.iter().map(OwedRow::group_lock).collect();
    groups.sort_unstable();
    groups.dedup();
    let txn = ctx.txn()?;
    txn.get_many(&groups, locking_group()).await.map_err(from_kv)?;
    // Another transaction may have held the lock and committed since the statement began.
    txn.look_from_now().await.map_err(from_kv)?;
    let are_apart = groups.len() == some.len() && !some.iter().any(|owed| overlaps(owed.descriptor()));
    let mut waited_for = FxHashSet::default();
    loop {
        ctx.cancel.checkpoint().await?;
        let at = ctx.txn()?.read_ts();
        let mut looked_at = Vec::new();
        let found = match are_apart {
            true => equals(some, &mut looked_at, ctx).await?,
            false => first_broken(some, &mut looked_at, ctx).await?,
        };
        let Some((place, other)) = found else {
            if keep_looks(looked_at, at, Txn::keep_bound, ctx)? {
                return Ok(());
            }
            continue;
        };
        if waited_for.contains(&other) {
            keep_looks(looked_at, at, Txn::keep_read, ctx)?;
            return Err(broken(&some[place], &other, ctx));
        }
        wait_for(&some[place], &other, ctx).await?;
        waited_for.insert(other);
    }
}

/// Reads of rules: they see what the statement has written. They count as read when it is known what rests on them.
fn looking() -> Read {
    Read { see: See::Now, keep: Keep::Later, ..Read::default() }
}

fn locking_group() -> Read {
    let lock = Some(LockStrength::NoKeyUpdate);
    Read { lock, lock_absent: true, see: See::Now, binds: true, ..Read::default() }
}

/// What was looked at counts as read; not if the transaction has moved up since it was at `at`: then it is to be looked at
/// again.
fn keep_looks(
    looked_at: Vec<Span>,
    at: Timestamp,
    keep: fn(&mut Txn, Span),
    ctx: &mut ExecContext<'_>,
) -> SqlResult<bool> {
    let txn = ctx.txn()?;
    let is_as_it_was = txn.read_ts() == at;
    if is_as_it_was {
        looked_at.into_iter().for_each(|span| keep(txn, span));
    }
    Ok(is_as_it_was)
}

/// The row of an entry that is in the way may be on its way out: waits for who changes it. From then on it stays as it is,
/// if it is still there.
async fn wait_for(owed: &OwedRow, other: &Key, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let reader = EntryReader::new(&owed.table, owed.descriptor(), &[]);
    // The entry ends with the row's key: its value is not asked for.
    let row = reader.row_key(&owed.table.codecs()[0], other.as_bytes(), &[]).map_err(from_entry)?;
    let txn = ctx.txn()?;
    let read = Read { lock: Some(LockStrength::Share), see: See::Now, ..Read::default() };
    txn.get(&row, read).await.map_err(from_kv)?;
    txn.look_from_now().await.map_err(from_kv)
}

async fn scan(span: &Span, reverse: bool, looked_at: &mut Vec<Span>, ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Key>> {
    let mut found = Vec::new();
    let mut rest = Some(span.clone());
    while let Some(span) = rest.take().filter(|_| found.len() < 2) {
        let options = ScanOptions { read: looking(), max_rows: 2, max_bytes: 0, reverse };
        let page = ctx.txn()?.scan(&span, options).await.map_err(from_kv)?;
        looked_at.push(page.covered);
        found.extend(page.rows.iter().map(|(key, _)| Key::from(key)));
        rest = page.resume;
    }
    Ok(found)
}

/// The first of some rows that is there and breaks its rule, and the entry it breaks it with.
async fn first_broken(
    some: &[OwedRow],
    looked_at: &mut Vec<Span>,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Option<(usize, Key)>> {
    for (at, owed) in some.iter().enumerate() {
        let other = match overlaps(owed.descriptor()) {
            true => neighbour(owed, looked_at, ctx).await?,
            false => equal(owed, looked_at, ctx).await?,
        };
        if let Some(other) = other {
            return Ok(Some((at, other)));
        }
    }
    Ok(None)
}

/// Another row with the key of one that is there.
async fn equal(owed: &OwedRow, looked_at: &mut Vec<Span>, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Key>> {
    let own = owed.key();
    let found = scan(&Span::prefix(Key::from(owed.group())), false, looked_at, ctx).await?;
    // Where there are two others, one of them was written by this transaction too, and is checked by itself.
    let is_there = found.contains(&own);
    Ok(found.into_iter().find(|key| *key != own).filter(|_| is_there))
}

/// The first of some rows, all of different groups, that is there and has the key of another, and that one: they are looked for
/// together.
async fn equals(
    some: &[OwedRow],
    looked_at: &mut Vec<Span>,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Option<(usize, Key)>> {
    let spans: Vec<Span> = some.iter().map(|owed| Span::prefix(Key::from(owed.group()))).collect();
    let pages = ctx.txn()?.scan_many(&spans, looking()).await.map_err(from_kv)?;
    looked_at.extend(spans);
    for (at, (owed, page)) in some.iter().zip(&pages).enumerate() {
        let own = owed.key();
        let is_there = page.iter().any(|(key, _)| key == own.as_bytes());
        if let Some((other, _)) = page.iter().find(|(key, _)| *key != own.as_bytes()).filter(|_| is_there) {
            return Ok(Some((at, Key::from(other))));
        }
    }
    Ok(None)
}

/// A row next to one that is there whose range overlaps that of it.
async fn neighbour(owed: &OwedRow, looked_at: &mut Vec<Span>, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Key>> {
    let own = owed.key();
    let group = Span::prefix(Key::from(owed.group()));
    let before = scan(&Span::new(group.start, own.next()), true, looked_at, ctx).await?;
    if before.first() != Some(&own) {
        // It has gone, or has become another, which is noted by itself.
        return Ok(None);
    }
    if let Some(other) = before.get(1)
        && meets(owed, other)?
    {
        return Ok(Some(other.clone()));
    }
    let after = scan(&Span::new(own.clone(), group.end), false, looked_at, ctx).await?;
    match after.get(1) {
        Some(other) if meets(owed, other)? => Ok(Some(other.clone())),
        _ => Ok(None),
    }
}

/// A row that one which is not there yet would break a rule with, if it is one without `DEFERRABLE`.
pub(crate) async fn conflicts(table: &Arc<Table>, index: usize, row: &[Datum], ctx: &mut ExecContext<'_>) -> SqlResult<bool> {
    if !may_break(table, index, row) {
        return Ok(false);
    }
    let owed = OwedRow::new(table, index, row);
    let txn = ctx.txn()?;
    txn.get(&owed.group_lock(), locking_group()).await.map_err(from_kv)?;
    txn.look_from_now().await.map_err(from_kv)?;
    let mut waited_for = FxHashSet::default();
    loop {
        ctx.cancel.checkpoint().await?;
        let at = ctx.txn()?.read_ts();
        let mut looked_at = Vec::new();
        match in_the_way(&owed, &mut looked_at, ctx).await? {
            Some(other) if !waited_for.contains(&other) => {
                wait_for(&owed, &other, ctx).await?;
                waited_for.insert(other);
            }
            found => {
                if keep_looks(looked_at, at, Txn::keep_bound, ctx)? {
                    return Ok(found.is_some());
                }
            }
        }
    }
}

/// An entry with which a row that is not there yet would break a rule.
async fn in_the_way(owed: &OwedRow, looked_at: &mut Vec<Span>, ctx: &mut ExecContext<'_>) -> SqlResult<Option<Key>> {
    let own = owed.key();
    let group = Span::prefix(Key::from(owed.group()));
    if !overlaps(owed.descriptor()) {
        return Ok(scan(&group, false, looked_at, ctx).await?.into_iter().next());
    }
    for (span, reverse) in [(Span::new(group.start, own.clone()), true), (Span::new(own, group.end), false)] {
        if let Some(other) = scan(&span, reverse, looked_at, ctx).await?.into_iter().next()
            && meets(owed, &other)?
        {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// The columns of the index in an entry.
fn entry_columns(owed: &OwedRow, key: &Key) -> SqlResult<Vec<Datum>> {
    let columns: Vec<usize> = owed.codec().key_positions().collect();
    let mut rest = key.as_bytes().strip_prefix(owed.codec().prefix()).unwrap_or_default();
    let mut values = Vec::with_capacity(columns.len());
    for place in 0..columns.len() {
        let (ty, direction, nulls) = owed.codec().key_column(place);
        let damaged = |_| from_entry(EntryError { table: owed.table.name.clone(), key: key.clone() });
        values.push(types::decode_key(&mut rest, &ty, direction, nulls).map_err(damaged)?);
    }
    Ok(values)
}

/// Whether the ranges of two entries of a group overlap.
fn meets(owed: &OwedRow, other: &Key) -> SqlResult<bool> {
    let Some(at) = owed.codec().key_positions().last() else { return Ok(false) };
    let other = entry_columns(owed, other)?.pop().unwrap_or(Datum::Null);
    Ok(ranges_overlap(&owed.table.columns[at].ty, &owed.row[at], &other))
}

fn ranges_overlap(ty: &types::SqlType, a: &Datum, b: &Datum) -> bool {
    match (ty.range_type(), a, b) {
        (Some(of), Datum::Range(a), Datum::Range(b)) => of.overlaps(std::slice::from_ref(a), std::slice::from_ref(b)),
        _ => false,
    }
}

fn broken(owed: &OwedRow, other: &Key, ctx: &ExecContext<'_>) -> SqlError {
    let (table, index) = (&owed.table, owed.descriptor());
    if !index.is_exclusion() {
        return TableWriter::new(table, &Arc::default()).refused(owed.index, &owed.row, ctx);
    }
    let message = format!("conflicting key value violates exclusion constraint \"{}\"", index.name);
    let error = ctx.about(table, SqlError::new(SqlState::ExclusionViolation, message)).with_constraint(index.name.clone());
    let columns: Vec<keys::ColumnId> = index.columns.iter().map(|key| key.column).collect();
    match entry_columns(owed, other) {
        Ok(there) if ctx.reads(table, &columns) => {
            let own: Vec<Datum> = owed.codec().key_positions().map(|at| owed.row[at].clone()).collect();
            let (own, there) = (shown(table, index, &own), shown(table, index, &there));
            error.with_detail(format!("Key {own} conflicts with existing key {there}."))
        }
        _ => error,
    }
}

/// `(room, during)=(1, [1,5))`, in the order of declaration.
fn shown(table: &Arc<Table>, index: &Index, values: &[Datum]) -> String {
    let order = index.declared_order();
    let at: Vec<usize> = table.key_positions(index).collect();
    let names: Vec<&str> = order.iter().map(|place| table.columns[at[*place]].name.as_str()).collect();
    let texts = order.iter().map(|place| types::to_text(&table.columns[at[*place]].ty, &values[*place], &Formatting::default()));
    format!("({})=({})", names.join(", "), texts.collect::<Vec<_>>().join(", "))
}

/// Looks at all entries of an index with a rule: each next to the one before it.
///
/// # Errors
/// As of an index that cannot be made.
pub(crate) async fn check_filled(table: &Arc<Table>, index: usize, ctx: &mut ExecContext<'_>) -> SqlResult<()> {
    let codec = &table.codecs()[index];
    let descriptor = &table.indexes[index];
    let mut rest = Some(codec.span());
    let mut before: Option<(OwedRow, Vec<u8>)> = None;
    while let Some(span) = rest {
        ctx.cancel.checkpoint().await?;
        let options = ScanOptions { read: Read { see: See::Now, ..Read::default() }, max_rows: 4096, ..ScanOptions::default() };
        let page = ctx.txn()?.scan(&span, options).await.map_err(from_kv)?;
        for (key, _) in page.rows.iter() {
            let key = Key::from(key);
            let blank = OwedRow { table: table.clone(), index, row: vec![Datum::Null; table.columns.len()] };
            let values = entry_columns(&blank, &key)?;
            let now = OwedRow::of_values(table, index, &values);
            if !may_break(table, index, &now.row) {
                continue;
            }
            let group = now.group();
            if let Some((last, last_group)) = &before
                && *last_group == group
                && (!overlaps(descriptor) || meets(last, &key)?)
            {
                return Err(cannot_make(&now, last, ctx));
            }
            before = Some((now, group));
        }
        rest = page.resume;
    }
    Ok(())
}

fn cannot_make(row: &OwedRow, other: &OwedRow, ctx: &ExecContext<'_>) -> SqlError {
    let index = row.descriptor();
    if !index.is_exclusion() {
        let violation = TableWriter::new(&row.table, &Arc::default()).refused(row.index, &row.row, ctx);
        return crate::ddl::as_new_index(violation);
    }
    let values = |row: &OwedRow| -> Vec<Datum> { row.codec().key_positions().map(|at| row.row[at].clone()).collect() };
    let (own, there) = (shown(&row.table, index, &values(row)), shown(&row.table, index, &values(other)));
    SqlError::new(SqlState::ExclusionViolation, format!("could not create exclusion constraint \"{}\"", index.name))
        .with_detail(format!("Key {there} conflicts with key {own}."))
        .with_table(row.table.name.clone())
        .with_constraint(index.name.clone())
}
