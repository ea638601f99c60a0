//! Reads: of one key or many, plain or for a lock, and once more at a later time.

use concurrency::LockRequest;
use hlc::Timestamp;
use keys::{Key, LockStrength, Span};
use storage::{KvRows, LockRead, ReadConflict, ReadOptions, ScanLimits};

use crate::{
    api::{KvError, Response, RetryReason, WaitPolicy},
    evaluate::{EvalError, Evaluator, State},
};

impl Evaluator<'_> {
    fn options<'o>(&self, state: &State<'o>, lock: Option<LockStrength>) -> ReadOptions<'o> {
        // A locking read wants the newest version: any above its timestamp makes it move up.
        let (uncertainty_limit, local_limit) = match lock {
            Some(_) => (Timestamp::MAX, Timestamp::MAX),
            None if state.txn.is_some() => (self.uncertainty.limit.max(state.read_ts), self.uncertainty.local_limit),
            None => (state.read_ts, Timestamp::MAX),
        };
        let locks = match (lock, state.request.header.wait) {
            (Some(_), WaitPolicy::SkipLocked) => LockRead::Skip,
            _ => LockRead::Check,
        };
        ReadOptions { ts: state.read_ts, uncertainty_limit, local_limit, txn: state.txn, locks }
    }

    /// Runs a read; one that meets something newer has the batch read later when nothing else depends on when.
    fn read<T>(
        &self,
        state: &State<'_>,
        lock: Option<LockStrength>,
        read: impl Fn(&ReadOptions<'_>) -> Result<T, ReadConflict>,
    ) -> Result<T, EvalError> {
        match read(&self.options(state, lock)) {
            Ok(value) => Ok(value),
            Err(ReadConflict::Locked(intents)) => Err(EvalError::Intents(intents)),
            Err(ReadConflict::Storage(error)) => Err(error.into()),
            Err(ReadConflict::Uncertain { existing, key }) => {
                let to = existing.max(state.read_ts.next());
                if state.request.header.can_forward {
                    return Err(EvalError::ReadAt(to));
                }
                Err(match lock {
                    Some(strength) => EvalError::RetryLocked {
                        error: KvError::Retry { reason: RetryReason::ReadChanged, to },
                        key,
                        strength,
                    },
                    None => KvError::Retry { reason: RetryReason::Uncertain, to }.into(),
                })
            }
        }
    }

    pub(super) fn get(&self, state: &mut State<'_>, key: &Key, lock: Option<LockStrength>) -> Result<Response, EvalError> {
        if let Some(strength) = lock
            && self.is_skipped(state, key, strength)?
        {
            return Ok(Response::Get { value: None });
        }
        let found = self.read(state, lock, |options| self.engine.get(key.as_bytes(), options))?;
        state.out.reads.push((Span::point(key.clone()), state.read_ts));
        if let Some(strength) = lock {
            state.out.acquire.push((key.clone(), strength));
        }
        Ok(Response::Get { value: found.map(|(value, _)| value) })
    }

    /// SKIP LOCKED: whether the key is to be passed over.
    fn is_skipped(&self, state: &State<'_>, key: &Key, strength: LockStrength) -> Result<bool, EvalError> {
        if state.request.header.wait != WaitPolicy::SkipLocked {
            return Ok(false);
        }
        let request = LockRequest { key, txn: state.txn, strength: Some(strength), read_ts: state.read_ts };
        if !self.locks.check(&request).is_empty() {
            return Ok(true);
        }
        let intent = self.engine.lock(key.as_bytes())?;
        Ok(intent.is_some_and(|lock| state.txn.is_none_or(|txn| txn.id != lock.txn.id)))
    }

    pub(super) fn scan(
        &self,
        state: &mut State<'_>,
        span: &Span,
        reverse: bool,
        lock: Option<LockStrength>,
    ) -> Result<Response, EvalError> {
        let limits = ScanLimits { max_keys: state.max_keys, max_bytes: state.max_bytes, reverse };
        let result = self.read(state, lock, |options| self.engine.scan(span, options, limits))?;
        let covered = match &result.resume {
            None => span.clone(),
            Some(left) if reverse => Span::new(left.end.clone(), span.end.clone()),
            Some(left) => Span::new(span.start.clone(), left.start.clone()),
        };
        state.out.reads.push((covered, state.read_ts));
        let Some(strength) = lock else {
            return Ok(Response::Scan { rows: result.rows, resume: result.resume });
        };
        let mut kept = KvRows::new();
        let skips = state.request.header.wait == WaitPolicy::SkipLocked;
        for (position, (key, value)) in result.rows.iter().enumerate() {
            let row_key = Key::from(result.rows.key_bytes(position));
            if skips {
                if self.is_skipped(state, &row_key, strength)? {
                    continue;
                }
                kept.push(key, value);
            } else {
                let request = LockRequest { key: &row_key, txn: state.txn, strength: Some(strength), read_ts: state.read_ts };
                if let Some(conflict) = self.locks.check(&request).into_iter().next() {
                    return Err(EvalError::Locked(conflict));
                }
            }
            state.out.acquire.push((row_key, strength));
        }
        let rows = if skips { kept } else { result.rows };
        Ok(Response::Scan { rows, resume: result.resume })
    }

    pub(super) fn refresh(&self, state: &mut State<'_>, span: &Span, from: Timestamp) -> Result<Response, EvalError> {
        if from < self.gc_threshold {
            return Err(KvError::Retry { reason: RetryReason::ReadChanged, to: state.read_ts }.into());
        }
        let own = state.txn.map(|txn| txn.id);
        if let Some(found) = self.engine.has_version_in(span, from, state.read_ts, own.as_ref())? {
            tracing::trace!(key = %found.key, ts = %found.ts, "refresh failed");
            let retry = KvError::Retry { reason: RetryReason::ReadChanged, to: state.read_ts };
            return Err(retry.into());
        }
        state.out.reads.push((span.clone(), state.read_ts));
        Ok(Response::Refresh)
    }
}
