//! A transaction as its coordinator holds it: one snapshot to read, a buffer of writes, the spans it depends on.
//!
//! Reads go to the ranges at `read_ts`; writes stay in the buffer and are read back from there. A locking read takes
//! its lock where the key lives. Commit is one command when everything is in one range and a parallel commit
//! otherwise; see [`commit`]. When something forces the transaction to a later timestamp, what it read is *refreshed*:
//! if nothing in its read spans was written in between, the reads hold at the later timestamp as well.
//!
//! **Invariants**
//! - *reads-tracked*: every span read from a range that the transaction depends on ([`Keep`]), and not hidden by the
//!   buffer, is in `reads`, so that a refresh judges all of them: as *present* a row that was there and of which nothing
//!   but that was used, as *whole* everything else. A refresh of what is whole fails of any version written since, one
//!   of what is present of a deletion alone: while there is none, the row is there at every time up to the later one,
//!   whoever changes it. Private spans need not be tracked: see [`load`].
//! - *one-snapshot*: `read_ts` moves only together with a refresh of everything in `reads`, or when nothing was read.
//!   Below serializable see [`snapshots`].
//! - *locks-known*: every key the transaction locked anywhere is in `locks`, so that its end releases all of them.

mod ahead;
mod buffer;
mod commit;
mod group;
mod heartbeat;
mod load;
mod notify;
mod given;
mod parallel;
mod prepare;
mod read;
mod read_many;
mod snapshots;
mod spans;

use std::{
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, LockStrength, NodeId, RangeId, Span, TxnId, TxnMeta};
use planted::Bug;
use replica::api::{BatchResponse, Header, KvError, Request, Response, RetryReason, TxnHeader, WaitPolicy};
use smallvec::SmallVec;

pub(crate) use self::heartbeat::{Heartbeats, start_heartbeats};
pub use self::{
    ahead::ReadAhead,
    read::{Locked, ScanPage},
    snapshots::{Isolation, StatementStart},
};
use self::{
    buffer::WriteBuffer,
    heartbeat::HeartbeatHandle,
    load::Loads,
    notify::Notifications,
    read::HeldRows,
    snapshots::Snapshots,
    spans::{ReadSet, Reread, SpanSet},
};
use crate::{
    db::{Db, SendError},
    error::{Error, Restart},
    range_cache::CachedRange,
};

#[derive(Clone, Debug, Default)]
pub struct TxnOptions {
    /// Larger wins a deadlock; 0 draws one.
    pub priority: u32,
    /// Read at this time in the past; such a transaction may not write.
    pub as_of: Option<Timestamp>,
}

/// Which of the transaction's own writes a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum See {
    /// Those of earlier statements: an UPDATE does not meet the rows it has just written (the Halloween problem).
    #[default]
    StatementStart,
    /// All of them: for uniqueness checks.
    Now,
}

/// What of a read the transaction depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Keep {
    /// All of it, from now on.
    #[default]
    Now,
    /// Of a row that is there only that it is, from now on: others may change what is in it. Of one that is missing, all.
    Presence,
    /// What [`Txn::keep_read`] is told of, as long as [`Txn::read_ts`] is still what it was.
    Later,
    /// Nothing, ever: it shows what is committed, to be locked and read again. No lock is taken; what others hold against
    /// the lock that is named is left out.
    Never,
}

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Read {
    pub lock: Option<LockStrength>,
    /// Locks where there is no row, too: before one is inserted.
    pub lock_absent: bool,
    pub wait: WaitPolicy,
    pub see: See,
    pub keep: Keep,
    /// It must hold when the transaction commits, whatever its isolation level: a constraint rests on it.
    pub binds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScanOptions {
    pub read: Read,
    /// Stop after about this many rows; 0 for no bound. A page may hold fewer and still have a `resume`.
    pub max_rows: u64,
    pub max_bytes: u64,
    pub reverse: bool,
}

/// What a statement sees of its own transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementMark(u32);

/// A point to roll back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint {
    seq: u32,
    flushed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
}

/// How far a staging record or an explicit one may have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CommitSent {
    No,
    /// One is there, and cannot make the transaction committed: some write it lists is not there at or below its
    /// timestamp and never will be.
    Refuted,
    /// One is there or may come, and the transaction may be committed.
    Sent,
}

/// A value that the transaction depends on.
#[derive(Clone, Debug)]
struct Check {
    key: Key,
    expected: Option<Bytes>,
    state: CheckState,
    /// The snapshot that it was made in.
    at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckState {
    Pending,
    /// It was as expected. Others may change it since: what it implies is among the reads, see [`Txn::depend_on`].
    Made,
    /// The key is locked as well.
    Held,
}

/// A transaction. Dropping one that has not ended rolls it back in the background.
pub struct Txn {
    db: Db,
    meta: TxnMeta,
    /// Whether the anchor has been chosen: the first key locked or written.
    anchored: bool,
    read_ts: Timestamp,
    uncertainty_limit: Timestamp,
    /// Clock readings of nodes, each taken after the transaction began.
    observed: SmallVec<[(NodeId, Timestamp); 2]>,
    buffer: WriteBuffer,
    /// Grows with every write of an epoch, over flushes too: it tells the writes of a key apart.
    seq: u32,
    /// Writes up to here are those of earlier statements.
    statement_seq: u32,
    reads: ReadSet,
    snapshots: Snapshots,
    locks: SpanSet,
    held: HeldRows,
    /// Keys with intents in some range.
    intents: SpanSet,
    /// Where writes that are in the buffer may have been written as intents already.
    landed: Vec<Span>,
    /// There are few that have private spans.
    loads: Option<Box<Loads>>,
    /// To be written when it commits.
    notifications: Option<Box<Notifications>>,
    /// How often the buffer has been written out; a savepoint from before cannot be rolled back to by cutting it.
    flushes: u64,
    open_savepoints: u32,
    check: Option<Check>,
    /// Keys whose values the check implies. Once it is made they are among the reads.
    dependencies: SmallVec<[Key; 2]>,
    lock_timeout: Option<Duration>,
    heartbeat: Option<HeartbeatHandle>,
    read_only: bool,
    /// Its snapshot is others' too, or must be no other: it is not moved.
    is_fixed: bool,
    /// It was aborted, or chosen to break a circle: under this id nothing can commit any more.
    is_doomed: bool,
    /// An attempt to commit has been sent whose record may be there now, or later.
    commit_sent: CommitSent,
    state: State,
}

impl Txn {
    pub(crate) fn new(db: Db, options: TxnOptions) -> Self {
        let now = db.clock().now();
        let read_ts = options.as_of.unwrap_or(now);
        let uncertainty_limit = match options.as_of {
            Some(past) => past,
            None => now.add_ns(db.clock().max_offset_ns()),
        };
        let priority = if options.priority == 0 { db.random_u32() | 1 } else { options.priority };
        let meta = TxnMeta {
            id: db.random_txn_id(),
            anchor: Key::MIN,
            epoch: 0,
            write_ts: read_ts,
            min_ts: now,
            priority,
        };
        let observed = SmallVec::from_iter([(db.node_id(), now)]);
        Self {
            db,
            meta,
            anchored: false,
            read_ts,
            uncertainty_limit,
            observed,
            buffer: WriteBuffer::default(),
            seq: 0,
            statement_seq: 0,
            reads: ReadSet::default(),
            snapshots: Snapshots::default(),
            locks: SpanSet::default(),
            held: HeldRows::default(),
            intents: SpanSet::default(),
            landed: Vec::new(),
            loads: None,
            notifications: None,
            flushes: 0,
            open_savepoints: 0,
            check: None,
            dependencies: SmallVec::new(),
            lock_timeout: None,
            heartbeat: None,
            read_only: options.as_of.is_some(),
            is_fixed: options.as_of.is_some(),
            is_doomed: false,
            commit_sent: CommitSent::No,
            state: State::Open,
        }
    }

    #[must_use]
    pub fn id(&self) -> TxnId {
        self.meta.id
    }

    /// The snapshot it reads.
    #[must_use]
    pub fn read_ts(&self) -> Timestamp {
        self.read_ts
    }

    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// It has written or locked something.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        !self.buffer.is_empty() || !self.intents.is_empty() || !self.locks.is_empty()
    }

    /// Rises with each write.
    #[must_use]
    pub fn writes(&self) -> u32 {
        self.seq
    }

    /// What [`Txn::writes`] was when the running statement began.
    #[must_use]
    pub fn writes_before_statement(&self) -> u32 {
        self.statement_seq
    }

    #[must_use]
    pub fn has_writes(&self) -> bool {
        !self.buffer.is_empty() || !self.intents.is_empty()
    }

    /// About what its writes hold in memory that were not sent yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.bytes()
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    #[must_use]
    pub fn lock_timeout(&self) -> Option<Duration> {
        self.lock_timeout
    }

    pub fn set_lock_timeout(&mut self, timeout: Option<Duration>) {
        self.lock_timeout = timeout;
    }

    /// Makes the transaction depend on `key` having the value `expected` in its snapshot: looked at together with its
    /// next request. Others may write it afterwards, as long as they do not write what it implies: [`Txn::depend_on`].
    pub fn check_value(&mut self, key: Key, expected: Option<Bytes>) {
        self.check = Some(Check { key, expected, state: CheckState::Pending, at: Timestamp::MIN });
    }

    /// Makes the transaction depend on keys whose values are known from the value that is checked: nobody else may write
    /// them before it commits. No message is sent for them: the check's read keeps later writes of the checked key, and of
    /// what is written together with it, above the snapshot.
    ///
    /// # Errors
    /// `Retry` when one was written since the check was made.
    pub async fn depend_on(&mut self, mut new: SmallVec<[Key; 2]>) -> Result<(), Error> {
        self.settle_if_many().await?;
        new.retain(|key| !self.dependencies.contains(key));
        if new.is_empty() {
            return Ok(());
        }
        let made = self.check.as_ref().filter(|check| check.state != CheckState::Pending).map(|check| check.at);
        if let Some(at) = made {
            if at < self.read_ts {
                let reread = |key: &Key| Reread { span: Span::point(key.clone()), deletions_only: false, from: at };
                let spans = new.iter().map(reread).collect();
                self.refresh_spans(spans, self.read_ts).await.map_err(|error| match error {
                    Error::Retry { at_least, .. } => Error::Retry { reason: Restart::CheckedValueChanged, at_least },
                    other => other,
                })?;
            }
            new.iter().for_each(|key| self.reads.whole.add_point(key.clone()));
        }
        // Not before: a statement that is given up while it waits has made it depend on nothing.
        self.dependencies.extend(new);
        Ok(())
    }

    /// Moves the snapshot up to now, if all that was read still holds there.
    ///
    /// # Errors
    /// `Retry` when it does not.
    pub async fn refresh_to_now(&mut self) -> Result<(), Error> {
        self.ensure_open()?;
        let now = self.db.clock().now().max(self.meta.write_ts);
        if self.is_fixed || now <= self.read_ts {
            return Ok(());
        }
        self.refresh(now).await
    }

    /// Moves the snapshot to now. A transaction that has read, locked or written anything keeps the one it has.
    pub fn renew_snapshot(&mut self) {
        if self.is_fixed || self.has_effects() || self.has_read() || self.loads.is_some() {
            return;
        }
        // *one-snapshot*: nothing was read.
        self.move_to_now();
    }

    /// Takes a snapshot of now, never below where it has read or written before: its own reads hide those of others.
    fn move_to_now(&mut self) {
        let now = self.db.clock().now();
        self.read_ts = now.max(self.read_ts).max(self.meta.write_ts);
        self.meta.write_ts = self.read_ts;
        self.uncertainty_limit = self.read_ts.add_ns(self.db.clock().max_offset_ns());
        self.observed.clear();
        self.observed.push((self.db.node_id(), now));
    }

    /// From here on [`See::StatementStart`] includes what has been written so far.
    pub fn begin_statement(&mut self) {
        self.statement_seq = self.seq;
    }

    /// Where the running statement began, for [`Txn::resume_statement`].
    #[must_use]
    pub fn statement(&self) -> StatementMark {
        StatementMark(self.statement_seq)
    }

    /// [`See::StatementStart`] is again what it was for a statement that others have interrupted: a cursor.
    pub fn resume_statement(&mut self, mark: StatementMark) {
        self.statement_seq = mark.0;
    }

    /// Buffers a write.
    pub fn put(&mut self, key: Key, value: Bytes) {
        self.write(key, Some(value));
    }

    /// Buffers a deletion.
    pub fn delete(&mut self, key: Key) {
        self.write(key, None);
    }

    fn write(&mut self, key: Key, value: Option<Bytes>) {
        debug_assert!(!self.read_only, "a transaction in the past does not write");
        debug_assert!(self.state == State::Open, "a transaction that has ended does not write");
        self.seq += 1;
        self.buffer.write(key, self.seq, value);
    }

    /// As [`Txn::put`], of a value that is encoded where it stays.
    pub fn put_with(&mut self, key: Key, encode: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(!self.read_only && self.state == State::Open, "it may write");
        self.seq += 1;
        self.buffer.write_with(key, self.seq, encode);
    }

    /// Opens a savepoint.
    pub fn savepoint(&mut self) -> Savepoint {
        self.open_savepoints += 1;
        Savepoint { seq: self.seq, flushed: self.flushes }
    }

    /// Forgets a savepoint, keeps what was written since.
    pub fn release(&mut self, _savepoint: &Savepoint) {
        self.open_savepoints = self.open_savepoints.saturating_sub(1);
    }

    /// Forgets what was written since the savepoint. Locks stay, reads stay: both only make it more careful.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        debug_assert!(savepoint.flushed == self.flushes, "the buffer is not written out under a savepoint");
        self.buffer.truncate(savepoint.seq);
        self.statement_seq = self.seq;
    }

    /// Starts over after an error, no earlier than the error says; see [`Txn::start_over`].
    pub fn restart(&mut self, error: &Error) {
        match error {
            Error::Retry { at_least, .. } => self.meta.write_ts = self.meta.write_ts.max(*at_least),
            Error::Deadlock { .. } => self.is_doomed = true,
            _ => {}
        }
        self.start_over();
    }

    /// Starts over at a later timestamp. While it can, under the same id: its locks are kept then, so that the next
    /// attempt finds the keys it fought for still held. Its priority stays in any case.
    pub fn start_over(&mut self) {
        let keeps_id = self.state == State::Open
            && !self.is_doomed
            // What was staged may be committed: it must not be taken for the commit of what the next attempt writes.
            && self.commit_sent != CommitSent::Sent
            // One in the past stays there.
            && !self.read_only
            // Laid notifications are in the way of whoever listens, of its own session first.
            && !(self.notifications.is_some() && !self.intents.is_empty())
            && !self.heartbeat.as_ref().is_some_and(HeartbeatHandle::is_aborted);
        // An aborted id is used up, and its locks may have been taken away; the victim of a deadlock lets go of what
        // the others wait for.
        if !keeps_id {
            return self.start_anew();
        }
        self.meta.epoch += 1;
        self.is_fixed = false;
        self.move_to_now();
        self.buffer.clear();
        self.landed.clear();
        self.forget_loads();
        self.notifications = None;
        self.seq = 0;
        self.statement_seq = 0;
        self.reads.clear();
        self.snapshots.start_over();
        self.held.clear();
        self.open_savepoints = 0;
        self.check = None;
        self.dependencies.clear();
    }

    /// Starts over under a new id: whatever earlier attempts have locked or written is let go of, in the background.
    pub fn start_anew(&mut self) {
        self.rollback_now();
        let as_of = self.read_only.then_some(self.read_ts);
        let fresh = Self::new(self.db.clone(), TxnOptions { priority: self.meta.priority, as_of });
        let (lock_timeout, isolation) = (self.lock_timeout, self.isolation());
        *self = fresh;
        self.lock_timeout = lock_timeout;
        self.set_isolation(isolation);
    }

    fn anchor_at(&mut self, key: &Key) {
        if !self.anchored {
            self.anchored = true;
            self.meta.anchor = key.clone();
            // However long it has read before: there was no record of it until now.
            self.meta.min_ts = self.db.clock().now();
            self.heartbeat = Some(self.db.0.heartbeats.register(self.meta.id, key.clone(), self.meta.min_ts));
        }
    }

    /// How locking reads are sent.
    fn reading(&self, range: &CachedRange, read: &Read) -> Header {
        Header { lock_absent: read.lock_absent, ..self.header(range, read.wait) }
    }

    fn header(&self, range: &CachedRange, wait: WaitPolicy) -> Header {
        let node = range.leaseholder().map_or(self.db.node_id(), |replica| replica.node_id);
        let observed = self.observed.iter().find(|(of, _)| *of == node).copied();
        Header {
            txn: Some(TxnHeader {
                meta: self.meta.clone(),
                read_ts: self.read_ts,
                uncertainty_limit: self.uncertainty_limit,
                observed,
            }),
            wait,
            lock_timeout: self.lock_timeout,
            can_forward: self.may_leave_snapshot() && !self.is_fixed,
            ..Header::default()
        }
    }

    fn ensure_open(&self) -> Result<(), Error> {
        if self.state == State::Ended {
            return Err(Error::Ended);
        }
        match &self.heartbeat {
            Some(handle) if handle.is_aborted() => Err(Error::Retry {
                reason: Restart::Aborted(replica::api::AbortReason::HeartbeatMissing),
                at_least: Timestamp::MIN,
            }),
            _ => Ok(()),
        }
    }

    /// Sends requests to one range, moving the transaction up and refreshing as often as it takes.
    async fn send(
        &mut self,
        range: &Arc<CachedRange>,
        read: &Read,
        max_keys: u64,
        max_bytes: u64,
        requests: Vec<Request>,
    ) -> Result<BatchResponse, SendError> {
        loop {
            let mut header = self.reading(range, read);
            header.max_keys = max_keys;
            header.max_bytes = max_bytes;
            match self.db.send_to(range, header, requests.clone()).await {
                Ok(response) => {
                    self.note(&response);
                    return Ok(response);
                }
                Err(SendError::Kv(KvError::Retry { reason, to })) if !self.is_fixed => {
                    self.move_to(reason, to).await?;
                }
                Err(SendError::Kv(KvError::SnapshotTooOld { threshold })) if !self.is_fixed => {
                    self.move_to(RetryReason::ReadChanged, threshold.next()).await?;
                }
                Err(error) => return Err(self.doom(error)),
            }
        }
    }

    /// Notes an error that ends this id.
    fn doom(&mut self, error: SendError) -> SendError {
        self.is_doomed |= matches!(error, SendError::Kv(KvError::Aborted { .. } | KvError::Deadlock { .. }));
        error
    }

    fn note(&mut self, response: &BatchResponse) {
        if let Some(meta) = &response.txn {
            self.meta.write_ts = self.meta.write_ts.max(meta.write_ts);
        }
        if response.read_ts > self.read_ts {
            debug_assert!(self.may_leave_snapshot(), "one-snapshot");
            self.leave_snapshot();
            self.read_ts = response.read_ts;
            self.meta.write_ts = self.meta.write_ts.max(self.read_ts);
        }
        if !self.observed.iter().any(|(node, _)| *node == response.node) {
            self.observed.push((response.node, response.now));
        }
    }

    /// Moves `read_ts` up to `to` if what was read still holds there.
    async fn move_to(&mut self, reason: RetryReason, to: Timestamp) -> Result<(), SendError> {
        let to = to.max(self.meta.write_ts);
        if to <= self.read_ts {
            self.meta.write_ts = self.meta.write_ts.max(to);
            return Ok(());
        }
        match self.refresh(to).await {
            Ok(()) => Ok(()),
            Err(Error::Retry { .. }) => Err(SendError::Kv(KvError::Retry { reason, to })),
            Err(Error::Ambiguous { reason }) => Err(SendError::Kv(KvError::Ambiguous { reason })),
            // The reason says which range it was.
            Err(Error::Unavailable { reason }) => {
                Err(SendError::Kv(KvError::Unavailable { range_id: RangeId::new(1), reason }))
            }
            Err(Error::SnapshotTooOld { threshold }) => Err(SendError::Kv(KvError::SnapshotTooOld { threshold })),
            Err(other) => Err(SendError::Kv(KvError::Internal { reason: other.to_string() })),
        }
    }

    /// Checks that nothing in the read spans was written after `read_ts` and up to `to`, and moves there.
    async fn refresh(&mut self, to: Timestamp) -> Result<(), Error> {
        let from = self.read_ts;
        let spans: Vec<Reread> = self.of_snapshot().rereads(from).collect();
        // Whatever comes of it: some of the spans may count as read by us at `to`, which hides earlier reads of others
        // there. What this transaction still writes goes above.
        self.meta.write_ts = self.meta.write_ts.max(to);
        if !spans.is_empty() && !planted::is_on(Bug::RefreshSkipped) {
            self.db.0.metrics.refreshes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let Err(error) = self.refresh_spans(spans, to).await {
                self.db.0.metrics.refresh_failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tracing::debug!(txn = %self.meta.id, %from, %to, %error, "refresh failed");
                return Err(error);
            }
        }
        // Not before: the statement that waits here may be given up, and the transaction go on. *one-snapshot*
        self.leave_snapshot();
        self.read_ts = to;
        Ok(())
    }

    /// Looks whether what was read holds at `to` as well.
    async fn refresh_spans(&self, spans: Vec<Reread>, to: Timestamp) -> Result<(), Error> {
        let mut todo = spans;
        while !todo.is_empty() {
            let groups = self.group_spans(std::mem::take(&mut todo)).await?;
            let sends = groups.into_iter().map(|(range, spans)| async move {
                let request = |it: &Reread| Request::Refresh {
                    span: it.span.clone(),
                    from: it.from,
                    deletions_only: it.deletions_only,
                };
                let requests = spans.iter().map(request).collect::<Vec<_>>();
                let mut header = self.header(&range, WaitPolicy::Block);
                header.can_forward = false;
                if let Some(txn) = &mut header.txn {
                    txn.read_ts = to;
                }
                (self.db.send_to(&range, header, requests).await, spans)
            });
            for (outcome, spans) in futures::future::join_all(sends).await {
                match outcome {
                    Ok(_) => {}
                    Err(SendError::Reroute) => todo.extend(spans),
                    Err(SendError::Kv(error)) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Cuts spans at range bounds; each range once, with its pieces.
    async fn group_spans(&self, spans: Vec<Reread>) -> Result<Vec<(Arc<CachedRange>, Vec<Reread>)>, Error> {
        let mut groups: Vec<(Arc<CachedRange>, Vec<Reread>)> = Vec::with_capacity(1);
        for Reread { span, deletions_only, from } in spans {
            let mut start = span.start;
            while start < span.end {
                let range = match groups.iter().find(|(range, _)| range.descriptor.contains_key(start.as_bytes())) {
                    Some((range, _)) => range.clone(),
                    None => self.db.locate(start.as_bytes()).await?,
                };
                let end = span.end.clone().min(range.descriptor.end.clone());
                let piece = Reread { span: Span::new(start, end.clone()), deletions_only, from };
                match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &range)) {
                    Some((_, list)) => list.push(piece),
                    None => groups.push((range, vec![piece])),
                }
                start = end;
            }
        }
        Ok(groups)
    }

    /// Puts the pending check in front of the first request that goes to its range; sends it alone to another.
    async fn with_check(
        &mut self,
        range: &Arc<CachedRange>,
        requests: &mut Vec<Request>,
    ) -> Result<Option<Option<Bytes>>, Error> {
        let Some(Check { key, expected, state: CheckState::Pending, .. }) = &self.check else { return Ok(None) };
        if range.descriptor.contains_key(key.as_bytes()) {
            requests.insert(0, Request::Get { key: key.clone(), lock: None });
            return Ok(Some(expected.clone()));
        }
        self.resolve_check().await?;
        Ok(None)
    }

    /// Takes the check's answer off the front of a response.
    fn take_check(&mut self, response: &mut BatchResponse, expected: Option<Bytes>) -> Result<(), Error> {
        let answer = response.responses.remove(0);
        let Response::Get { value } = answer else {
            return Err(crate::db::unexpected("Get", Some(&answer)));
        };
        if value != expected {
            return Err(Error::Retry { reason: Restart::CheckedValueChanged, at_least: Timestamp::MIN });
        }
        self.note_check(CheckState::Made);
        Ok(())
    }

    /// The check was made in the snapshot as it is: what it implies counts as read there.
    fn note_check(&mut self, state: CheckState) {
        if let Some(check) = &mut self.check {
            check.state = state;
            check.at = self.read_ts;
            for key in &self.dependencies {
                self.reads.whole.add_point(key.clone());
            }
        }
    }
}

impl Drop for Txn {
    fn drop(&mut self) {
        self.rollback_now();
    }
}
