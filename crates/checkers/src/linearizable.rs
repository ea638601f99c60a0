//! Whether single operations on a key can be put into an order that explains them, each between its invocation and its
//! end (linearizability), by Wing and Gong's search with Lowe's memory of what was tried.
//!
//! ```text
//! calls and ends in time:   A( B( A) C( B) C)
//! try:  any call before the first end may come first; if the model allows it, take it out with its end and go on;
//!       at an end nothing before it may be left: go back and try another
//! ```
//!
//! An operation of unknown outcome has no end: it may take effect at any later time, or never. The search remembers which
//! sets of operations it has seen to lead to which state, and stops at a bound: then it is *undecided*.
//!
//! **Invariant (unknown is not ok):** only a found order is a pass.

use std::{collections::BTreeMap, fmt::Debug, hash::Hash};

use rustc_hash::FxHashSet;
use serde_json::Value;

use crate::{
    graph::Key,
    history::{self, Call, Event, Malformed, NEVER, Operation, Outcome},
    verdict::{Anomaly, Verdict},
};

/// What an object does, one operation after the other.
pub trait Model {
    type State: Clone + Eq + Hash + Debug;
    type Action: Debug;

    fn initial(&self) -> Self::State;

    /// The state after the action, if it is possible with what came back of it.
    fn step(&self, state: &Self::State, action: &Self::Action) -> Option<Self::State>;
}

/// A register that is read, written, and compared and set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// What came back, if anything did.
    Read(Option<Option<i64>>),
    Write(i64),
    /// Whether it was done, if that is known.
    CompareAndSet { from: i64, to: i64, done: Option<bool> },
}

impl Model for Register {
    type State = Option<i64>;
    type Action = Action;

    fn initial(&self) -> Option<i64> {
        None
    }

    fn step(&self, state: &Option<i64>, action: &Action) -> Option<Option<i64>> {
        match action {
            Action::Read(None) => Some(*state),
            Action::Read(Some(seen)) => (seen == state).then_some(*state),
            Action::Write(value) => Some(Some(*value)),
            Action::CompareAndSet { from, to, done } => {
                let matches = *state == Some(*from);
                if done.is_some_and(|done| done != matches) {
                    return None;
                }
                Some(if matches { Some(*to) } else { *state })
            }
        }
    }
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Order,
    /// There is none. The operations, by position, that could be put into an order before it went no further, at best; and
    /// the one whose end could not be reached.
    None { explained: Vec<usize>, stuck: usize },
    Undecided,
}

/// How many states are remembered before a search is given up.
pub const STATES_MAX: usize = 3_000_000;

/// Looks for an order of operations on one object. Those that certainly did nothing must be left out, unless the model
/// knows what their failure tells.
pub fn search<M: Model>(model: &M, history: &[Operation<M::Action>], states_max: usize) -> Found {
    // Calls and ends in order of time; a call before an end of the same moment, for what touches is concurrent.
    let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(history.len() * 2);
    let mut must_end = 0_usize;
    for (at, operation) in history.iter().enumerate() {
        times.push((operation.invoked, false, at));
        if operation.end() != NEVER {
            times.push((operation.end(), true, at));
            must_end += 1;
        }
    }
    times.sort_unstable();
    let mut line = Line::new(&times, history.len());
    let mut state = model.initial();
    let mut taken = vec![0_u64; history.len().div_ceil(64)];
    let mut seen: FxHashSet<(Taken, M::State)> = FxHashSet::default();
    let mut stack: Vec<(usize, M::State)> = Vec::new();
    let mut best: Option<(usize, Vec<usize>, usize)> = None;
    let mut at = line.first();
    loop {
        if must_end == 0 {
            return Found::Order;
        }
        let entry = (at != END).then(|| line.entries[at]);
        match entry {
            Some(Entry { is_end: false, operation, .. }) => {
                if let Some(next) = model.step(&state, &history[operation].what) {
                    taken[operation / 64] |= 1 << (operation % 64);
                    if seen.insert((Taken::of(&taken), next.clone())) {
                        if seen.len() > states_max {
                            return Found::Undecided;
                        }
                        stack.push((operation, std::mem::replace(&mut state, next)));
                        must_end -= usize::from(history[operation].end() != NEVER);
                        line.take(operation);
                        at = line.first();
                        continue;
                    }
                    taken[operation / 64] &= !(1 << (operation % 64));
                }
                at = line.entries[at].next;
            }
            // An end whose call was not taken, or the end of all: something before was wrong.
            other => {
                if let Some(Entry { operation, .. }) = other
                    && best.as_ref().is_none_or(|(depth, ..)| stack.len() > *depth)
                {
                    best = Some((stack.len(), stack.iter().map(|(taken, _)| *taken).collect(), operation));
                }
                let Some((operation, before)) = stack.pop() else {
                    let (_, explained, stuck) = best.unwrap_or_default();
                    return Found::None { explained, stuck };
                };
                state = before;
                taken[operation / 64] &= !(1 << (operation % 64));
                must_end += usize::from(history[operation].end() != NEVER);
                line.put_back(operation);
                at = line.entries[line.call_of[operation]].next;
            }
        }
    }
}

/// A set of operations, without the words at its beginning that are full and those at its end that are empty: operations
/// that were invoked early are taken early, so little is left of it.
#[derive(PartialEq, Eq, Hash)]
struct Taken {
    full: usize,
    rest: Box<[u64]>,
}

impl Taken {
    fn of(words: &[u64]) -> Self {
        let full = words.iter().take_while(|word| **word == u64::MAX).count();
        let end = words.iter().rposition(|word| *word != 0).map_or(full, |last| (last + 1).max(full));
        Self { full, rest: words[full..end].into() }
    }
}

const END: usize = usize::MAX;

#[derive(Clone, Copy)]
struct Entry {
    is_end: bool,
    operation: usize,
    next: usize,
    before: usize,
}

/// Calls and ends that are left, as a list that entries are taken out of and put back into in reverse order.
struct Line {
    /// The last entry is the head.
    entries: Vec<Entry>,
    call_of: Vec<usize>,
    end_of: Vec<usize>,
}

impl Line {
    fn new(times: &[(u64, bool, usize)], count: usize) -> Self {
        let head = times.len();
        let (mut call_of, mut end_of) = (vec![END; count], vec![END; count]);
        let mut entries = Vec::with_capacity(head + 1);
        for (place, (_, is_end, operation)) in times.iter().enumerate() {
            if *is_end { end_of[*operation] = place } else { call_of[*operation] = place }
            let next = if place + 1 < head { place + 1 } else { END };
            let before = if place == 0 { head } else { place - 1 };
            entries.push(Entry { is_end: *is_end, operation: *operation, next, before });
        }
        let first = if head == 0 { END } else { 0 };
        entries.push(Entry { is_end: false, operation: END, next: first, before: END });
        Self { entries, call_of, end_of }
    }

    fn first(&self) -> usize {
        self.entries.last().map_or(END, |head| head.next)
    }

    fn unlink(&mut self, place: usize) {
        let Entry { next, before, .. } = self.entries[place];
        self.entries[before].next = next;
        if next != END {
            self.entries[next].before = before;
        }
    }

    fn link(&mut self, place: usize) {
        let Entry { next, before, .. } = self.entries[place];
        self.entries[before].next = place;
        if next != END {
            self.entries[next].before = place;
        }
    }

    fn take(&mut self, operation: usize) {
        self.unlink(self.call_of[operation]);
        if self.end_of[operation] != END {
            self.unlink(self.end_of[operation]);
        }
    }

    fn put_back(&mut self, operation: usize) {
        if self.end_of[operation] != END {
            self.link(self.end_of[operation]);
        }
        self.link(self.call_of[operation]);
    }
}

/// An action on one of many registers.
pub type Keyed = (Key, Action);

/// Judges registers key by key: a history is linearizable if that of each key is.
#[must_use]
pub fn check_registers(history: &[Operation<Keyed>], states_max: usize) -> Verdict {
    let mut verdict = Verdict::over("registers: each key is linearizable under read, write and compare-and-set", history);
    let mut by_key: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (at, operation) in history.iter().enumerate() {
        // An unknown read says nothing.
        let says_nothing = operation.outcome != Outcome::Ok && matches!(operation.what.1, Action::Read(_));
        if operation.outcome != Outcome::Fail && !says_nothing {
            by_key.entry(operation.what.0).or_default().push(at);
        }
    }
    for (key, places) in by_key {
        let of_key: Vec<Operation<Action>> =
            places.iter().map(|at| history[*at].clone().map(|(_, action)| action)).collect();
        match search(&Register, &of_key, states_max) {
            Found::Order => {}
            Found::Undecided => {
                let what = format!("key {key}: no order of its {} operations was found within {states_max} states", places.len());
                verdict.undecided.push(what);
            }
            Found::None { explained, stuck } => verdict.anomalies.push(tell(key, &of_key, &places, &explained, stuck)),
        }
    }
    verdict
}

fn tell(key: Key, of_key: &[Operation<Action>], places: &[usize], explained: &[usize], stuck: usize) -> Anomaly {
    /// Steps of the longest order that are shown.
    const SHOWN: usize = 6;
    let line = |at: &usize| {
        let Operation { process, invoked, returned, what, .. } = &of_key[*at];
        let ended = if *returned == NEVER { "…".to_owned() } else { returned.to_string() };
        format!("process {process}, {invoked} to {ended}: {what:?}")
    };
    let mut lines = vec![format!(
        "key {key}: no order explains its {} operations; the longest that was found has {}, and ends with",
        of_key.len(),
        explained.len()
    )];
    lines.extend(explained.iter().skip(explained.len().saturating_sub(SHOWN)).map(|at| format!("  {}", line(at))));
    let state = explained.iter().try_fold(None, |state, at| Register.step(&state, &of_key[*at].what)).flatten();
    lines.push(format!("after which the register holds {state:?}, and this cannot come by its end:"));
    lines.push(format!("  {}", line(&stuck)));
    let operations = explained.iter().rev().take(SHOWN).rev().chain([&stuck]).map(|at| places[*at]).collect();
    Anomaly { name: "not linearizable", operations, evidence: lines.join("\n") }
}

/// Works operations out of events: `read` with `[key, value or null]`, `write` with `[key, value]`, `cas` with
/// `[key, [from, to]]`.
///
/// # Errors
/// When an event is none of these.
pub fn decode(events: &[Event]) -> Result<Vec<Operation<Keyed>>, Malformed> {
    history::decode(history::pair(events)?, |operation| keyed(&operation.what, operation.outcome))
}

fn keyed(call: &Call, outcome: Outcome) -> Option<Keyed> {
    let [key, asked] = call.asked.as_array()?.as_slice() else { return None };
    let answered = call.answered.as_array().and_then(|answer| answer.get(1)).unwrap_or(&Value::Null);
    Some((key.as_u64()?, action(&call.f, asked, answered, outcome)?))
}

/// An action by its name, what was asked and what came back.
#[must_use]
pub fn action(f: &str, asked: &Value, answered: &Value, outcome: Outcome) -> Option<Action> {
    let is_ok = outcome == Outcome::Ok;
    match f {
        "read" if !is_ok => Some(Action::Read(None)),
        "read" if answered.is_null() => Some(Action::Read(Some(None))),
        "read" => Some(Action::Read(Some(Some(answered.as_i64()?)))),
        "write" => Some(Action::Write(asked.as_i64()?)),
        "cas" => {
            let [from, to] = asked.as_array()?.as_slice() else { return None };
            Some(Action::CompareAndSet { from: from.as_i64()?, to: to.as_i64()?, done: is_ok.then_some(true) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operation(what: Action, invoked: u64, returned: u64) -> Operation<Action> {
        let outcome = if returned == NEVER { Outcome::Info } else { Outcome::Ok };
        Operation { process: invoked, invoked, returned, outcome, what, error: String::new() }
    }

    fn read(value: i64, invoked: u64, returned: u64) -> Operation<Action> {
        operation(Action::Read(Some(Some(value))), invoked, returned)
    }

    fn write(value: i64, invoked: u64, returned: u64) -> Operation<Action> {
        operation(Action::Write(value), invoked, returned)
    }

    fn found(history: &[Operation<Action>]) -> Found {
        search(&Register, history, STATES_MAX)
    }

    #[test]
    fn a_read_sees_the_write_that_ended_before_it_began() {
        assert_eq!(found(&[write(1, 0, 1), write(2, 2, 3), read(2, 4, 5)]), Found::Order);
        assert!(matches!(found(&[write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)]), Found::None { .. }));
        assert_eq!(found(&[write(1, 0, 1), write(2, 2, 6), read(1, 4, 5)]), Found::Order);
    }

    #[test]
    fn what_one_has_seen_the_next_does_not_see_undone() {
        let history = [write(1, 0, 1), write(2, 2, 20), read(2, 3, 4), read(1, 5, 6)];
        assert_eq!(found(&history), Found::None { explained: vec![0, 1, 2], stuck: 3 });
        assert_eq!(found(&[write(1, 0, 1), write(2, 2, 20), read(2, 3, 5), read(1, 5, 6)]), Found::Order);
    }

    #[test]
    fn an_unknown_write_takes_effect_late_or_never() {
        assert_eq!(found(&[write(1, 0, 1), write(2, 2, NEVER), read(1, 4, 5), read(1, 8, 9)]), Found::Order);
        assert_eq!(found(&[write(1, 0, 1), write(2, 2, NEVER), read(1, 4, 5), read(2, 8, 9)]), Found::Order);
        let back = [write(1, 0, 1), write(2, 2, NEVER), read(2, 4, 5), read(1, 8, 9)];
        assert!(matches!(found(&back), Found::None { .. }));
    }

    #[test]
    fn compare_and_set_binds_both_ways() {
        let cas = |done, invoked, returned| operation(Action::CompareAndSet { from: 1, to: 2, done }, invoked, returned);
        assert_eq!(found(&[write(1, 0, 1), cas(Some(true), 2, 3), read(2, 4, 5)]), Found::Order);
        assert!(matches!(found(&[write(3, 0, 1), cas(Some(true), 2, 3)]), Found::None { .. }));
        assert!(matches!(found(&[write(1, 0, 1), cas(Some(false), 2, 3)]), Found::None { .. }));
        assert_eq!(found(&[write(3, 0, 1), cas(Some(false), 2, 3), read(3, 4, 5)]), Found::Order);
    }

    #[test]
    fn a_search_that_is_given_up_is_no_pass() {
        let mut history: Vec<_> = (0..12).map(|n| write(n, 0, NEVER)).collect();
        history.extend([write(100, 1, 2), read(99, 3, 4)]);
        assert_eq!(search(&Register, &history, 1000), Found::Undecided);
        let keyed: Vec<_> = history.into_iter().map(|it| it.map(|action| (1, action))).collect();
        assert_eq!(check_registers(&keyed, 1000).ending(), crate::verdict::Ending::Undecided);
    }

    /// A serial execution whose operations are stretched until they overlap.
    fn stretched(steps: &[(u8, u8)]) -> Vec<Operation<Action>> {
        let mut state = None;
        let mut history = Vec::new();
        for (at, (what, stretch)) in (0_u64..).zip(steps) {
            let value = i64::from(*what / 3);
            let action = match what % 3 {
                0 => Action::Read(Some(state)),
                1 => Action::Write(value),
                _ => Action::CompareAndSet { from: value, to: value + 1, done: Some(state == Some(value)) },
            };
            state = Register.step(&state, &action).unwrap();
            let (moment, stretch) = (at * 10 + 100, u64::from(*stretch));
            history.push(operation(action, moment - stretch.min(100), moment + stretch));
        }
        history
    }

    proptest! {
        #[test]
        fn a_serial_execution_is_linearizable(steps in prop::collection::vec((0..15_u8, 0..40_u8), 0..60)) {
            prop_assert_eq!(found(&stretched(&steps)), Found::Order);
        }

        #[test]
        fn a_read_of_what_was_never_written_is_found(steps in prop::collection::vec((0..15_u8, 0..20_u8), 1..40), at in 0..40_usize) {
            let mut history = stretched(&steps);
            let at = at % history.len();
            history[at].what = Action::Read(Some(Some(77)));
            let is_none = matches!(found(&history), Found::None { .. });
            prop_assert!(is_none);
        }
    }
}
