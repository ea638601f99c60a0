//! Rows by the entries of an inverted index.
//!
//! The problem: a condition like `data @> '{"a": 1, "b": 2}'` names keys ([`types::inverted`]), each of which has a stretch
//! of entries: one for each row that has the key, in the order of the rows' keys. The rows that may meet the condition are
//! those that are in all of the stretches, or, for other conditions, in any of them.
//!
//! The idea: of several keys that a row must all have, the stretches are read side by side, page by page, until one of them
//! is at its end. A condition is looked at for each row anyway, so that what is left of the others need not be read: with a
//! rare key and a common one about as much is read of both. Stretches of which one is enough are read page by page too, and
//! given up for a scan of all rows where they are long.
//!
//! **Invariant (wanted-entries-read)**: the rows that are found, and the stretches that were read for them, are all that the
//! answer rests on. Another transaction makes a row meet the condition only by giving it an entry for each key, the one
//! whose stretch was read to its end among them; or, where the row was there and was left out because of another key, in a
//! part of that key's stretch that was read. Either is a write where this one has read, and what was found is read as rows
//! are. So what is serializable for ordered indexes is so for these: there are no phantoms. What was read of a common key counts
//! as read too: a serializable transaction that looks for `{"a": 1}` by `jsonb_ops` may conflict with one that writes another
//! row with the key `a`; by `jsonb_path_ops` it does not. Tests: `tests/sessions/inverted.rs`.

use std::pin::Pin;
use std::sync::Arc;

use catalog::row::IndexCodec;
use keys::{Key, Span};
use kv::{KvRows, Read, ScanOptions};
use plan::plan::{EntryCondition, EntryScan, EntryTerm, TableScan};
use types::SqlResult;
use types::inverted::{WantedKeys, text_key_end, wanted};

use crate::context::ExecContext;
use crate::error::from_kv;
use crate::memory::Reservation;
use crate::scan::bound_value;
use crate::stack::Grown;

/// Entries are small: more of them than of rows are read at once.
const PAGE_ENTRIES: u64 = 4096;
const PAGE_BYTES: u64 = 1 << 20;
/// Stretches that are read together where one of them is enough.
const SPANS_AT_ONCE: usize = 128;
/// Where that many entries have one of some keys, all rows are read instead: keeping them costs more.
const ANY_ENTRIES_MAX: usize = 1 << 20;
/// So few rows are looked at rather than compared with further stretches.
const FEW_ROWS: usize = 64;

/// Rows by the keys they have in the primary index, without its prefix; sorted, each once.
enum Rows {
    Everything,
    Some(Vec<Box<[u8]>>),
}

type Found<'f> = Pin<Box<dyn Future<Output = SqlResult<Rows>> + Send + 'f>>;

/// What a look-up has to do with.
struct Look<'a> {
    codec: &'a IndexCodec,
    read: Read,
    looked_at: &'a mut Vec<Span>,
    memory: Reservation,
}

/// Keys of rows, counted while they are kept.
pub(crate) struct FoundRows {
    pub keys: Arc<[Key]>,
    _memory: Reservation,
}

/// The rows that may meet the condition of a scan, by their keys in the order of these; none where it may be any. What was
/// read is told to `looked_at`.
pub(crate) async fn find_rows(
    scan: &TableScan,
    entries: &EntryScan,
    read: Read,
    looked_at: &mut Vec<Span>,
    ctx: &mut ExecContext<'_>,
) -> SqlResult<Option<FoundRows>> {
    let codecs = scan.table.codecs();
    let read = Read { lock: None, ..read };
    let memory = ctx.memory.reservation();
    let mut look = Look { codec: &codecs[entries.index], read, looked_at, memory };
    let found = look.rows(&entries.condition, ctx).await?;
    let Rows::Some(found) = found else { return Ok(None) };
    let prefix = codecs[0].prefix();
    let keys: Arc<[Key]> = found.into_iter().map(|rest| Key::from([prefix, &rest].concat())).collect();
    let Look { mut memory, .. } = look;
    memory.resize(keys.iter().map(|key| size_of::<Key>() + key.as_bytes().len()).sum())?;
    Ok(Some(FoundRows { keys, _memory: memory }))
}

impl Look<'_> {
    fn rows<'f>(&'f mut self, condition: &'f EntryCondition, ctx: &'f mut ExecContext<'_>) -> Found<'f> {
        Box::pin(self.rows_of(condition, ctx))
    }

    async fn rows_of(&mut self, condition: &EntryCondition, ctx: &mut ExecContext<'_>) -> SqlResult<Rows> {
        match condition {
            EntryCondition::Term(term) => match self.wanted(term, ctx).await? {
                WantedKeys::Anything => Ok(Rows::Everything),
                WantedKeys::Any(keys) => self.with_any(self.prefixes(term, keys), KeyPart::Whole, ctx).await,
                WantedKeys::AnyPrefix(keys) => self.with_any(self.prefixes(term, keys), self.text_keys(term), ctx).await,
                WantedKeys::All(keys) => self.with_all(self.prefixes(term, keys), ctx).await.map(Rows::Some),
            },
            EntryCondition::Any(arms) => {
                let mut all = Vec::new();
                for arm in arms {
                    match Grown::new(self.rows(arm, ctx)).await? {
                        Rows::Everything => return Ok(Rows::Everything),
                        Rows::Some(mut rows) => all.append(&mut rows),
                    }
                }
                all.sort_unstable();
                all.dedup();
                Ok(Rows::Some(all))
            }
            EntryCondition::All(parts) => self.rows_of_all(parts, ctx).await,
        }
    }

    /// The keys that all rows must have are looked for together.
    async fn rows_of_all(&mut self, parts: &[EntryCondition], ctx: &mut ExecContext<'_>) -> SqlResult<Rows> {
        let mut together: Vec<Vec<u8>> = Vec::new();
        let mut others: Vec<(Vec<Vec<u8>>, KeyPart)> = Vec::new();
        let mut nested: Vec<&EntryCondition> = Vec::new();
        for part in parts {
            let EntryCondition::Term(term) = part else {
                nested.push(part);
                continue;
            };
            match self.wanted(term, ctx).await? {
                WantedKeys::Anything => {}
                WantedKeys::All(keys) => together.append(&mut self.prefixes(term, keys)),
                WantedKeys::Any(keys) if keys.len() == 1 => together.append(&mut self.prefixes(term, keys)),
                WantedKeys::Any(keys) => others.push((self.prefixes(term, keys), KeyPart::Whole)),
                WantedKeys::AnyPrefix(keys) => others.push((self.prefixes(term, keys), self.text_keys(term))),
            }
        }
        // No row has one of no keys.
        if others.iter().any(|(keys, _)| keys.is_empty()) {
            return Ok(Rows::Some(Vec::new()));
        }
        together.sort_unstable();
        together.dedup();
        let mut found: Option<Vec<Box<[u8]>>> = match together.is_empty() {
            true => None,
            false => Some(self.with_all(together, ctx).await?),
        };
        let is_few = |found: &Option<Vec<Box<[u8]>>>| found.as_ref().is_some_and(|rows| rows.len() <= FEW_ROWS);
        for (keys, part) in others {
            if is_few(&found) {
                break;
            }
            if let Rows::Some(rows) = self.with_any(keys, part, ctx).await? {
                found = Some(in_both(found, rows));
            }
        }
        for part in nested {
            if is_few(&found) {
                break;
            }
            if let Rows::Some(rows) = Grown::new(self.rows(part, ctx)).await? {
                found = Some(in_both(found, rows));
            }
        }
        Ok(found.map_or(Rows::Everything, Rows::Some))
    }

    async fn wanted(&self, term: &EntryTerm, ctx: &mut ExecContext<'_>) -> SqlResult<WantedKeys> {
        let value = bound_value(&term.value, ctx).await?;
        Ok(wanted(self.codec.key_class(term.place), &self.codec.key_column(term.place).0, term.question, &value))
    }

    /// Where the entries of keys of a column begin.
    fn prefixes(&self, term: &EntryTerm, keys: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        keys.iter().map(|key| self.codec.entry_prefix(term.place, key)).collect()
    }

    fn text_keys(&self, term: &EntryTerm) -> KeyPart {
        KeyPart::Beginning { from: self.codec.entry_prefix(term.place, &[]).len() }
    }

    fn keep(&mut self, rows: &mut Vec<Box<[u8]>>, prefix: usize, page: &KvRows) -> SqlResult<()> {
        self.keep_behind(rows, |_| prefix, page)
    }

    /// Keeps the keys of rows, which begin at some byte of an entry's.
    fn keep_behind(&mut self, rows: &mut Vec<Box<[u8]>>, end: impl Fn(&[u8]) -> usize, page: &KvRows) -> SqlResult<()> {
        let before = rows.len();
        rows.extend(page.iter().map(|(key, _)| Box::from(&key[end(key)..])));
        self.memory.grow(rows[before..].iter().map(|row| size_of::<Box<[u8]>>() + row.len()).sum())
    }

    /// Rows with any of some keys; everything, where they are too many to be worth it.
    async fn with_any(&mut self, prefixes: Vec<Vec<u8>>, part: KeyPart, ctx: &mut ExecContext<'_>) -> SqlResult<Rows> {
        let mut rows = Vec::new();
        for some in prefixes.chunks(SPANS_AT_ONCE) {
            let spans: Vec<Span> = some.iter().map(|prefix| Span::prefix(Key::from(prefix.clone()))).collect();
            let mut rest: Vec<(usize, Span)> = spans.iter().cloned().enumerate().collect();
            while !rest.is_empty() {
                ctx.cancel.checkpoint().await?;
                let txn = ctx.txn()?;
                let (pages, left) =
                    txn.scan_some(rest, some.len(), PAGE_ENTRIES as usize, self.read).await.map_err(from_kv)?;
                rest = left;
                for (prefix, page) in some.iter().zip(&pages) {
                    match part {
                        KeyPart::Whole => self.keep(&mut rows, prefix.len(), page)?,
                        KeyPart::Beginning { from } => {
                            self.keep_behind(&mut rows, |key| text_key_end(&key[from..]).map_or(key.len(), |end| from + end), page)?;
                        }
                    }
                }
                if rows.len() > ANY_ENTRIES_MAX {
                    // What was read says nothing: the answer rests on all rows.
                    return Ok(Rows::Everything);
                }
            }
            self.looked_at.extend(spans);
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(Rows::Some(rows))
    }

    /// Rows with all of some keys, of which there is one: those of the shortest stretch, without those that are known not to
    /// have another.
    async fn with_all(&mut self, prefixes: Vec<Vec<u8>>, ctx: &mut ExecContext<'_>) -> SqlResult<Vec<Box<[u8]>>> {
        let mut stretches: Vec<Stretch> = prefixes.into_iter().map(Stretch::new).collect();
        loop {
            ctx.cancel.checkpoint().await?;
            // Of jsonb, scalars come after the names of keys, and say more: a read that finds nothing ends here.
            for stretch in stretches.iter_mut().rev() {
                let Some(rest) = stretch.rest.take() else { continue };
                let options = ScanOptions { read: self.read, max_rows: PAGE_ENTRIES, max_bytes: PAGE_BYTES, reverse: false };
                let page = ctx.txn()?.scan(&rest, options).await.map_err(from_kv)?;
                self.keep(&mut stretch.rows, stretch.prefix.len(), &page.rows)?;
                stretch.rest = page.resume;
                self.looked_at.push(page.covered);
                // Nothing has all of the keys.
                if stretch.rest.is_none() && stretch.rows.is_empty() {
                    return Ok(Vec::new());
                }
            }
            if stretches.iter().any(|stretch| stretch.rest.is_none()) {
                break;
            }
        }
        let whole = stretches.iter().enumerate().filter(|(_, stretch)| stretch.rest.is_none());
        let Some((shortest, _)) = whole.min_by_key(|(_, stretch)| stretch.rows.len()) else { return Ok(Vec::new()) };
        let mut rows = stretches.swap_remove(shortest).rows;
        for other in &stretches {
            // How far it was read.
            let end = other.rest.as_ref().map(|rest| rest.start.as_bytes().get(other.prefix.len()..).unwrap_or_default());
            rows.retain(|row| end.is_some_and(|end| &**row >= end) || other.rows.binary_search(row).is_ok());
        }
        Ok(rows)
    }
}

/// What is looked for of keys.
#[derive(Clone, Copy)]
enum KeyPart {
    Whole,
    /// What they begin with. They are texts, which begin at this byte of an entry.
    Beginning { from: usize },
}

/// The entries of one key.
struct Stretch {
    prefix: Vec<u8>,
    rows: Vec<Box<[u8]>>,
    /// None when all of them were read.
    rest: Option<Span>,
}

impl Stretch {
    fn new(prefix: Vec<u8>) -> Self {
        let rest = Some(Span::prefix(Key::from(prefix.clone())));
        Self { prefix, rows: Vec::new(), rest }
    }
}

/// `rows` is sorted.
fn in_both(found: Option<Vec<Box<[u8]>>>, rows: Vec<Box<[u8]>>) -> Vec<Box<[u8]>> {
    match found {
        None => rows,
        Some(mut found) => {
            found.retain(|row| rows.binary_search(row).is_ok());
            found
        }
    }
}
