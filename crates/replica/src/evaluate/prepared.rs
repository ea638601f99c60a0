//! Prepared transactions: what their client was promised is kept until their client ends them.
//!
//! ```text
//! coordinator   writes ──▶ intents at or below T     reads ──▶ refreshed to T     locks ──▶ kept
//!                                        └───────────────────┬──────────────────────┘
//! anchor                                    record: prepared at T     no heartbeat, no expiry, no push
//!                                                            │
//! any node                                 EndPrepared ──▶ committed at T, or aborted
//! ```
//!
//! **Invariants**
//! - *prepared-stays*: a record that says *prepared* is changed by [`Request::EndPrepared`] alone, which only who names the
//!   transaction sends: no pusher aborts it, whatever time has passed, no message of its coordinator that comes late takes
//!   it back, no garbage collection or recovery looks at it.
//! - *prepared-as-read*: it commits where it was prepared, at `T`, which is at or above all that it has written and where all
//!   holds that it depends on. Nobody writes what it has read at or below `T` any more (*write-above-read*: the refresh is
//!   remembered as a read up there, and a new leaseholder begins above what the last one served), so that this holds
//!   whenever it commits. Who reads what it has written above `T` waits for its end; who reads below passes.
//! - *prepared-keeps-locks*: see [`crate::kept_locks`].
//!
//! [`Request::EndPrepared`]: crate::api::Request::EndPrepared

use hlc::Timestamp;
use keys::{Span, TxnId, TxnMeta, TxnStatus, keyspace};

use crate::{
    api::{AbortReason, KvError, Response},
    evaluate::{EvalError, Evaluator, State},
    kept_locks::{KeptLock, keys_of, outdated},
    txn_record::TxnRecord,
};

impl Evaluator<'_> {
    /// *prepared-keeps-locks*
    pub(super) fn keep_locks(&self, state: &mut State<'_>, spans: &[Span]) -> Result<Response, EvalError> {
        let Some(txn) = state.txn else {
            return Err(KvError::Invalid { reason: "locks are kept for a transaction".into() }.into());
        };
        for (key, strength) in spans.iter().flat_map(|span| self.locks.locked_by(txn.id, span)) {
            // An intent holds the row as well, and is there already.
            if self.engine.lock(key.as_bytes())?.is_some_and(|lock| lock.txn.id == txn.id) {
                continue;
            }
            let kept = KeptLock { txn: txn.clone(), strength };
            for old in outdated(self.engine, &key, &kept)? {
                state.out.batch.delete_local(old.as_bytes());
            }
            state.out.batch.put_local(keyspace::kept_lock(&key, txn.id).as_bytes(), &crate::api::encode(&kept));
            self.kept.note(txn.id);
        }
        Ok(Response::Done)
    }

    pub(super) fn forget_kept_locks(&self, state: &mut State<'_>, span: &Span, txn: TxnId) -> Result<(), EvalError> {
        if self.kept.may_have(txn) {
            for key in keys_of(self.engine, span, txn)? {
                state.out.batch.delete_local(key.as_bytes());
            }
        }
        Ok(())
    }

    pub(super) fn prepare(&self, state: &mut State<'_>, locks: &[Span]) -> Result<Response, EvalError> {
        let Some(txn) = state.txn else {
            return Err(KvError::Invalid { reason: "a transaction is prepared, not a batch".into() }.into());
        };
        if state.read_ts != txn.write_ts {
            let reason = format!("prepared-as-read: {} has read at {} and written at {}", txn.id, state.read_ts, txn.write_ts);
            return Err(KvError::Invalid { reason }.into());
        }
        let record = self.record(&txn.anchor, txn.id)?;
        let aborted = |reason| KvError::Aborted { txn_id: txn.id, reason };
        match &record {
            None if self.may_have_been_forgotten(txn.id, txn.min_ts) => {
                return Err(aborted(AbortReason::RecordGone).into());
            }
            None => {}
            Some(record) => match record.status {
                TxnStatus::Pending => {}
                TxnStatus::Staging => self.check_newer(state, txn, record, true, &[])?,
                TxnStatus::Aborted => return Err(aborted(AbortReason::HeartbeatMissing).into()),
                TxnStatus::Committed => return Err(aborted(AbortReason::RecordGone).into()),
                TxnStatus::Prepared => {
                    if (record.epoch, record.ts) == (txn.epoch, txn.write_ts) {
                        return Ok(Response::Prepared { status: TxnStatus::Prepared, ts: record.ts });
                    }
                    let reason = format!("prepared-stays: {} is prepared at {}", txn.id, record.ts);
                    return Err(KvError::Invalid { reason }.into());
                }
            },
        }
        let record = TxnRecord {
            status: TxnStatus::Prepared,
            epoch: txn.epoch,
            ts: txn.write_ts,
            at: self.now,
            in_flight: Vec::new(),
            locks: locks.to_vec(),
        };
        self.put_record(state, &txn.anchor, txn.id, &record);
        Ok(Response::Prepared { status: TxnStatus::Prepared, ts: record.ts })
    }

    /// *prepared-as-read*: it commits where it was prepared.
    pub(super) fn end_prepared(&self, state: &mut State<'_>, txn: &TxnMeta, commit: bool) -> Result<Response, EvalError> {
        let Some(mut record) = self.record(&txn.anchor, txn.id)? else {
            return Ok(Response::Prepared { status: TxnStatus::Pending, ts: Timestamp::MIN });
        };
        if record.status == TxnStatus::Prepared {
            record.status = if commit { TxnStatus::Committed } else { TxnStatus::Aborted };
            record.at = self.now;
            self.put_record(state, &txn.anchor, txn.id, &record);
            state.out.ended.own = Some(txn.id);
        }
        Ok(Response::Prepared { status: record.status, ts: record.ts })
    }
}
