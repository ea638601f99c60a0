//! SKIP LOCKED: rows are locked that nobody holds, and the others passed over.
//!
//! Who holds a row may be about to write it and has its latch until the log is synced. So nothing is latched before it
//! looks free, and one that is taken meanwhile is passed over, too.

use std::sync::Arc;

use concurrency::LockRequest;
use hlc::Timestamp;
use keys::{Key, LockStrength, Span};
use storage::KvRows;

use super::{Attempt, Replica};
use crate::api::{BatchRequest, BatchResponse, KvError, Request, Response, WaitPolicy};

impl Replica {
    pub(super) async fn attempt(self: &Arc<Self>, request: &BatchRequest) -> Result<BatchResponse, Attempt> {
        if request.header.wait != WaitPolicy::SkipLocked {
            return self.attempt_all(request).await;
        }
        let first = request.requests.iter().enumerate().find_map(|(place, item)| match item {
            Request::LockFirst { span, reverse, lock } => Some((place, span, *reverse, *lock)),
            _ => None,
        });
        match first {
            Some((place, span, reverse, lock)) => self.lock_first(request, place, span, reverse, lock).await,
            None => self.attempt_free(request).await,
        }
    }

    /// Looks for rows that are free and locks as many of them as are wanted; should others have taken all of them
    /// meanwhile, it looks again behind them.
    async fn lock_first(
        self: &Arc<Self>,
        request: &BatchRequest,
        place: usize,
        span: &Span,
        reverse: bool,
        lock: LockStrength,
    ) -> Result<BatchResponse, Attempt> {
        let wanted = request.header.max_keys as usize;
        if wanted == 0 {
            return Err(KvError::Invalid { reason: "LockFirst of any number of rows".into() }.into());
        }
        let mut left = span.clone();
        loop {
            let look = Request::Look { span: left.clone(), reverse, free_for: Some(lock) };
            let look = BatchRequest { header: request.header.clone(), requests: vec![look] };
            let (looked, resume) = match self.attempt_all(&look).await?.responses.pop() {
                Some(Response::Scan { rows, resume }) => (rows, resume),
                _ => unreachable!("a look is answered with rows"),
            };
            let keys: Vec<Key> = (0..looked.len()).map(|row| Key::from(looked.key_bytes(row))).collect();
            let (before, after) = request.requests.split_at(place);
            let gets = keys.iter().map(|key| Request::Get { key: key.clone(), lock: Some(lock) });
            let requests = before.iter().cloned().chain(gets).chain(after[1..].iter().cloned()).collect();
            let mut response = self.attempt_free(&BatchRequest { header: request.header.clone(), requests }).await?;
            let answers: Vec<Response> = response.responses.splice(place..place + keys.len(), []).collect();
            let mut locked = KvRows::new();
            let mut last = None;
            for (key, answer) in keys.iter().zip(answers) {
                if let Response::Get { value: Some(value) } = answer {
                    locked.push(key.as_bytes(), &value);
                    last = Some(key);
                }
            }
            let rest = match last {
                Some(last) if locked.len() >= wanted => {
                    let behind = if reverse {
                        Span::new(span.start.clone(), last.clone())
                    } else {
                        Span::new(last.next(), span.end.clone())
                    };
                    Some(behind).filter(|behind| !behind.is_empty())
                }
                _ => resume,
            };
            match rest {
                Some(rest) if locked.is_empty() => left = rest,
                rest => {
                    response.responses.insert(place, Response::Scan { rows: locked, resume: rest });
                    return Ok(response);
                }
            }
        }
    }

    /// Reads only the keys that look free, as many as are wanted.
    async fn attempt_free(self: &Arc<Self>, request: &BatchRequest) -> Result<BatchResponse, Attempt> {
        let header = &request.header;
        let txn = header.txn.as_ref().map(|txn| &txn.meta);
        let wanted = if header.max_keys == 0 { usize::MAX } else { header.max_keys as usize };
        let mut answers: Vec<Option<Response>> = vec![None; request.requests.len()];
        let mut last = None;
        loop {
            let is_locked = |(item, answer): &(&Request, &Option<Response>)| {
                matches!(item, Request::Get { lock: Some(_), .. })
                    && matches!(answer, Some(Response::Get { value: Some(_) }))
            };
            let locked = request.requests.iter().zip(&answers).filter(is_locked).count();
            let mut missing = wanted.saturating_sub(locked);
            let mut picked = Vec::new();
            for (place, item) in request.requests.iter().enumerate().filter(|(place, _)| answers[*place].is_none()) {
                if let Request::Get { key, lock: strength @ Some(_) } = item {
                    let wants = LockRequest { key, txn, strength: *strength, read_ts: Timestamp::MAX };
                    if missing == 0 || !self.locks.check(&wants).is_empty() {
                        continue;
                    }
                    missing -= 1;
                }
                picked.push(place);
            }
            if let (true, Some(last)) = (picked.is_empty(), last.take()) {
                let mut response: BatchResponse = last;
                response.responses =
                    answers.into_iter().map(|answer| answer.unwrap_or(Response::Get { value: None })).collect();
                return Ok(response);
            }
            // Somebody else may still be faster with some of them.
            let requests = picked.iter().map(|place| request.requests[*place].clone()).collect();
            let mut response = self.attempt_all(&BatchRequest { header: header.clone(), requests }).await?;
            for (place, answer) in picked.into_iter().zip(std::mem::take(&mut response.responses)) {
                answers[place] = Some(answer);
            }
            last = Some(response);
        }
    }
}
