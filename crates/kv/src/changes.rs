//! What was written to a span between two times, over as many ranges as it takes.
//!
//! **Invariant (each-once):** who reads up to a time, and goes on after it, is answered each committed version once: a read
//! keeps later commits above its time.

use hlc::Timestamp;
use keys::Span;
use replica::api::{Header, Request, Response};
use storage::Changes;

use crate::{
    db::{Db, SendError, unexpected},
    error::Error,
};

impl Db {
    /// The first of the versions of a span, tombstones too, that were written after `after` and not after `up_to`: about
    /// `max_bytes` of them, 0 for no bound. Go on with `resume` until there is none. What commits meanwhile is waited for.
    ///
    /// # Errors
    /// When a range cannot be reached; `SnapshotTooOld` when some may have been removed.
    pub async fn changes(
        &self,
        span: &Span,
        after: Timestamp,
        up_to: Timestamp,
        max_bytes: u64,
    ) -> Result<Changes, Error> {
        if span.is_empty() {
            return Ok(Changes::default());
        }
        loop {
            let range = self.locate(span.start.as_bytes()).await?;
            let end = span.end.clone().min(range.descriptor.end.clone());
            let header = Header { ts: up_to, max_bytes, ..Header::default() };
            let requests = vec![Request::Changes { span: Span::new(span.start.clone(), end.clone()), after }];
            let response = match self.send_to(&range, header, requests).await {
                Ok(response) => response,
                Err(SendError::Reroute) => continue,
                Err(SendError::Kv(error)) => return Err(error.into()),
            };
            let mut found = match response.responses.into_iter().next() {
                Some(Response::Changes(found)) => *found,
                other => return Err(unexpected("Changes", other.as_ref())),
            };
            found.resume = match found.resume {
                Some(left) => Some(Span::new(left.start, span.end.clone())),
                None => (end < span.end).then(|| Span::new(end, span.end.clone())),
            };
            return Ok(found);
        }
    }
}
