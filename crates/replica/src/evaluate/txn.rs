//! What is decided at a transaction's anchor: its end, what others may do about it, and what is left to say of it.

use hlc::Timestamp;
use keys::{Key, RangeId, SequencedWrite, Span, TxnId, TxnMeta, TxnStatus, keyspace};
use planted::Bug;
use storage::StorageError;

use crate::{
    api::{AbortReason, KvError, PushKind, PushedTxn, Response, RetryReason},
    evaluate::{EvalError, Evaluator, State},
    txn_record::TxnRecord,
};

impl Evaluator<'_> {
    /// A commit above its reads: they must hold up there.
    pub(super) fn refresh_for_commit(
        &self,
        state: &mut State<'_>,
        reads: &[Span],
        present: &[Span],
    ) -> Result<(), EvalError> {
        if state.write_ts <= state.read_ts {
            return Ok(());
        }
        let retry = |reason| KvError::Retry { reason, to: state.write_ts };
        if !state.request.header.can_forward {
            return Err(retry(RetryReason::WritePushed).into());
        }
        if state.read_ts < self.gc_threshold && !(reads.is_empty() && present.is_empty()) {
            return Err(retry(RetryReason::ReadChanged).into());
        }
        let spans = || reads.iter().map(|span| (span, false)).chain(present.iter().map(|span| (span, true)));
        for (span, deletions_only) in spans().filter(|_| !planted::is_on(Bug::CommitRefreshSkipped)) {
            let found = self.written_since(state, span, state.read_ts, state.write_ts, deletions_only)?;
            if let Some(found) = found {
                tracing::trace!(key = %found.key, ts = %found.ts, "refresh at commit failed");
                return Err(retry(RetryReason::ReadChanged).into());
            }
        }
        state.out.reads.extend(spans().map(|(span, _)| (span.clone(), state.write_ts)));
        state.read_ts = state.write_ts;
        Ok(())
    }

    pub(super) fn end_txn(
        &self,
        state: &mut State<'_>,
        commit: bool,
        locks: &[Span],
        in_flight: &[SequencedWrite],
        one_phase: bool,
    ) -> Result<Response, EvalError> {
        let Some(txn) = state.txn else {
            return Err(KvError::Invalid { reason: "EndTxn without a transaction".into() }.into());
        };
        // The record lives with the anchor; a one-phase commit of keys elsewhere has no word to contradict it: the
        // versions it writes are the word.
        let anchored_here = self.descriptor.contains_key(txn.anchor.as_bytes());
        let record = if anchored_here { self.record(&txn.anchor, txn.id)? } else { None };
        if !anchored_here && !one_phase {
            return Err(KvError::Invalid { reason: "EndTxn away from its anchor".into() }.into());
        }
        let status = record.as_ref().map(|record| record.status);
        if commit && !one_phase && record.is_none() && self.may_have_been_forgotten(txn.id, txn.min_ts) {
            return Err(KvError::Aborted { txn_id: txn.id, reason: AbortReason::RecordGone }.into());
        }
        // *aborted-when-staged*
        let staged_at = record.as_ref().filter(|record| record.was_staged(txn.epoch)).map(|record| record.ts);
        let was_staged = staged_at.is_some();
        if let Some(record) = &record {
            self.check_newer(state, txn, record, commit, in_flight)?;
        }
        match (status, commit) {
            (Some(TxnStatus::Aborted), true) if !planted::is_on(Bug::AbortIgnored) => {
                return Err(KvError::Aborted { txn_id: txn.id, reason: AbortReason::HeartbeatMissing }.into());
            }
            (Some(TxnStatus::Aborted), false) => {
                state.out.ended.own = Some(txn.id);
                return Ok(Response::EndTxn { status: TxnStatus::Aborted, commit_ts: Timestamp::MIN, was_staged });
            }
            // Whoever recovered it found all of it there, which is the answer also to who would roll it back.
            (Some(TxnStatus::Committed), _) => {
                let ts = record.map_or(state.write_ts, |record| record.ts);
                state.out.ended.own = Some(txn.id);
                return Ok(Response::EndTxn { status: TxnStatus::Committed, commit_ts: ts, was_staged });
            }
            // *prepared-stays*: an attempt to give it up that comes late, or was made because the answer was lost.
            (Some(TxnStatus::Prepared), true) => {
                let reason = format!("prepared-stays: {} is prepared, and cannot be committed like this", txn.id);
                return Err(KvError::Invalid { reason }.into());
            }
            (Some(TxnStatus::Prepared), false) => {
                let ts = record.map_or(state.write_ts, |record| record.ts);
                return Ok(Response::EndTxn { status: TxnStatus::Prepared, commit_ts: ts, was_staged: false });
            }
            (Some(TxnStatus::Aborted), true) | (None | Some(TxnStatus::Pending | TxnStatus::Staging), _) => {}
        }
        let (status, ts) = match (commit, in_flight.is_empty()) {
            (false, _) => (TxnStatus::Aborted, staged_at.unwrap_or(Timestamp::MIN)),
            (true, true) => (TxnStatus::Committed, state.write_ts),
            (true, false) => (TxnStatus::Staging, state.write_ts),
        };
        if one_phase {
            if commit {
                state.out.one_phase = Some((txn.id, ts));
            }
            // A staging record of an earlier attempt must not be left for recovery to judge.
            if record.is_some() {
                state.out.batch.delete_local(keyspace::txn_record(&txn.anchor, txn.id).as_bytes());
            }
        } else {
            let record = TxnRecord {
                status,
                epoch: txn.epoch,
                ts,
                at: self.now,
                in_flight: in_flight.to_vec(),
                locks: locks.to_vec(),
            };
            self.put_record(state, &txn.anchor, txn.id, &record);
        }
        if status != TxnStatus::Staging {
            state.out.ended.own = Some(txn.id);
        }
        Ok(Response::EndTxn { status, commit_ts: ts, was_staged })
    }

    /// *record-moves-forward*: a record that is staged gives way only to a later epoch or a later timestamp of its own,
    /// so that these two name one list of writes, which is what recovery judges.
    pub(super) fn check_newer(
        &self,
        state: &State<'_>,
        txn: &TxnMeta,
        record: &TxnRecord,
        commit: bool,
        in_flight: &[SequencedWrite],
    ) -> Result<(), EvalError> {
        if record.status != TxnStatus::Staging || record.epoch < txn.epoch {
            return Ok(());
        }
        if record.epoch > txn.epoch {
            let reason = format!("{} has staged a commit of a later attempt", txn.id);
            return Err(KvError::Invalid { reason }.into());
        }
        let other_list = !in_flight.is_empty() && record.in_flight != in_flight;
        if commit && (record.ts > state.write_ts || record.ts == state.write_ts && other_list) {
            return Err(KvError::Retry { reason: RetryReason::WritePushed, to: record.ts.next() }.into());
        }
        Ok(())
    }

    pub(super) fn push(
        &self,
        state: &mut State<'_>,
        pushee: &TxnMeta,
        pusher: Option<&TxnMeta>,
        dependents: &[TxnId],
        kind: PushKind,
    ) -> Result<Response, EvalError> {
        let now_ns = self.now.wall_ns();
        if let Some(pusher) = pusher {
            self.registry.waits(pushee.id, pusher.id, dependents.to_vec(), now_ns);
        }
        let record = self.record(&pushee.anchor, pushee.id)?;
        let expired = self.registry.is_expired(pushee.id, pushee.min_ts, now_ns);
        let mut pushed = PushedTxn {
            status: TxnStatus::Pending,
            epoch: pushee.epoch,
            commit_ts: Timestamp::MIN,
            in_flight: Vec::new(),
            locks: Vec::new(),
            expired,
            dependents: self.registry.dependents(pushee.id, now_ns),
        };
        let standing = record.as_ref().map_or(TxnStatus::Pending, |record| record.status);
        if let Some(record) = record {
            pushed.status = record.status;
            pushed.epoch = record.epoch;
            pushed.commit_ts = record.ts;
            pushed.in_flight = record.in_flight;
            pushed.locks = record.locks;
        }
        // A staged commit may have happened: only recovery can tell. A pending one is ours to end.
        if standing == TxnStatus::Pending && (expired || kind == PushKind::Abort) {
            let record = TxnRecord::aborted(pushee.epoch, self.now);
            self.put_record(state, &pushee.anchor, pushee.id, &record);
            pushed.status = TxnStatus::Aborted;
        }
        Ok(Response::PushTxn(Box::new(pushed)))
    }

    pub(super) fn recover(&self, state: &mut State<'_>, txn: &TxnMeta, committed: bool) -> Result<Response, EvalError> {
        let Some(mut record) = self.record(&txn.anchor, txn.id)? else {
            // Whoever ended it has cleaned up already: every intent is resolved.
            return Ok(Response::RecoverTxn { status: TxnStatus::Pending, commit_ts: Timestamp::MIN });
        };
        // *judged-by-its-own-epoch*: it has started over since, and how that ended says nothing of what it had written before:
        // whoever resolved that by it would commit what was given up. The next push is told of the new epoch.
        if record.epoch != txn.epoch {
            return Ok(Response::RecoverTxn { status: TxnStatus::Pending, commit_ts: Timestamp::MIN });
        }
        let as_queried = record.ts == txn.write_ts;
        // *aborted-when-staged*: one that a pusher wrote where it found none says nothing of what was staged, and committed,
        // before.
        if record.status == TxnStatus::Aborted && !as_queried {
            return Ok(Response::RecoverTxn { status: TxnStatus::Pending, commit_ts: Timestamp::MIN });
        }
        if record.status == TxnStatus::Staging && as_queried {
            record.status = if committed { TxnStatus::Committed } else { TxnStatus::Aborted };
            record.in_flight.clear();
            self.put_record(state, &txn.anchor, txn.id, &record);
        }
        Ok(Response::RecoverTxn { status: record.status, commit_ts: record.ts })
    }

    /// Whether a one-phase commit took effect. Everything of it that was under way here has, under the latch of its
    /// record; what was not is kept from it by an aborted record, wherever it may still be on its way.
    pub(super) fn settle(
        &self,
        state: &mut State<'_>,
        txn: &TxnMeta,
        range_id: RangeId,
        sent: Timestamp,
    ) -> Result<Response, EvalError> {
        if let Some(commit_ts) = self.commits.find(txn.id) {
            return Ok(Response::SettleCommit { status: TxnStatus::Committed, commit_ts });
        }
        let unknown = Response::SettleCommit { status: TxnStatus::Pending, commit_ts: Timestamp::MIN };
        // The anchor may have come to another range since: a commit that was taken in by the old one, whose keys alone it
        // had by then, would have seen no record.
        if self.descriptor.range_id != range_id || !self.commits.would_know(sent) {
            return Ok(unknown);
        }
        let status = self.record(&txn.anchor, txn.id)?.map_or(TxnStatus::Pending, |record| record.status);
        match status {
            TxnStatus::Committed | TxnStatus::Staging | TxnStatus::Prepared => return Ok(unknown),
            TxnStatus::Aborted => {}
            TxnStatus::Pending => {
                let record = TxnRecord::aborted(txn.epoch, self.now);
                self.put_record(state, &txn.anchor, txn.id, &record);
            }
        }
        state.out.ended.own = Some(txn.id);
        Ok(Response::SettleCommit { status: TxnStatus::Aborted, commit_ts: Timestamp::MIN })
    }

    /// Whether a transaction without a record may have had one that said it is aborted: it began before what is
    /// remembered of such, and has not been heard of all the time since.
    pub(super) fn may_have_been_forgotten(&self, txn: TxnId, min_ts: Timestamp) -> bool {
        min_ts <= self.gc_threshold && !self.registry.knows(txn)
    }

    pub(super) fn record(&self, anchor: &Key, txn: TxnId) -> Result<Option<TxnRecord>, EvalError> {
        let key = keyspace::txn_record(anchor, txn);
        match self.engine.get_local(key.as_bytes())? {
            None => Ok(None),
            Some(bytes) => Ok(Some(decode_record(&bytes)?)),
        }
    }

    pub(super) fn put_record(&self, state: &mut State<'_>, anchor: &Key, txn: TxnId, record: &TxnRecord) {
        let key = keyspace::txn_record(anchor, txn);
        state.out.batch.put_local(key.as_bytes(), &crate::api::encode(record));
    }
}

pub(super) fn decode_record(bytes: &[u8]) -> Result<TxnRecord, EvalError> {
    crate::api::decode(bytes)
        .map_err(|error| EvalError::Storage(StorageError::corruption(format!("transaction record: {error}"))))
}
