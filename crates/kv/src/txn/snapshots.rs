//! Isolation levels below serializable: which of a transaction's reads must hold when it commits.
//!
//! ```text
//!                      snapshot                     must hold at the commit        must hold while the snapshot is used
//! SERIALIZABLE         one                          all reads                      all reads
//! REPEATABLE READ      one                          reads under locks, binding     all reads
//! READ COMMITTED       one for each statement       reads under locks, binding     the running statement's reads
//! ```
//!
//! The problem: a transaction below serializable must not be told to start again because of what it merely read, and
//! still must not lose an update or break a constraint. So its reads are kept in two sets. What it read under a lock, and
//! what a constraint rests on (`Read::binds`), is in `reads`, and is verified when it commits: a lock is in the memory of a
//! leaseholder, which may be lost, and what was locked be changed then. Everything else is in `seen`, which says only how
//! far the snapshot may be moved.
//!
//! **Invariant (locked-holds):** what was read under a lock or binds is unchanged from when it was read to when the
//! transaction commits. A snapshot that is left behind leaves its `reads` in `older`, with the time they were read at;
//! all of them are looked at again, each from its own time, before the commit is sent. From then on the transaction is as
//! a serializable one that has read nothing else.

use hlc::Timestamp;

use keys::LockStrength;

use super::{CommitSent, Keep, Read, ReadSet, Savepoint, State, Txn, spans::Reread};
use crate::{Error, Restart, txn::heartbeat::HeartbeatHandle};

/// How much others may change between a transaction's reads and its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    ReadCommitted,
    /// All statements see one snapshot; rows that it changes or locks must not have been changed since.
    RepeatableRead,
    #[default]
    Serializable,
}

/// Where a statement began, to run it again from there.
#[derive(Clone, Copy, Debug)]
pub struct StatementStart(Savepoint);

/// Of snapshots that were left behind so many spans are kept before they are looked at and joined.
const OLDER_SPANS: usize = 512;

#[derive(Default)]
pub(super) struct Snapshots {
    isolation: Isolation,
    /// Whatever is read binds: a change of the catalog.
    all_bind: bool,
    /// It is about to commit: what it has only seen does not count any more.
    commits: bool,
    seen: ReadSet,
    /// What binds of earlier snapshots, and when it was read.
    older: Vec<(Timestamp, ReadSet)>,
}

impl Snapshots {
    pub fn start_over(&mut self) {
        self.commits = false;
        self.seen.clear();
        self.older.clear();
    }

    /// Whether reads may be kept apart.
    fn is_weak(&self) -> bool {
        self.isolation != Isolation::Serializable && !self.commits
    }
}

impl Txn {
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.snapshots.isolation
    }

    /// Before anything is read.
    pub fn set_isolation(&mut self, isolation: Isolation) {
        debug_assert!(isolation == self.snapshots.isolation || !self.has_read(), "the level is that of all its reads");
        self.snapshots.isolation = isolation;
    }

    /// Whether all reads bind from here on; answers what was so before.
    pub fn bind_reads(&mut self, all_bind: bool) -> bool {
        std::mem::replace(&mut self.snapshots.all_bind, all_bind)
    }

    /// Where a read belongs.
    pub(super) fn read_set(&mut self, binds: bool) -> &mut ReadSet {
        if binds || self.snapshots.all_bind || !self.snapshots.is_weak() {
            &mut self.reads
        } else {
            &mut self.snapshots.seen
        }
    }

    /// Whether what binds is kept apart from what is only seen: below serializable.
    #[must_use]
    pub fn keeps_apart(&self) -> bool {
        self.snapshots.is_weak()
    }

    /// Whether of a row that is there it counts only that it is. Who shares its key lets others change the rest of it, which a
    /// serializable transaction must not have read.
    pub(super) fn is_of_presence(&self, read: &Read) -> bool {
        let shares_key = read.lock == Some(LockStrength::KeyShare);
        read.keep == Keep::Presence || (shares_key && self.keeps_apart())
    }

    pub(super) fn has_read(&self) -> bool {
        !self.reads.is_empty() || !self.snapshots.seen.is_empty() || !self.snapshots.older.is_empty()
    }

    /// What must hold for the snapshot to be moved.
    pub(super) fn of_snapshot(&self) -> &ReadSet {
        if self.snapshots.is_weak() { &self.snapshots.seen } else { &self.reads }
    }

    pub(super) fn may_leave_snapshot(&self) -> bool {
        self.of_snapshot().is_empty()
    }

    /// The snapshot is about to be moved: what binds is verified later, from where it was read.
    pub(super) fn leave_snapshot(&mut self) {
        if self.snapshots.is_weak() && !self.reads.is_empty() {
            self.snapshots.older.push((self.read_ts, std::mem::take(&mut self.reads)));
        }
    }

    /// READ COMMITTED: the next statement sees what is committed by now.
    pub fn next_snapshot(&mut self) {
        let goes_on = self.state == State::Open && !self.is_fixed && self.loads.is_none();
        if self.snapshots.isolation != Isolation::ReadCommitted || !goes_on {
            return;
        }
        self.leave_snapshot();
        self.snapshots.seen.clear();
        self.move_to_now();
    }

    /// Below serializable, what constraints are about to look for is better found now than missed at the commit: moves the
    /// snapshot up to now if all that was seen in it still holds.
    ///
    /// # Errors
    /// Of the refresh, save that something has changed.
    pub async fn look_from_now(&mut self) -> Result<(), Error> {
        if !self.keeps_apart() {
            return Ok(());
        }
        match self.refresh_to_now().await {
            Ok(()) | Err(Error::Retry { reason: Restart::Read(_), .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where the statement that is about to run begins. Unlike a savepoint it keeps nothing from being written out.
    #[must_use]
    pub fn statement_start(&self) -> StatementStart {
        StatementStart(Savepoint { seq: self.seq, flushed: self.flushes })
    }

    /// READ COMMITTED: goes back to where a statement began that lost to another transaction, with a later snapshot. False
    /// where the transaction cannot go on, or the statement's writes have been written out.
    pub fn back_to_statement(&mut self, start: &StatementStart) -> bool {
        let can_go_on = self.state == State::Open
            && self.snapshots.isolation == Isolation::ReadCommitted
            && !self.snapshots.commits
            && !self.is_doomed
            && self.commit_sent == CommitSent::No
            && !self.heartbeat.as_ref().is_some_and(HeartbeatHandle::is_aborted)
            && start.0.flushed == self.flushes
            && self.loads.is_none();
        if !can_go_on {
            return false;
        }
        self.buffer.truncate(start.0.seq);
        self.statement_seq = self.seq;
        self.next_snapshot();
        true
    }

    /// *locked-holds*: what binds of all snapshots is as it was, up to the last.
    pub(super) async fn settle_snapshots(&mut self) -> Result<(), Error> {
        if self.snapshots.is_weak() {
            self.settle_older().await?;
            self.snapshots.seen.clear();
            self.snapshots.commits = true;
        }
        Ok(())
    }

    /// Settles older snapshots while there are many: as often as what is kept of them has doubled.
    pub(super) async fn settle_if_many(&mut self) -> Result<(), Error> {
        let mut counts = self.snapshots.older.iter().map(|(_, reads)| reads.len());
        let first = counts.next().unwrap_or(0);
        if counts.sum::<usize>() > first.max(OLDER_SPANS) { self.settle_older().await } else { Ok(()) }
    }

    async fn settle_older(&mut self) -> Result<(), Error> {
        let older = self.snapshots.older.iter();
        let spans: Vec<Reread> = older.flat_map(|(at, reads)| reads.rereads(*at)).collect();
        if !spans.is_empty() {
            self.refresh_spans(spans, self.read_ts).await?;
        }
        for (_, reads) in std::mem::take(&mut self.snapshots.older) {
            self.reads.add(reads);
        }
        Ok(())
    }
}
