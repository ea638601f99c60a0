//! Loading: rows below prefixes that nobody else can know of yet go to their ranges as they will stay, not as intents.
//!
//! A table that the transaction creates, truncates or rewrites, and an index that it makes, gets a prefix that was never
//! used before ([`Txn::add_private`]). What names the prefix commits with the transaction, so that until then no other
//! can read or write below it, and there is nothing to protect: no intent for each row, no lock, no look at what others
//! have read, and nothing to resolve after the commit.
//!
//! ```text
//! COPY ─▶ buffer ── large ──▶ Load { ts, rows } ─▶ ranges          a few at a time, while the next rows are made
//!   read of its own:  buffer, then (once what is under way has arrived) the range at read_ts
//!   COMMIT:           what is under way arrives ─▶ the rest of the buffer, the descriptors in it, commits as ever
//!
//!   time   ──┬──────┬──────┬─────────┬────────────┬──▶
//!        flush 1  flush 2  ...    read_ts ≤ commit_ts
//!        └─ within the nanosecond before read_ts ─┘
//! ```
//!
//! **Invariants**
//! - *private-spans-are-unseen*: nobody but the transaction reads or writes below a private prefix at or below its
//!   commit timestamp. Who makes the prefix upholds it: it is never given twice, also not to another attempt of the same
//!   transaction, and it is named only by what the transaction writes. Therefore a load needs no check of its keys, reads
//!   in a private span take no locks and need no refresh, and when `read_ts` moves up, rows loaded before stay right.
//! - *loaded-below-read*: rows are loaded at times below `read_ts`, each batch above the one before. So the transaction
//!   sees them, and whatever it writes to the same keys later, by a load or with its commit, lies above them, in whatever
//!   order batches arrive. One that is sent again, or late, finds what it would write there already, beneath what is
//!   newer; where that might have been collected it is refused, and the transaction starts over if it is still there.
//! - *loaded-is-cleared*: what was loaded by an attempt that cannot commit any more is cleared in the background.
//!
//! What the transaction depends on ([`Txn::check_value`]) is locked before the first batch: somebody else's small change
//! of it waits for the end of a load, and does not make all of it vain.
//!
//! Not under a savepoint: what is loaded cannot be taken back by cutting the buffer.
//!
//! Left out: a gateway that dies leaves what it has loaded. Nothing names it and nothing ever will, so it costs space
//! alone; nobody looks for such rows yet. The same is true when the outcome of the commit is unknown to the coordinator,
//! or nobody waited for it: then it must not clear.

use std::{collections::VecDeque, sync::atomic::Ordering};

use bytes::Bytes;
use hlc::Timestamp;
use keys::{Key, Span};
use replica::api::{Header, KvError, Request};
use tokio::task::JoinSet;

use super::Txn;
use crate::{
    db::{Db, SendError},
    error::Error,
};

/// About how much goes in one command: little beside what the log takes, and enough that its sync is spread thin.
const BATCH_BYTES: usize = 1 << 20;
/// Batches under way at a time.
const MAX_IN_FLIGHT: usize = 4;
/// With no more rows than this left in private spans they go with the commit, which then is one round.
const MIN_ROWS_AT_COMMIT: usize = 1024;
/// How often a batch is sent again when its outcome is unknown.
const MAX_AMBIGUOUS: usize = 5;

/// `None` deletes.
type Row = (Key, Option<Bytes>);

/// Where nobody else reads or writes, and what the transaction has sent there.
///
/// A row that left the buffer is in `waiting`, with a task of `in_flight`, in its range, or the transaction is broken:
/// also when whoever waits for that gives it up.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// In order, disjoint.
    spans: Vec<PrivateSpan>,
    /// Batches that are not under way yet.
    waiting: VecDeque<Vec<Row>>,
    in_flight: JoinSet<Result<(), KvError>>,
    /// That of the last batch; the least there is before the first.
    last_ts: Timestamp,
    /// Rows are missing: the transaction cannot commit.
    broken: Option<Error>,
    /// Bytes that the last load has left in the buffer, or fewer.
    left: usize,
}

#[derive(Debug)]
struct PrivateSpan {
    span: Span,
    /// Keys outside of this were never sent.
    loaded: Option<Span>,
}

/// What of a key or a span the ranges may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Others may read and write there.
    Shared,
    /// Private, and nothing was loaded there.
    Unloaded,
    /// Private, and something may have been loaded there.
    Loaded,
}

impl Loads {
    fn add(&mut self, span: Span) {
        let at = self.spans.partition_point(|known| known.span.start < span.start);
        self.spans.insert(at, PrivateSpan { span, loaded: None });
        let disjoint = self.spans.is_sorted_by(|before, after| before.span.end <= after.span.start);
        assert!(disjoint, "private spans are disjoint");
    }

    fn private(&self, span: &Span) -> Option<&PrivateSpan> {
        let after = self.spans.partition_point(|known| known.span.start <= span.start);
        self.spans[..after].last().filter(|known| known.span.contains_span(span))
    }

    fn place(&self, span: &Span) -> Place {
        match self.private(span) {
            None => Place::Shared,
            Some(PrivateSpan { loaded: Some(loaded), .. }) if loaded.overlaps(span) => Place::Loaded,
            Some(_) => Place::Unloaded,
        }
    }

    /// Whether rows that the transaction has loaded, or has under way, may lie in the span.
    pub fn may_be_in(&self, span: &Span) -> bool {
        self.spans.iter().filter_map(|private| private.loaded.as_ref()).any(|loaded| loaded.overlaps(span))
    }

    /// The time of the next batch. *loaded-below-read*
    fn next_ts(&mut self, read_ts: Timestamp) -> Timestamp {
        let first = Timestamp::new(read_ts.wall_ns().saturating_sub(1), 0);
        let ts = if self.last_ts.is_min() { first } else { self.last_ts.next() };
        assert!(ts > self.last_ts && ts < read_ts, "loaded-below-read");
        self.last_ts = ts;
        ts
    }

    /// Waits for one of the batches under way.
    async fn one_arrives(&mut self) {
        self.broken = match self.in_flight.join_next().await {
            None | Some(Ok(Ok(()))) => return,
            // Of the rows that is true, not of the transaction: without them it never commits.
            Some(Ok(Err(KvError::Ambiguous { reason }))) => Some(Error::Unavailable { reason }),
            Some(Ok(Err(error))) => Some(error.into()),
            Some(Err(error)) => Some(Error::Internal { reason: format!("loading rows: {error}") }),
        };
    }

    /// Has every batch under way, a few at a time.
    async fn send_waiting(&mut self, db: &Db, read_ts: Timestamp) -> Result<(), Error> {
        loop {
            if let Some(broken) = &self.broken {
                return Err(broken.clone());
            }
            if self.waiting.is_empty() {
                return Ok(());
            }
            if self.in_flight.len() >= MAX_IN_FLIGHT {
                self.one_arrives().await;
                continue;
            }
            let rows = self.waiting.pop_front().expect("it is not empty");
            let ts = self.next_ts(read_ts);
            let db = db.clone();
            self.in_flight.spawn(async move { db.load(ts, &rows).await });
        }
    }

    /// Clears what was loaded, at times below `read_ts`. *loaded-is-cleared*
    fn clear(mut self: Box<Self>, db: Db, read_ts: Timestamp) {
        let spans: Vec<Span> = self.spans.iter_mut().filter_map(|private| private.loaded.take()).collect();
        if spans.is_empty() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            // What is under way must not arrive after all is clear, and arrives whether or not somebody waits for it.
            while self.in_flight.join_next().await.is_some() {}
            for span in spans {
                if let Err(error) = db.clear_span(&span, read_ts).await {
                    tracing::warn!(%span, %error, "rows of a transaction that did not commit stay");
                }
            }
        });
    }
}

fn widen(hull: &mut Option<Span>, by: &Span) {
    let start = hull.as_ref().map_or(&by.start, |hull| (&hull.start).min(&by.start)).clone();
    let end = hull.as_ref().map_or(&by.end, |hull| (&hull.end).max(&by.end)).clone();
    *hull = Some(Span::new(start, end));
}

impl Txn {
    /// Nobody else reads or writes in this span before the transaction has committed (*private-spans-are-unseen*): its
    /// prefix was never used, also not by an earlier attempt, and is named only by what the transaction writes.
    pub fn add_private(&mut self, span: Span) {
        let loads = self.loads.get_or_insert_default();
        if loads.private(&span).is_none() {
            assert!(!self.buffer.touches(&span), "private-spans-are-unseen: {span} was written before it was private");
            loads.add(span);
        }
    }

    pub(super) fn place(&self, span: &Span) -> Place {
        self.loads.as_ref().map_or(Place::Shared, |loads| loads.place(span))
    }

    pub(super) fn place_of(&self, key: &Key) -> Place {
        self.loads.as_ref().map_or(Place::Shared, |loads| loads.place(&Span::point(key.clone())))
    }

    /// Begins to load what the buffer has of private spans, of all or of those that lie in `only`. Not under a savepoint.
    pub(super) async fn load(&mut self, only: Option<&[Span]>) -> Result<(), Error> {
        let is_wanted = |span: &Span| only.is_none_or(|only| only.iter().any(|wanted| wanted.contains_span(span)));
        let Some(loads) = &self.loads else { return Ok(()) };
        self.buffer.seal_for(u32::MAX);
        if !loads.spans.iter().any(|private| is_wanted(&private.span) && self.buffer.touches(&private.span)) {
            return Ok(());
        }
        self.hold_check().await?;
        let Some(loads) = &mut self.loads else { return Ok(()) };
        for at in 0..loads.spans.len() {
            let private = &mut loads.spans[at];
            if !is_wanted(&private.span) || !self.buffer.touches(&private.span) {
                continue;
            }
            let rows: Vec<Row> = self.buffer.take(&private.span);
            if let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) {
                widen(&mut private.loaded, &Span::new(first.clone(), last.next()));
            }
            let mut batch = Vec::new();
            let mut bytes = 0;
            for (key, value) in rows {
                bytes += key.as_bytes().len() + value.as_ref().map_or(0, Bytes::len);
                batch.push((key, value));
                if bytes >= BATCH_BYTES {
                    loads.waiting.push_back(std::mem::take(&mut batch));
                    bytes = 0;
                }
            }
            loads.waiting.extend((!batch.is_empty()).then_some(batch));
            loads.left = self.buffer.bytes();
            loads.send_waiting(&self.db, self.read_ts).await?;
        }
        Ok(())
    }

    /// From how many bytes in the buffer on the next load is worth it.
    pub(super) fn enough_to_load(&mut self, least: usize) -> Option<usize> {
        let loads = self.loads.as_mut()?;
        // It may have been cut back since.
        loads.left = loads.left.min(self.buffer.bytes());
        // Each load goes through what is left: the more that is, the seldomer.
        Some(loads.left + least.max(loads.left / 4))
    }

    /// Loads what is left in private spans at the end, when it is much, and waits until all has arrived.
    pub(super) async fn load_rest(&mut self) -> Result<(), Error> {
        let Some(loads) = &self.loads else { return Ok(()) };
        self.buffer.seal_for(u32::MAX);
        let left = loads.spans.iter().flat_map(|private| self.buffer.range(&private.span, u32::MAX));
        if left.take(MIN_ROWS_AT_COMMIT + 1).count() > MIN_ROWS_AT_COMMIT {
            self.load(None).await?;
        }
        self.finish_loads().await
    }

    /// Waits until everything loaded is where it can be read.
    pub(super) async fn finish_loads(&mut self) -> Result<(), Error> {
        let Some(loads) = &mut self.loads else { return Ok(()) };
        loads.send_waiting(&self.db, self.read_ts).await?;
        while !loads.in_flight.is_empty() {
            loads.one_arrives().await;
        }
        loads.broken.clone().map_or(Ok(()), Err)
    }

    /// What was loaded is of no use any more; only for an attempt that cannot commit.
    pub(super) fn forget_loads(&mut self) {
        if let Some(loads) = self.loads.take() {
            loads.clear(self.db.clone(), self.read_ts);
        }
    }
}

impl Db {
    /// Writes rows at a time, in the order of their keys, below prefixes that nobody else knows of: what names them is
    /// committed later, at a higher time. The same rows at the same time again change nothing.
    ///
    /// # Errors
    /// `Retry` where versions of that time may be collected by now: a later one is needed.
    pub async fn ingest(&self, ts: Timestamp, rows: &[(Key, Option<Bytes>)]) -> Result<(), Error> {
        Ok(self.load(ts, rows).await?)
    }

    /// Writes rows, in the order of their keys, into the ranges they lie in.
    async fn load(&self, ts: Timestamp, rows: &[Row]) -> Result<(), KvError> {
        let mut rest = rows;
        let mut ambiguous = 0;
        while let Some((first, _)) = rest.first() {
            let range = self.locate(first.as_bytes()).await?;
            let here = rest.partition_point(|(key, _)| range.descriptor.contains_key(key.as_bytes()));
            let request = Request::Load { ts, rows: rest[..here].to_vec() };
            match self.send_to(&range, Header::default(), vec![request]).await {
                Ok(_) => {
                    self.0.metrics.rows_loaded.fetch_add(here as u64, Ordering::Relaxed);
                    rest = &rest[here..];
                }
                Err(SendError::Reroute) => {}
                // The same again changes nothing.
                Err(SendError::Kv(KvError::Ambiguous { .. })) if ambiguous < MAX_AMBIGUOUS => ambiguous += 1,
                Err(SendError::Kv(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
