//! Locks that one command takes on many keys: kept as the list that it names them in, at a fraction of what a place in the
//! table costs for each, as long as nobody else wants one of them.
//!
//! ```text
//! keys    a: T1 UPDATE, queue: T2        k: T3 SHARE
//! bulks       [ b  c  d  e ] T1 UPDATE       [ m  n  o ] T4 NO KEY UPDATE
//!                   └─ T2 wants c: c goes to `keys`, with its holder, and T2 queues there
//! ```
//!
//! **Invariants**
//! - *one-place*: a key is in `keys` or in one bulk, never in both, so that each shows all there is to know of it.
//! - *disjoint-bulks*: no bulk reaches into another, so that the one that may have a key is found at once.

use std::collections::BTreeMap;

use keys::{Key, KeyList, LockStrength, Span, TxnId, TxnMeta};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Renew, key_state::Claim};

/// The keys of one command.
struct Bulk {
    meta: TxnMeta,
    strength: LockStrength,
    keys: KeyList,
    /// Keys from this place on are another range's.
    end: usize,
    /// Places of keys that have gone to `keys`.
    moved: FxHashSet<usize>,
}

/// All of them, by their first keys.
#[derive(Default)]
pub(super) struct Bulks {
    by_first: BTreeMap<Key, Bulk>,
    /// How many each transaction has.
    of_txn: FxHashMap<TxnId, usize>,
    /// Keys in all of them.
    key_count: usize,
}

/// A lock in a bulk.
pub(super) struct BulkLock<'a> {
    pub key: &'a [u8],
    pub meta: &'a TxnMeta,
    pub strength: LockStrength,
}

impl Bulk {
    fn place(&self, key: &[u8]) -> Option<usize> {
        self.keys.position(key).filter(|place| self.has(*place))
    }

    fn has(&self, place: usize) -> bool {
        place < self.end && !self.moved.contains(&place)
    }

    fn len(&self) -> usize {
        self.end - self.moved.len()
    }

    fn blocks(&self, claim: &Claim) -> bool {
        claim.txn_id() != Some(self.meta.id)
            && claim.strength.is_some_and(|strength| strength.conflicts_with(self.strength))
    }

    fn lock(&self, place: usize) -> BulkLock<'_> {
        BulkLock { key: self.keys.get(place), meta: &self.meta, strength: self.strength }
    }
}

impl Bulks {
    pub fn key_count(&self) -> usize {
        self.key_count
    }

    /// The bulk that may have the key.
    fn around(&self, key: &[u8]) -> Option<(&Key, &Bulk)> {
        if self.key_count == 0 {
            return None;
        }
        self.by_first.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key))).next_back()
    }

    /// Those that reach into a span.
    fn overlapping(&self, span: &Span) -> impl Iterator<Item = &Bulk> {
        let first = self.around(span.start.as_bytes()).map_or(&span.start, |(first, _)| first);
        let bulks = if first < &span.end { Some(self.by_first.range::<Key, _>(first..&span.end)) } else { None };
        bulks.into_iter().flatten().map(|(_, bulk)| bulk)
    }

    /// Who holds the key against a claim.
    pub fn blocker(&self, key: &Key, claim: &Claim) -> Option<BulkLock<'_>> {
        let (_, bulk) = self.around(key.as_bytes())?;
        let place = bulk.place(key.as_bytes()).filter(|_| bulk.blocks(claim))?;
        Some(bulk.lock(place))
    }

    /// The keys of a span that are held against a claim, in order.
    pub fn blockers<'a>(&'a self, span: &'a Span, claim: &'a Claim) -> impl Iterator<Item = BulkLock<'a>> {
        let bulks = self.overlapping(span).filter(|bulk| bulk.blocks(claim));
        bulks.flat_map(|bulk| bulk.keys.places_in(span).filter(|place| bulk.has(*place)).map(|place| bulk.lock(place)))
    }

    /// One of the keys that is held against a claim.
    pub fn blocker_among<'a>(&'a self, keys: &'a KeyList, claim: &'a Claim) -> Option<BulkLock<'a>> {
        let hull = keys.hull();
        let bulks = self.overlapping(&hull).filter(|bulk| bulk.blocks(claim));
        let mut held = bulks.flat_map(move |bulk| {
            // Of the keys only those that lie within this one, or many bulks would have them all looked up in each.
            let within = keys.places_in(&bulk.keys.hull());
            within.filter_map(move |at| bulk.place(keys.get(at)).map(|place| bulk.lock(place)))
        });
        held.next()
    }

    /// All keys of a span, or what one transaction has of them, in order.
    pub fn locks<'a>(&'a self, span: &'a Span, of: Option<TxnId>) -> impl Iterator<Item = BulkLock<'a>> {
        let bulks = self.overlapping(span).filter(move |bulk| of.is_none_or(|txn| txn == bulk.meta.id));
        bulks.flat_map(|bulk| bulk.keys.places_in(span).filter(|place| bulk.has(*place)).map(|place| bulk.lock(place)))
    }

    /// Whether the transaction has each of the keys, locked as strongly.
    pub fn has_all(&self, keys: &KeyList, txn: TxnId, strength: LockStrength) -> bool {
        let is_locked = |key| {
            let bulk = self.around(key).map(|(_, bulk)| bulk);
            bulk.is_some_and(|bulk| bulk.meta.id == txn && bulk.strength >= strength && bulk.place(key).is_some())
        };
        self.of_txn.contains_key(&txn) && keys.iter().all(is_locked)
    }

    /// Whether any reaches into the span: another over it is against *disjoint-bulks*.
    pub fn reach_into(&self, span: &Span) -> bool {
        self.overlapping(span).any(|bulk| bulk.keys.hull().overlaps(span))
    }

    /// Locks the keys, which lie in this hull; there are some. The caller answers for *disjoint-bulks* and *one-place*, and
    /// that there is no conflict.
    pub fn add(&mut self, keys: KeyList, hull: Span, txn: &TxnMeta, strength: LockStrength) {
        self.key_count += keys.len();
        *self.of_txn.entry(txn.id).or_default() += 1;
        let bulk = Bulk { meta: txn.clone(), strength, end: keys.len(), keys, moved: FxHashSet::default() };
        self.by_first.insert(hull.start, bulk);
    }

    /// Takes a key out; who holds it.
    pub fn take(&mut self, key: &[u8]) -> Option<(TxnMeta, LockStrength)> {
        let first = self.around(key).filter(|(_, bulk)| bulk.place(key).is_some())?.0.clone();
        let bulk = self.by_first.get_mut(&first)?;
        let place = bulk.place(key)?;
        bulk.moved.insert(place);
        let (lock, is_empty) = ((bulk.meta.clone(), bulk.strength), bulk.len() == 0);
        self.key_count -= 1;
        if is_empty {
            self.by_first.remove(&first);
            self.forget_bulk(lock.0.id);
        }
        Some(lock)
    }

    fn forget_bulk(&mut self, txn: TxnId) {
        if let Some(count) = self.of_txn.get_mut(&txn) {
            *count -= 1;
            if *count == 0 {
                self.of_txn.remove(&txn);
            }
        }
    }

    /// Nobody waits for what is here, so nobody has to hear of it.
    pub fn txn_finished(&mut self, txn: TxnId) {
        if self.of_txn.remove(&txn).is_some() {
            let count = &mut self.key_count;
            self.by_first.retain(|_, bulk| {
                let stays = bulk.meta.id != txn;
                *count -= if stays { 0 } else { bulk.len() };
                stays
            });
        }
    }

    pub fn update_txn(&mut self, pushed: &TxnMeta) {
        if self.of_txn.contains_key(&pushed.id) {
            self.by_first.values_mut().filter(|bulk| bulk.meta.id == pushed.id).for_each(|bulk| bulk.meta.renew(pushed));
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the keys from `at` on.
    pub fn split_off(&mut self, at: &Key) {
        for bulk in self.by_first.split_off(at).into_values() {
            self.key_count -= bulk.len();
            self.forget_bulk(bulk.meta.id);
        }
        if let Some((_, bulk)) = self.by_first.iter_mut().next_back() {
            let before = bulk.len();
            bulk.end = bulk.end.min(bulk.keys.below(at.as_bytes()));
            bulk.moved.retain(|place| *place < bulk.end);
            self.key_count -= before - bulk.len();
            // What is left of it may be keys that were moved alone.
            if bulk.len() == 0 {
                let txn = bulk.meta.id;
                self.by_first.pop_last();
                self.forget_bulk(txn);
            }
        }
    }
}
