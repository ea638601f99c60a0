//! Advisory locks: `pg_advisory_lock` and its kin, with their meaning for the whole cluster.
//!
//! ```text
//! /Table/6/1/<database>/<class>/<key>/<slot>     locked, never written
//! ```
//! Each lock that a session holds is held by key-value transactions of its own, which end when it is unlocked, when the
//! session ends, and, as they send no more heartbeats, when its node does. The lock table of ranges knows exclusive locks
//! only: an exclusive advisory lock takes all [`SLOTS`] of its keys, a shared one any of them. So no more than that many
//! sessions share a lock; others wait.
//!
//! Deliberately left out: `pg_locks` does not show them; a deadlock over an advisory lock and a row is ended by
//! `lock_timeout` alone, since they are held by different transactions.

use std::time::Duration;

use keys::{IndexId, Key, LockStrength, TableId, keyspace};
use kv::{Db, Read, Txn, TxnOptions, WaitPolicy};
use plan::AdvisoryOp;
use types::{Datum, SqlError, SqlResult, SqlState};

use crate::error::from_kv;

const SLOTS: u32 = 16;
const ALL: u32 = (1 << SLOTS) - 1;

/// What a lock is about: keys of 64 bits and pairs of 32 bits are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LockId {
    database: u32,
    is_pair: bool,
    key: u64,
}

impl LockId {
    fn slot(self, slot: u32) -> Key {
        let mut key = keyspace::index(TableId::new(6), IndexId::new(1)).as_bytes().to_vec();
        for part in [u64::from(self.database), u64::from(self.is_pair), self.key, u64::from(slot)] {
            keys::encoding::put_uvarint(&mut key, part);
        }
        key.into()
    }
}

/// What a session locks with.
pub(crate) struct LockingSession {
    db: Db,
    database: u32,
    lock_timeout: Option<Duration>,
    /// Sessions begin at different slots.
    first_slot: u32,
}

impl LockingSession {
    pub fn of(txn: &Txn, database: u32) -> Self {
        let first_slot = u32::from(txn.id().as_bytes()[0]) % SLOTS;
        Self { db: txn.db().clone(), database, lock_timeout: txn.lock_timeout(), first_slot }
    }

    fn begin(&self) -> Txn {
        let mut holder = self.db.begin(TxnOptions::default());
        holder.set_lock_timeout(self.lock_timeout);
        holder
    }
}

/// How often a lock is held: unlocked as often, it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    exclusive: u32,
    shared: u32,
    /// Until the transaction ends.
    exclusive_in_transaction: u32,
    shared_in_transaction: u32,
}

impl Counts {
    fn of(&mut self, is_shared: bool, in_transaction: bool) -> &mut u32 {
        match (is_shared, in_transaction) {
            (false, false) => &mut self.exclusive,
            (true, false) => &mut self.shared,
            (false, true) => &mut self.exclusive_in_transaction,
            (true, true) => &mut self.shared_in_transaction,
        }
    }

    fn is_free(self) -> bool {
        self == Self::default()
    }
}

struct Held {
    id: LockId,
    counts: Counts,
    /// A bit for each slot.
    slots: u32,
    /// More than one where a shared lock has become exclusive.
    holders: Vec<Txn>,
}

/// The advisory locks of a session.
#[derive(Default)]
pub struct AdvisoryLocks {
    held: Vec<Held>,
    /// What the running statement has locked, and how.
    taken: Vec<(LockId, bool, bool)>,
    /// Something was locked or unlocked since the transaction began.
    is_touched: bool,
}

impl std::fmt::Debug for AdvisoryLocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdvisoryLocks").field("held", &self.held.len()).finish()
    }
}

impl AdvisoryLocks {
    pub(crate) async fn call(
        &mut self,
        op: AdvisoryOp,
        args: &[Datum],
        session: &LockingSession,
    ) -> SqlResult<Datum> {
        self.is_touched = true;
        let database = session.database;
        if op == AdvisoryOp::UnlockAll {
            self.unlock_all().await;
            return Ok(Datum::text(""));
        }
        let ints: Option<Vec<i64>> = args.iter().map(Datum::as_int).collect();
        let id = match ints.as_deref() {
            Some([key]) => LockId { database, is_pair: false, key: *key as u64 },
            Some([high, low]) => LockId {
                database,
                is_pair: true,
                key: u64::from(*high as u32) << 32 | u64::from(*low as u32),
            },
            // All these functions are strict.
            _ => return Ok(Datum::Null),
        };
        match op {
            AdvisoryOp::Lock { is_shared, is_try, in_transaction } => {
                let got = self.lock(id, is_shared, is_try, session).await?;
                if got {
                    let held =
                        self.held.iter_mut().find(|held| held.id == id).expect("it has just been locked");
                    *held.counts.of(is_shared, in_transaction) += 1;
                    self.taken.push((id, is_shared, in_transaction));
                }
                Ok(if is_try { Datum::Bool(got) } else { Datum::text("") })
            }
            AdvisoryOp::Unlock { is_shared } => Ok(Datum::Bool(self.unlock(id, is_shared, false).await)),
            AdvisoryOp::UnlockAll => unreachable!("answered above"),
        }
    }

    /// Makes sure that the slots are held; whether they could be had.
    async fn lock(
        &mut self,
        id: LockId,
        is_shared: bool,
        is_try: bool,
        session: &LockingSession,
    ) -> SqlResult<bool> {
        let at = self.held.iter().position(|held| held.id == id);
        let own = at.map_or(0, |at| self.held[at].slots);
        if own == ALL || is_shared && own != 0 {
            return Ok(true);
        }
        let taken = if is_shared {
            take_any(id, is_try, session).await?
        } else {
            let wanted: Vec<u32> = (0..SLOTS).filter(|slot| own & 1 << slot == 0).collect();
            take(id, &wanted, is_try, session).await?.map(|holder| (holder, ALL & !own))
        };
        let Some((holder, slots)) = taken else { return Ok(false) };
        let at = at.unwrap_or_else(|| {
            self.held.push(Held { id, counts: Counts::default(), slots: 0, holders: Vec::new() });
            self.held.len() - 1
        });
        self.held[at].slots |= slots;
        self.held[at].holders.push(holder);
        Ok(true)
    }

    /// Whether it was held that way.
    async fn unlock(&mut self, id: LockId, is_shared: bool, in_transaction: bool) -> bool {
        let Some(held) = self.held.iter_mut().find(|held| held.id == id) else { return false };
        let count = held.counts.of(is_shared, in_transaction);
        if *count == 0 {
            return false;
        }
        *count -= 1;
        self.release_free().await;
        true
    }

    async fn release_free(&mut self) {
        while let Some(at) = self.held.iter().position(|held| held.counts.is_free()) {
            for mut holder in self.held.swap_remove(at).holders {
                // It has written nothing: its end frees its locks before the answer, unlike a rollback.
                if let Err(error) = holder.commit().await {
                    tracing::debug!(%error, "an advisory lock is freed later");
                }
            }
        }
    }

    /// `pg_advisory_unlock_all`, and DISCARD ALL: what is held until the end of the transaction stays.
    pub async fn unlock_all(&mut self) {
        for held in &mut self.held {
            held.counts.exclusive = 0;
            held.counts.shared = 0;
        }
        self.release_free().await;
    }

    /// Whether the transaction at hand has locked or unlocked anything.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.is_touched
    }

    /// Whether something is locked until the transaction ends.
    #[must_use]
    pub fn holds_in_transaction(&self) -> bool {
        self.held.iter().any(|held| held.counts.exclusive_in_transaction + held.counts.shared_in_transaction > 0)
    }

    /// The transaction is over.
    pub async fn end_transaction(&mut self) {
        self.is_touched = false;
        if self.held.is_empty() {
            return;
        }
        for held in &mut self.held {
            held.counts.exclusive_in_transaction = 0;
            held.counts.shared_in_transaction = 0;
        }
        self.release_free().await;
    }

    /// A statement begins.
    pub fn begin_statement(&mut self) {
        self.taken.clear();
    }

    /// The statement runs again from its start: what it has locked is counted once.
    pub async fn undo_statement(&mut self) {
        for (id, is_shared, in_transaction) in std::mem::take(&mut self.taken) {
            self.unlock(id, is_shared, in_transaction).await;
        }
    }
}

/// Locks slots, in order, in a transaction that holds nothing else; none when a try fails.
async fn take(id: LockId, slots: &[u32], is_try: bool, session: &LockingSession) -> SqlResult<Option<Txn>> {
    let keys: Vec<Key> = slots.iter().map(|slot| id.slot(*slot)).collect();
    let mut holder = session.begin();
    let wait = if is_try { WaitPolicy::Error } else { WaitPolicy::Block };
    let read = Read { lock: Some(LockStrength::Update), wait, lock_absent: true, ..Read::default() };
    match holder.get_many(&keys, read).await {
        Ok(_) => Ok(Some(holder)),
        Err(kv::Error::LockNotAvailable { .. }) if is_try => {
            holder.rollback().await;
            Ok(None)
        }
        Err(error) => {
            holder.rollback().await;
            Err(match error {
                kv::Error::LockTimeout { .. } => {
                    SqlError::new(SqlState::LockNotAvailable, "canceling statement due to lock timeout")
                }
                other => from_kv(other),
            })
        }
    }
}

/// Locks a slot that is free, or waits for one.
async fn take_any(id: LockId, is_try: bool, session: &LockingSession) -> SqlResult<Option<(Txn, u32)>> {
    let first = session.first_slot;
    for at in 0..SLOTS {
        let slot = (first + at) % SLOTS;
        if let Some(holder) = take(id, &[slot], true, session).await? {
            return Ok(Some((holder, 1 << slot)));
        }
    }
    if is_try {
        return Ok(None);
    }
    Ok(take(id, &[first], false, session).await?.map(|holder| (holder, 1 << first)))
}
