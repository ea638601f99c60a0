//! Where looks begin: the head of a queue is a stretch of deleted rows, which each look for the next job would walk over
//! again until they are collected.
//!
//! **Invariant (nothing-live-before)**: between the start of a look and the key that is remembered for it nothing is
//! committed, unless a batch that writes there is still under way. A batch that may bring a row forgets what is
//! remembered of its keys when it has taken effect, before its latches go; what a look that began before then has found is
//! not remembered.

use std::sync::atomic::{AtomicBool, Ordering};

use keys::{Key, Span, TxnStatus};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::api::Request;

/// Queues that are remembered at a time.
const MAX_STARTS: usize = 8;

#[derive(Default)]
pub(crate) struct LookStarts {
    /// Somebody has looked: until then a batch tells nothing.
    in_use: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the batches that may have brought rows.
    changes: u64,
    /// The start of looks, and the first row that they have found.
    known: SmallVec<[(Key, Key); MAX_STARTS]>,
}

/// A look that has begun.
pub(crate) struct Begun {
    pub span: Span,
    asked: Key,
    changes: u64,
}

/// What a batch may bring.
pub(crate) enum Brought {
    /// Nobody had looked by then.
    NotLooked,
    Spans(SmallVec<[Span; 2]>),
}

impl LookStarts {
    /// What of a span is to be looked at.
    pub fn begin(&self, span: &Span) -> Begun {
        self.in_use.store(true, Ordering::Release);
        let state = self.state.lock();
        let known = state.known.iter().find(|(start, _)| *start == span.start);
        let start = known.map_or(&span.start, |(_, first)| first).clone();
        // What is remembered may lie behind the end of a smaller span.
        let start = start.min(span.end.clone());
        Begun { span: Span::new(start, span.end.clone()), asked: span.start.clone(), changes: state.changes }
    }

    /// A look has found this row first.
    pub fn found(&self, begun: &Begun, first: Key) {
        let mut state = self.state.lock();
        if state.changes != begun.changes || first == begun.asked {
            return;
        }
        match state.known.iter_mut().find(|(start, _)| *start == begun.asked) {
            Some((_, known)) => *known = first,
            None => {
                if state.known.len() == MAX_STARTS {
                    state.known.remove(0);
                }
                state.known.push((begun.asked.clone(), first));
            }
        }
    }

    /// What a batch may bring, asked before it is proposed.
    pub fn brought(&self, requests: &[Request]) -> Brought {
        if !self.in_use.load(Ordering::Acquire) {
            return Brought::NotLooked;
        }
        let span = |item: &Request| match item {
            Request::Put { key, .. } | Request::Increment { key, .. } => Some(Span::point(key.clone())),
            Request::ResolveSpan { span, status: TxnStatus::Committed, .. } => Some(span.clone()),
            // As in one piece: what is remembered here costs little to find again.
            Request::WriteMany { writes } if writes.has_values() => Some(writes.keys().hull()),
            Request::Load { rows, .. } => Some(Span::new(rows.first()?.0.clone(), rows.last()?.0.next())),
            _ => None,
        };
        Brought::Spans(requests.iter().filter_map(span).collect())
    }

    /// A batch has taken effect.
    pub fn applied(&self, brought: Brought) {
        match brought {
            // The first look came in between.
            Brought::NotLooked if self.in_use.load(Ordering::Acquire) => self.clear(),
            Brought::NotLooked => {}
            Brought::Spans(spans) if spans.is_empty() => {}
            Brought::Spans(spans) => {
                let mut state = self.state.lock();
                state.changes += 1;
                state.known.retain(|(start, first)| !spans.iter().any(|span| span.start < *first && *start < span.end));
            }
        }
    }

    /// Whoever led meanwhile has told nothing of what was written.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.changes += 1;
        state.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key(name: &str) -> Key {
        name.as_bytes().into()
    }

    fn put(starts: &LookStarts, name: &str) {
        starts.applied(starts.brought(&[Request::Put { key: key(name), value: Bytes::new(), seq: 1 }]));
    }

    #[test]
    fn nothing_live_before() {
        let starts = LookStarts::default();
        let span = Span::new(key("a"), key("z"));
        let begun = starts.begin(&span);
        starts.found(&begun, key("m"));
        assert_eq!(starts.begin(&span).span.start, key("m"));
        assert_eq!(starts.begin(&Span::new(key("b"), key("z"))).span.start, key("b"), "of another start nothing is known");
        // A row behind what is known changes nothing, one before it does.
        put(&starts, "n");
        assert_eq!(starts.begin(&span).span.start, key("m"));
        put(&starts, "c");
        assert_eq!(starts.begin(&span).span.start, key("a"));
    }

    #[test]
    fn a_look_that_began_before_a_write_is_not_remembered() {
        let starts = LookStarts::default();
        let span = Span::new(key("a"), key("z"));
        let begun = starts.begin(&span);
        put(&starts, "c");
        starts.found(&begun, key("m"));
        assert_eq!(starts.begin(&span).span.start, key("a"));
    }

    #[test]
    fn the_first_look_forgets_what_was_written_meanwhile() {
        let starts = LookStarts::default();
        let span = Span::new(key("a"), key("z"));
        let brought = starts.brought(&[Request::Put { key: key("c"), value: Bytes::new(), seq: 1 }]);
        let begun = starts.begin(&span);
        starts.found(&begun, key("m"));
        starts.applied(brought);
        assert_eq!(starts.begin(&span).span.start, key("a"));
    }
}
