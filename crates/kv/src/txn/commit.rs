//! How a transaction ends.
//!
//! ```text
//! writes in one range              writes in several ranges: parallel commit
//! --------------------             -----------------------------------------------------------------
//! puts + EndTxn(one_phase)         anchor range:  its intents + EndTxn(in_flight = all other writes)
//!   one command in the log         other ranges:  their intents            all sent at once
//!   versions, no intents           all there at or below the staged timestamp  =>  committed, answer the client
//!                                  then, behind the client's back: record made explicit, intents resolved, record
//!                                  removed
//! ```
//!
//! A failure after a staging record may be out leaves the outcome to whoever looks next: the coordinator says
//! *ambiguous* and touches nothing more, and recovery (by a pusher) asks every write whether it is there. [`parallel`]
//! says what each failure means.
//!
//! [`parallel`]: super::parallel
//!
//! **Invariant (no-dirty-ack):** `commit` answers `Ok` only when the log holds everything the transaction wrote; it
//! answers an error other than `Ambiguous` only when the transaction can never commit.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use hlc::Timestamp;
use keys::{Key, LockStrength, Span, TxnMeta, TxnStatus};
use replica::api::{AbortReason, BatchResponse, Header, KvError, Request, Response, RetryReason, WaitPolicy};

use super::{Check, CheckState, CommitSent, State, Txn, group::Group};
use crate::{
    db::{Db, SendError, unexpected},
    error::{Error, Restart},
    range_cache::CachedRange,
};

/// How long the end of a transaction that wrote nothing waits for its locks to be gone.
const RELEASE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// How long the next leaseholder is asked for the outcome of a commit.
const SETTLE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Spans resolved by one batch.
const RESOLVE_AT_ONCE: usize = 64;

fn changed() -> Error {
    Error::Retry { reason: crate::error::Restart::CheckedValueChanged, at_least: Timestamp::MIN }
}

/// Commands with intents under way at a time.
const PIECES_IN_FLIGHT: usize = 4;
/// A transaction that has written more than this writes it out before it commits: one command would hold up what comes
/// behind it, and above a bound is refused.
pub(super) const MAX_AT_COMMIT_BYTES: usize = 32 << 20;
/// With so much in the buffer what is private goes to its ranges: while they take it, more rows are made.
const LOAD_BYTES: usize = 4 << 20;
/// A piece whose answer is lost is sent again so often: the same write again changes nothing.
const MAX_AMBIGUOUS: usize = 5;

impl Txn {
    /// Commits; answers the commit timestamp.
    ///
    /// # Errors
    /// `Retry` when what was read does not hold at the commit timestamp (nothing is committed, the transaction can
    /// be restarted); `Ambiguous` when the outcome cannot be known.
    pub async fn commit(&mut self) -> Result<Timestamp, Error> {
        if self.state == State::Open && self.commit_sent == CommitSent::Sent {
            // An earlier call was cancelled before its answer came; it may have committed, whatever was heard since.
            return self.abort_staged(Err(restart(Timestamp::MIN))).await;
        }
        self.ensure_open()?;
        self.load_rest().await?;
        if !self.has_writes() && self.notifications.is_none() {
            self.release_and_finish().await;
            return Ok(self.read_ts);
        }
        self.resolve_check().await?;
        // From here on it may be committed, also when nobody waits for the answer: who drops this clears nothing.
        let loads = std::mem::take(&mut self.loads);
        let mut outcome = self.commit_writes().await;
        if let Err(error) = &outcome
            && self.commit_sent == CommitSent::Sent
            && !matches!(error, Error::Ambiguous { .. })
        {
            outcome = self.abort_staged(outcome).await;
        }
        match &outcome {
            // After an ambiguous failure its intents may be committed: only what certainly was not is cleaned up, and
            // that by pushers.
            Ok(_) | Err(Error::Ambiguous { .. }) => self.close(),
            Err(_) => {
                self.loads = loads;
                if self.state == State::Ended {
                    self.forget_loads();
                }
            }
        }
        outcome
    }

    /// Looks at the value the transaction depends on, if no read has done so yet: before anything of its own is written
    /// over it, and where it is about to answer what was kept in memory under that value.
    ///
    /// # Errors
    /// As a read; `Retry` when it is another.
    pub async fn resolve_check(&mut self) -> Result<(), Error> {
        match &self.check {
            Some(check) if check.state == CheckState::Pending => self.look_at_check(None, CheckState::Made).await,
            _ => Ok(()),
        }
    }

    /// Locks the key that the transaction depends on against others who would change it.
    pub(super) async fn hold_check(&mut self) -> Result<(), Error> {
        match &self.check {
            Some(check) if check.state != CheckState::Held => {
                self.look_at_check(Some(LockStrength::Update), CheckState::Held).await
            }
            _ => Ok(()),
        }
    }

    async fn look_at_check(&mut self, lock: Option<LockStrength>, then: CheckState) -> Result<(), Error> {
        let Some(Check { key, expected, .. }) = self.check.clone() else { return Ok(()) };
        let found = match lock {
            None => self.get_untracked(&key).await?,
            lock => self.get_stored(&key, lock).await?,
        };
        if found != expected {
            return Err(changed());
        }
        // Not before: a statement that is given up while it waits leaves the check to the next.
        self.note_check(then);
        Ok(())
    }

    /// Looks whether a key has a value in the snapshot, and does not depend on it any further.
    ///
    /// # Errors
    /// `Retry` when it is another.
    pub async fn look_at(&mut self, key: &Key, expected: Option<&Bytes>) -> Result<(), Error> {
        self.ensure_open()?;
        if self.get_untracked(key).await?.as_ref() == expected { Ok(()) } else { Err(changed()) }
    }

    /// Locks a key against others who would change it until the transaction ends. It must have this value.
    ///
    /// # Errors
    /// As a locking read; `Retry` when it has another: the lock is kept.
    pub async fn hold_value(&mut self, key: &Key, expected: Option<&Bytes>) -> Result<(), Error> {
        self.ensure_open()?;
        if self.get_stored(key, Some(LockStrength::Update)).await?.as_ref() != expected {
            return Err(changed());
        }
        if self.check.as_ref().is_some_and(|check| check.key == *key) {
            self.note_check(CheckState::Held);
        }
        Ok(())
    }

    async fn commit_writes(&mut self) -> Result<Timestamp, Error> {
        self.settle_snapshots().await?;
        if self.buffer.command_bytes() > MAX_AT_COMMIT_BYTES {
            self.spill().await?;
        }
        self.place_notifications();
        loop {
            self.buffer.seal_all();
            let mut groups = self.group_writes().await?;
            if let Some(hull) = groups.first().and_then(Group::span) {
                self.anchor_at(&hull.start);
            }
            if self.must_lay_notifications(&groups) {
                self.lay_notifications().await?;
                groups = self.group_writes().await?;
            }
            let attempt = match <[Group; 1]>::try_from(groups) {
                Ok([group]) if self.intents.is_empty() => self.commit_one_phase(group).await,
                Ok([group]) => self.commit_parallel(vec![group]).await,
                Err(groups) => self.commit_parallel(groups).await,
            };
            match attempt.map_err(|error| self.doom(error)) {
                Ok(commit_ts) => return Ok(commit_ts),
                // It may be committed as it is: there is no next attempt before that is known.
                Err(SendError::Reroute) if self.commit_sent == CommitSent::Sent => return Err(restart(Timestamp::MIN)),
                Err(SendError::Kv(error)) if self.commit_sent == CommitSent::Sent => return Err(error.into()),
                // What was staged lies below the next attempt.
                Err(SendError::Reroute) if self.meta.write_ts > self.read_ts => {
                    self.move_up(RetryReason::WritePushed, self.meta.write_ts).await?;
                }
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(error)) if self.place_notifications_again(&error) => {}
                Err(SendError::Kv(KvError::Retry { reason, to })) => self.move_up(reason, to).await?,
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
    }

    pub(super) async fn move_up(&mut self, reason: RetryReason, to: Timestamp) -> Result<(), Error> {
        match self.move_to(reason, to).await {
            Ok(()) | Err(SendError::Reroute) => Ok(()),
            Err(SendError::Kv(error)) => Err(error.into()),
        }
    }

    async fn commit_one_phase(&mut self, group: Group) -> Result<Timestamp, SendError> {
        let span = group.range.descriptor.span();
        let reads_here = self.reads.lie_in(&span);
        let range = group.range.clone();
        let mut requests = group.into_requests();
        requests.push(Request::EndTxn {
            commit: true,
            locks: self.locks.iter().filter(|lock| span.overlaps(lock)).cloned().collect(),
            in_flight: Vec::new(),
            one_phase: true,
            reads: if reads_here { self.reads.whole.iter().cloned().collect() } else { Vec::new() },
            present: if reads_here { self.reads.present.iter().cloned().collect() } else { Vec::new() },
        });
        // Here it says that the reads given are all there are, so that the replica may refresh and go on.
        let header = Header { can_forward: reads_here, ..self.header(&range, WaitPolicy::Block) };
        let sent_at = self.db.0.clock.now();
        // While the answer is awaited; who gives that up and asks again must not commit twice.
        let earlier = std::mem::replace(&mut self.commit_sent, CommitSent::Sent);
        let outcome = match self.db.send_to(&range, header, requests).await {
            Ok(response) => end_txn_answer(&response).map(|(_, commit_ts)| commit_ts).map_err(SendError::from),
            Err(SendError::Kv(KvError::Ambiguous { reason })) => self.settle_commit(&range, sent_at, reason).await,
            Err(error) => Err(error),
        };
        self.commit_sent = earlier;
        let commit_ts = outcome?;
        self.db.0.metrics.commits_one_phase.fetch_add(1, Ordering::Relaxed);
        let elsewhere: Vec<Span> = self.locks.iter().filter(|lock| !span.contains_span(lock)).cloned().collect();
        if !elsewhere.is_empty() {
            let (db, meta) = (self.db.clone(), self.meta.clone());
            tokio::spawn(async move { db.resolve_spans(elsewhere, meta, TxnStatus::Committed, commit_ts).await });
        }
        Ok(commit_ts)
    }

    /// The answer to a one-phase commit was lost: asks the current leaseholder whether it took effect.
    async fn settle_commit(
        &self,
        range: &CachedRange,
        sent_at: Timestamp,
        lost: String,
    ) -> Result<Timestamp, SendError> {
        let anchor = &self.meta.anchor;
        // Elsewhere nothing would keep it from taking effect later.
        if range.descriptor.contains_key(anchor.as_bytes()) {
            let (txn, range_id) = (self.meta.clone(), range.descriptor.range_id);
            let question = vec![Request::SettleCommit { txn: Box::new(txn), range_id, sent: sent_at }];
            let asked = self.db.send_keyed(anchor, Header::default(), question);
            if let Ok(Ok(response)) = tokio::time::timeout(SETTLE_PATIENCE, asked).await
                && let Some(Response::SettleCommit { status, commit_ts }) = response.responses.first()
            {
                match status {
                    TxnStatus::Committed => return Ok(*commit_ts),
                    TxnStatus::Aborted => {
                        let error = KvError::Aborted { txn_id: self.meta.id, reason: AbortReason::RecordGone };
                        return Err(SendError::Kv(error));
                    }
                    TxnStatus::Pending | TxnStatus::Staging | TxnStatus::Prepared => {}
                }
            }
        }
        Err(SendError::Kv(KvError::Ambiguous { reason: lost }))
    }

    /// Writes the buffer out when it has grown past its budget: what is private as it will stay, the rest as intents if
    /// it is too large still. Not under a savepoint, and not while a statement reads what it writes: call it between
    /// statements or from one that only appends.
    ///
    /// # Errors
    /// As for a read; `TooLarge` when it may not be written out and is past the hard bound.
    pub async fn flush_if_large(&mut self) -> Result<(), Error> {
        let max = self.db.0.config.spill_bytes;
        let enough = self.enough_to_load(LOAD_BYTES).map_or(max, |enough| max.min(enough));
        if self.buffer.bytes() <= enough {
            return Ok(());
        }
        if self.open_savepoints > 0 {
            return self.check_size();
        }
        self.ensure_open()?;
        self.flushes += 1;
        self.load(None).await?;
        if self.buffer.bytes() <= max {
            return Ok(());
        }
        self.spill().await
    }

    /// Begins to load what the buffer has of these spans, where they are private, when it is much: from a statement that only
    /// appends there, and whatever it reads lies elsewhere. What else the transaction has written stays in the buffer, private
    /// or not: cursors and statements that stand read it as it was when they began.
    ///
    /// # Errors
    /// As for a read; `TooLarge` when the buffer is past its hard bound all the same.
    pub async fn load_if_large(&mut self, spans: &[Span]) -> Result<(), Error> {
        let (bytes, max) = (self.buffer.bytes(), self.db.0.config.max_buffer_bytes);
        let is_large = self.enough_to_load(LOAD_BYTES).is_some_and(|enough| bytes > enough.min(max));
        if is_large && self.open_savepoints == 0 {
            self.ensure_open()?;
            self.flushes += 1;
            self.load(Some(spans)).await?;
        }
        self.check_size()
    }

    /// Writes the buffer out as intents.
    pub(super) async fn spill(&mut self) -> Result<(), Error> {
        self.resolve_check().await?;
        let mut ambiguous = 0;
        loop {
            self.buffer.seal_all();
            let groups = self.group_writes().await?;
            if let Some(hull) = groups.first().and_then(Group::span) {
                self.anchor_at(&hull.start);
            }
            match self.write_intents(groups).await.map_err(|error| self.doom(error)) {
                Ok(()) => break,
                Err(SendError::Kv(KvError::Ambiguous { reason })) => {
                    ambiguous += 1;
                    if ambiguous > MAX_AMBIGUOUS {
                        // Of these writes that is true, not of the transaction: nothing has asked for its commit.
                        return Err(Error::Unavailable { reason });
                    }
                }
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(KvError::Retry { reason, to })) => self.move_up(reason, to).await?,
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
        self.buffer.clear();
        // *held-as-stored*
        self.held.clear();
        self.landed.clear();
        Ok(())
    }

    /// # Errors
    /// `TooLarge` when the buffer is past its hard bound.
    pub fn check_size(&self) -> Result<(), Error> {
        let (bytes, max) = (self.buffer.bytes(), self.db.0.config.max_buffer_bytes);
        if bytes > max { Err(Error::TooLarge { bytes, max }) } else { Ok(()) }
    }

    pub(super) async fn write_intents(&mut self, groups: Vec<Group>) -> Result<(), SendError> {
        for group in &groups {
            for write in group.iter() {
                self.intents.add_point(write.key.into());
            }
        }
        // What follows is held against it, key by key.
        self.intents.sort();
        // Until the buffer is cleared: some may arrive where the whole fails.
        self.landed.extend(groups.iter().filter_map(Group::span));
        let this = &*self;
        let anchor = &self.meta.anchor;
        let sends = groups.into_iter().flat_map(|group| group.pieces(anchor)).map(|group| async move {
            let header = Header { can_forward: false, ..this.header(&group.range, WaitPolicy::Block) };
            let range = group.range.clone();
            this.db.send_to(&range, header, group.into_requests()).await
        });
        let outcomes: Vec<_> = futures::stream::iter(sends).buffered(PIECES_IN_FLIGHT).collect().await;
        let mut failed = None;
        for outcome in outcomes {
            match outcome {
                // Also where others failed: they are where the next attempt finds them.
                Ok(response) => {
                    let written_at = response.txn.map_or(Timestamp::MIN, |meta| meta.write_ts);
                    self.meta.write_ts = self.meta.write_ts.max(written_at);
                }
                Err(error) => failed = Some(worse(failed, error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Rolls back: nothing it wrote will ever be seen, its locks are freed in the background.
    pub async fn rollback(&mut self) {
        self.rollback_now();
    }

    pub(super) fn rollback_now(&mut self) {
        if self.state == State::Open {
            self.finish();
        }
    }

    /// Ends a transaction that wrote nothing. Its locks are gone before its client hears of it: what comes next may
    /// pass over what is locked, or refuse to wait for it.
    async fn release_and_finish(&mut self) {
        self.state = State::Ended;
        self.heartbeat = None;
        if self.locks.is_empty() {
            return;
        }
        let (db, meta) = (self.db.clone(), self.meta.clone());
        let spans = std::mem::take(&mut self.locks).into_recorded();
        // In a task of its own, which goes on when nobody waits any more: a range that is away keeps no client.
        let released =
            tokio::spawn(async move { db.resolve_spans(spans, meta, TxnStatus::Aborted, Timestamp::MIN).await });
        if tokio::time::timeout(RELEASE_PATIENCE, released).await.is_err() {
            tracing::debug!(txn = %self.meta.id, "locks are freed later");
        }
    }

    /// Ends a transaction that committed nothing.
    pub(super) fn finish(&mut self) {
        self.state = State::Ended;
        self.heartbeat = None;
        self.forget_loads();
        self.release_in_background();
    }

    /// Frees its locks and removes its intents; only for a transaction that cannot have committed.
    fn release_in_background(&mut self) {
        if self.locks.is_empty() && self.intents.is_empty() {
            return;
        }
        let mut spans = std::mem::take(&mut self.locks);
        let intents = std::mem::take(&mut self.intents);
        let had_intents = !intents.is_empty();
        for span in intents.iter() {
            spans.add(span.clone());
        }
        let spans = spans.into_recorded();
        // An attempt to commit may still be under way, waiting for a lock: its record would find no word against it.
        let may_forget = self.commit_sent == CommitSent::No;
        let (db, meta) = (self.db.clone(), self.meta.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if had_intents {
                let end = end_request(false, spans.clone());
                let header = db.header_for(&meta);
                match db.send_keyed(&meta.anchor, header, vec![end]).await {
                    Ok(response) => {
                        // *prepared-stays*: whoever prepared it did not wait for the answer.
                        if end_txn_answer(&response).is_ok_and(|(status, _)| status == TxnStatus::Prepared) {
                            return;
                        }
                        // Its commit was cancelled, and a pusher has recovered it.
                        if let Some(commit_ts) = committed_at(&response) {
                            return finish_commit(db, meta, spans, commit_ts, false).await;
                        }
                    }
                    Err(error) => {
                        // A record that could not be aborted may be staged: leave its intents to recovery.
                        tracing::debug!(txn = %meta.id, %error, "abort");
                        return;
                    }
                }
            }
            let min = Timestamp::MIN;
            db.resolve_spans(spans, meta.clone(), TxnStatus::Aborted, min).await;
            if had_intents && may_forget {
                db.forget_txn(&meta).await;
            }
        });
    }
}

/// Keeps the error that says least of what happened: ambiguity over everything, then what ends the transaction.
pub(super) fn worse(known: Option<SendError>, found: SendError) -> SendError {
    fn rank(error: &SendError) -> u8 {
        match error {
            SendError::Kv(KvError::Ambiguous { .. }) => 3,
            SendError::Kv(KvError::Retry { .. }) => 1,
            SendError::Kv(_) => 2,
            SendError::Reroute => 0,
        }
    }
    match known {
        Some(known) if rank(&known) >= rank(&found) => known,
        _ => found,
    }
}

/// The word alone, for a transaction whose writes are where they are.
pub(super) fn end_request(commit: bool, locks: Vec<Span>) -> Request {
    Request::EndTxn { commit, locks, in_flight: Vec::new(), one_phase: false, reads: Vec::new(), present: Vec::new() }
}

pub(super) fn end_txn_answer(response: &BatchResponse) -> Result<(TxnStatus, Timestamp), KvError> {
    match response.responses.last() {
        Some(Response::EndTxn { status, commit_ts, .. }) => Ok((*status, *commit_ts)),
        // What was done is not known from what was answered.
        other => Err(KvError::Ambiguous { reason: unexpected("EndTxn", other).to_string() }),
    }
}

/// Where the transaction is committed, if an attempt to abort it found that it is.
pub(super) fn committed_at(response: &BatchResponse) -> Option<Timestamp> {
    end_txn_answer(response).ok().and_then(|(status, ts)| (status == TxnStatus::Committed).then_some(ts))
}

/// The transaction starts over under another id.
pub(super) fn restart(at_least: Timestamp) -> Error {
    Error::Retry { reason: Restart::Aborted(replica::api::AbortReason::RecordGone), at_least }
}

/// What follows an acknowledged commit: the record is made explicit, the intents become plain versions, the record
/// goes away. Each step may fail; whoever meets what is left behind does the rest.
pub(super) async fn finish_commit(db: Db, meta: TxnMeta, spans: Vec<Span>, commit_ts: Timestamp, staged: bool) {
    if staged {
        let end = end_request(true, spans.clone());
        let header = db.header_for(&meta);
        if let Err(error) = db.send_keyed(&meta.anchor, header, vec![end]).await {
            tracing::debug!(txn = %meta.id, %error, "commit record");
            return;
        }
    }
    if db.resolve_spans(spans, meta.clone(), TxnStatus::Committed, commit_ts).await {
        db.forget_txn(&meta).await;
    }
}

impl Db {
    pub(crate) fn header_for(&self, meta: &TxnMeta) -> Header {
        Header {
            txn: Some(replica::api::TxnHeader {
                meta: meta.clone(),
                read_ts: meta.write_ts,
                uncertainty_limit: meta.write_ts,
                observed: None,
            }),
            ..Header::default()
        }
    }

    /// Tells every range the fate of a transaction's intents and locks; whether all were told.
    pub(crate) async fn resolve_spans(
        &self,
        spans: Vec<Span>,
        txn: TxnMeta,
        status: TxnStatus,
        commit_ts: Timestamp,
    ) -> bool {
        let mut todo = spans;
        let mut failures = 0;
        while let Some(span) = todo.pop() {
            if span.is_empty() {
                continue;
            }
            let Ok(range) = self.locate(span.start.as_bytes()).await else { return false };
            // What lies in this range goes in few batches, none of which latches so much that others queue up.
            let here = range.descriptor.span();
            let mut pieces = Vec::with_capacity(1);
            let mut rest = Vec::new();
            for span in todo.drain(..).chain([span]) {
                match span.intersect(&here).filter(|_| pieces.len() < RESOLVE_AT_ONCE) {
                    None => rest.push(span),
                    Some(piece) => {
                        if span.start < piece.start {
                            rest.push(Span::new(span.start, piece.start.clone()));
                        }
                        if piece.end < span.end {
                            rest.push(Span::new(piece.end.clone(), span.end));
                        }
                        pieces.push(piece);
                    }
                }
            }
            todo = rest;
            let requests = pieces
                .iter()
                .map(|piece| Request::ResolveSpan { span: piece.clone(), txn: Box::new(txn.clone()), status, commit_ts })
                .collect();
            match self.send_to(&range, Header::default(), requests).await {
                Ok(response) => {
                    for answer in response.responses {
                        if let Response::ResolveSpan { resume: Some(resume) } = answer {
                            todo.push(resume);
                        }
                    }
                }
                Err(SendError::Reroute) => todo.extend(pieces),
                Err(SendError::Kv(KvError::Ambiguous { .. })) if failures < 5 => {
                    failures += 1;
                    todo.extend(pieces);
                }
                Err(SendError::Kv(error)) => {
                    tracing::debug!(txn = %txn.id, %error, "resolve");
                    return false;
                }
            }
        }
        true
    }

    pub(crate) async fn forget_txn(&self, meta: &TxnMeta) {
        let request = Request::ForgetTxn { anchor: meta.anchor.clone(), txn_id: meta.id };
        if let Err(error) = self.send_keyed(&meta.anchor, Header::default(), vec![request]).await {
            tracing::debug!(txn = %meta.id, %error, "forget");
        }
    }
}
