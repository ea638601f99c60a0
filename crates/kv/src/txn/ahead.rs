//! Read-ahead: the next pages of a scan are asked for while its reader works on the rows of the last one.
//!
//! ```text
//! reader   page 1 │ rows of 1 │ rows of 2 │ rows of 3 │
//! ranges          └─ page 2 ──┴─ page 3 ──┴─ page 4
//! ```
//!
//! Where a page ends is known when it has come. A reader that has cut its span beforehand says which spans come next
//! ([`ReadAhead::expect`]): their first pages are read at the same time.
//!
//! **Invariant (ahead-is-the-same-page):** a page that was asked for ahead is taken for the page of exactly the piece it
//! was asked for, by the same attempt of the transaction, in the same snapshot, and only where nothing of the transaction
//! lies in ranges: it takes no locks, has written no intents since, and loads nothing. It counts as read when it is taken, and the
//! buffer's writes are laid over it then. In every other case the page is asked for as if nothing had been asked ahead.

use std::sync::Arc;

use hlc::Timestamp;
use keys::{Span, TxnId};
use replica::api::{BatchResponse, Request, WaitPolicy};
use tokio::task::JoinHandle;

use super::{Keep, Read, ScanOptions, Txn, load::Place};
use crate::{db::SendError, range_cache::CachedRange};

/// Pages that are asked for ahead at once.
const PAGES_AHEAD: usize = 3;

/// What a scan has asked for ahead; dropping it gives up the questions.
#[derive(Default)]
pub struct ReadAhead {
    /// Pages that the scan has taken.
    pages: u32,
    asked: Vec<Asked>,
    /// What is read after the span at hand, in order.
    expected: Vec<Span>,
}

impl ReadAhead {
    /// Names the spans that are read after the next one, in order.
    pub fn expect<'s>(&mut self, spans: impl Iterator<Item = &'s Span>) {
        self.expected.clear();
        self.expected.extend(spans.take(PAGES_AHEAD).cloned());
    }
}

struct Asked {
    piece: Span,
    options: ScanOptions,
    of: Attempt,
    answer: JoinHandle<Result<BatchResponse, SendError>>,
}

/// What must be the same when the answer is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Attempt {
    id: TxnId,
    epoch: u32,
    read_ts: Timestamp,
    flushes: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

/// What became of the question.
pub(super) enum Ahead {
    Answer(BatchResponse),
    /// The page must be asked for.
    Nothing,
}

impl Txn {
    fn attempt(&self) -> Attempt {
        Attempt { id: self.meta.id, epoch: self.meta.epoch, read_ts: self.read_ts, flushes: self.flushes }
    }

    /// Whether a page may come ahead. *ahead-is-the-same-page*
    fn may_read_ahead(&self, piece: &Span, read: &Read) -> bool {
        let has_pending_check = self.check.as_ref().is_some_and(|check| check.state == super::CheckState::Pending);
        read.lock.is_none()
            && matches!(read.keep, Keep::Now | Keep::Presence | Keep::Later)
            && self.place(piece) == Place::Shared
            && self.loads.is_none()
            && !self.intents.overlaps(piece)
            && !has_pending_check
            && !self.may_leave_snapshot()
    }

    /// Asks for the next pages, unless the scan has just begun: it may be the last page that anybody wants. `left` is what
    /// the last page has left of its span; other spans follow it where they lie in the same range.
    pub(super) fn ask_ahead(
        &self,
        ahead: &mut ReadAhead,
        range: &Arc<CachedRange>,
        left: Option<&Span>,
        options: ScanOptions,
    ) {
        ahead.pages += 1;
        if ahead.pages < 2 {
            return;
        }
        let descriptor = &range.descriptor;
        let is_inside = |span: &&Span| descriptor.start <= span.start && span.end <= descriptor.end;
        let next: Vec<&Span> = left.into_iter().chain(ahead.expected.iter().filter(is_inside)).take(PAGES_AHEAD).collect();
        let of = self.attempt();
        ahead.asked.retain(|asked| asked.options == options && asked.of == of && next.contains(&&asked.piece));
        for piece in next {
            let is_asked = ahead.asked.iter().any(|asked| asked.piece == *piece);
            if !is_asked && self.may_read_ahead(piece, &options.read) {
                let asked = self.ask_page(range, piece.clone(), options);
                ahead.asked.push(asked);
            }
        }
    }

    fn ask_page(&self, range: &Arc<CachedRange>, piece: Span, options: ScanOptions) -> Asked {
        // It waits for nobody: whom a page must wait for is seen, and told to others, when the page is wanted.
        let mut header = self.reading(range, &Read { wait: WaitPolicy::Error, ..options.read });
        header.max_keys = options.max_rows;
        header.max_bytes = options.max_bytes;
        header.can_forward = false;
        let request = Request::Scan { span: piece.clone(), reverse: options.reverse, lock: None };
        let (db, range) = (self.db.clone(), Arc::clone(range));
        let answer = tokio::spawn(async move { db.send_to(&range, header, vec![request]).await });
        // The task that was spawned last waits in a slot of this thread, from which no other thread takes it, until the
        // caller waits as well: one more, which does nothing, moves it out of there.
        drop(tokio::spawn(std::future::ready(())));
        self.db.0.metrics.pages_ahead.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Asked { piece, options, of: self.attempt(), answer }
    }

    /// The page of `piece`, if it was asked for ahead and may be taken.
    pub(super) async fn take_ahead(
        &mut self,
        ahead: &mut ReadAhead,
        piece: &Span,
        options: ScanOptions,
    ) -> Ahead {
        let Some(at) = ahead.asked.iter().position(|asked| asked.piece == *piece) else { return Ahead::Nothing };
        let mut asked = ahead.asked.remove(at);
        let is_same = asked.options == options && asked.of == self.attempt();
        if !is_same || !self.may_read_ahead(piece, &options.read) {
            return Ahead::Nothing;
        }
        match (&mut asked.answer).await {
            Ok(Ok(response)) => {
                assert!(response.read_ts <= self.read_ts, "ahead-is-the-same-page");
                self.note(&response);
                Ahead::Answer(response)
            }
            // Whatever it was may have passed, and what is to be done about it is done when the page is asked for.
            Ok(Err(_)) => Ahead::Nothing,
            Err(gone) => match gone.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ahead::Nothing,
            },
        }
    }
}
