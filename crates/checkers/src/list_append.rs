//! Judges histories of transactions that append unique elements to lists and read them: whether a serial order explains
//! them.
//!
//! Lists make the order of writes visible: who reads `[1, 4, 2]` shows in which order three transactions wrote. From that
//! order follow the dependencies between transactions, and a cycle among them is an anomaly by name (see
//! [`graph`](crate::graph)). Beside cycles:
//!
//! | name | what was seen |
//! | --- | --- |
//! | internal | a transaction that contradicts what it did itself before |
//! | G1a | a read of what was rolled back |
//! | G1b | a read of what its writer appended to afterwards |
//! | dirty update | a committed append on top of one that was rolled back |
//! | lost update | two transactions that read the same list and both appended to it |
//! | incompatible order | two reads of a key of which neither extends the other |
//! | duplicate elements | an element twice in a list |
//! | garbage read | an element that no transaction appended |
//! | stale read | a read that began after an append to its key was acknowledged, and lacks it |
//! | lost write | an acknowledged append that is not there in the end |
//! | torn transaction | one of unknown outcome of which a part is there in the end |
//!
//! Serializability alone allows stale reads of single keys; that they do not happen is promised beside it. Cycles that
//! only real time closes stand apart: they contradict strict serializability alone.
//!
//! What an unknown transaction wrote counts once some read has shown it. Its own reads count for nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
};

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::{
    graph::{self, Dependency, Edge},
    history::{self, Call, Event, Malformed, Operation, Outcome},
    verdict::{Anomaly, Verdict},
};

pub use crate::graph::Key;
pub type Element = u64;

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Micro {
    Append(Key, Element),
    /// The list as it was read; none when the transaction did not come that far.
    Read(Key, Option<Vec<Element>>),
}

pub type Transaction = Operation<Vec<Micro>>;

/// Judges a history. `last` holds the lists as read when all had ended, if they were.
#[must_use]
pub fn check(history: &[Transaction], last: Option<&BTreeMap<Key, Vec<Element>>>) -> Verdict {
    let mut judge = Judge::new(history, last);
    judge.internal();
    judge.orders();
    judge.reads();
    judge.stale();
    judge.lost_updates();
    judge.dirty_updates();
    judge.ends();
    let edges = judge.edges();
    let found = std::mem::take(&mut judge.found);
    graph::verdict("lists: some serial order of the transactions explains every read", history, &edges, found, |at| judge.line(at))
}

/// Works transactions out of events: `[["append", key, element], ["r", key, list or null], …]`.
///
/// # Errors
/// When an event is none of a transaction.
pub fn decode(events: &[Event]) -> Result<Vec<Transaction>, Malformed> {
    history::decode(history::pair(events)?, |operation| transaction(&operation.what))
}

fn transaction(call: &Call) -> Option<Vec<Micro>> {
    let steps = if call.answered.is_array() { &call.answered } else { &call.asked };
    steps.as_array()?.iter().map(micro).collect()
}

fn micro(step: &Value) -> Option<Micro> {
    let [f, key, value] = step.as_array()?.as_slice() else { return None };
    let key = key.as_u64()?;
    match f.as_str()? {
        "append" => Some(Micro::Append(key, value.as_u64()?)),
        "r" if value.is_null() => Some(Micro::Read(key, None)),
        "r" => Some(Micro::Read(key, Some(value.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?))),
        _ => None,
    }
}

/// A committed transaction's read, with its own appends cut off the end.
struct OuterRead {
    reader: usize,
    key: Key,
    list: Vec<Element>,
}

struct Judge<'h> {
    history: &'h [Transaction],
    last: Option<&'h BTreeMap<Key, Vec<Element>>>,
    /// Who appended an element, and whether it was that transaction's last to the key.
    writers: FxHashMap<(Key, Element), (usize, bool)>,
    outer: Vec<OuterRead>,
    /// The longest list seen of each key.
    order: BTreeMap<Key, Vec<Element>>,
    found: Vec<Anomaly>,
}

fn shown(list: &[Element]) -> String {
    // A long list differs from another at its end.
    const MAX: usize = 12;
    let skipped = list.len().saturating_sub(MAX);
    let tail: Vec<String> = list[skipped..].iter().map(u64::to_string).collect();
    if skipped == 0 { format!("[{}]", tail.join(" ")) } else { format!("[… {skipped} more … {}]", tail.join(" ")) }
}

impl<'h> Judge<'h> {
    fn new(history: &'h [Transaction], last: Option<&'h BTreeMap<Key, Vec<Element>>>) -> Self {
        let mut writers = FxHashMap::default();
        let mut outer = Vec::new();
        for (at, transaction) in history.iter().enumerate() {
            let mut final_of: HashMap<Key, Element> = HashMap::new();
            for step in &transaction.what {
                if let Micro::Append(key, element) = step {
                    final_of.insert(*key, *element);
                }
            }
            let mut own: HashMap<Key, usize> = HashMap::new();
            for step in &transaction.what {
                match step {
                    Micro::Append(key, element) => {
                        writers.insert((*key, *element), (at, final_of[key] == *element));
                        *own.entry(*key).or_default() += 1;
                    }
                    Micro::Read(key, Some(list)) if transaction.outcome == Outcome::Ok => {
                        let cut = list.len().saturating_sub(own.get(key).copied().unwrap_or(0));
                        outer.push(OuterRead { reader: at, key: *key, list: list[..cut].to_vec() });
                    }
                    Micro::Read(..) => {}
                }
            }
        }
        Self { history, last, writers, outer, order: last.cloned().unwrap_or_default(), found: Vec::new() }
    }

    fn note(&mut self, name: &'static str, operations: Vec<usize>, what: String) {
        let mut evidence = what;
        for at in &operations {
            // Writing to a string does not fail.
            let _ = write!(evidence, "\n  {}", self.line(*at));
        }
        self.found.push(Anomaly { name, operations, evidence });
    }

    /// A transaction on one line.
    fn line(&self, at: usize) -> String {
        let Operation { process, invoked, returned, outcome, what, error } = &self.history[at];
        let steps: Vec<String> = what
            .iter()
            .map(|step| match step {
                Micro::Append(key, element) => format!("append {key} {element}"),
                Micro::Read(key, Some(list)) => format!("read {key} {}", shown(list)),
                Micro::Read(key, None) => format!("read {key} ?"),
            })
            .collect();
        let ended = if *returned == history::NEVER { "…".to_owned() } else { returned.to_string() };
        let told = if error.is_empty() { String::new() } else { format!(" ({error})") };
        format!("T{at} {outcome:?}, process {process}, {invoked} to {ended}: {}{told}", steps.join(", "))
    }

    fn internal(&mut self) {
        enum Known {
            Whole(Vec<Element>),
            Tail(Vec<Element>),
        }
        for (at, transaction) in self.history.iter().enumerate() {
            if transaction.outcome != Outcome::Ok {
                continue;
            }
            let mut known: HashMap<Key, Known> = HashMap::new();
            for step in &transaction.what {
                match step {
                    Micro::Append(key, element) => match known.entry(*key).or_insert(Known::Tail(Vec::new())) {
                        Known::Whole(list) | Known::Tail(list) => list.push(*element),
                    },
                    Micro::Read(key, Some(list)) => {
                        let holds = match known.get(key) {
                            Some(Known::Whole(whole)) => list == whole,
                            Some(Known::Tail(tail)) => list.ends_with(tail),
                            // Nothing of its own that is yet to come.
                            None => list.iter().all(|it| self.writers.get(&(*key, *it)).is_none_or(|(by, _)| *by != at)),
                        };
                        if !holds {
                            let what = format!("T{at} read {} of key {key} against what it did before", shown(list));
                            self.note("internal", vec![at], what);
                        }
                        known.insert(*key, Known::Whole(list.clone()));
                    }
                    Micro::Read(_, None) => {}
                }
            }
        }
    }

    fn orders(&mut self) {
        let outer = std::mem::take(&mut self.outer);
        for OuterRead { reader, key, list } in &outer {
            if let Some(twice) = twice(list) {
                let what = format!("{twice} is twice in key {key}: {}", shown(list));
                self.note("duplicate elements", vec![*reader], what);
            }
            let known = self.order.entry(*key).or_default();
            let (short, long) = if list.len() > known.len() { (&*known, list) } else { (list, &*known) };
            if !long.starts_with(short) {
                let what = format!("key {key} was {} and {}", shown(short), shown(long));
                if list.len() > known.len() {
                    known.clone_from(list);
                }
                self.note("incompatible order", vec![*reader], what);
            } else if list.len() > known.len() {
                known.clone_from(list);
            }
        }
        self.outer = outer;
        for (key, list) in self.last.into_iter().flatten() {
            if let Some(twice) = twice(list) {
                let what = format!("{twice} is twice in key {key} in the end: {}", shown(list));
                self.note("duplicate elements", Vec::new(), what);
            }
        }
    }

    fn reads(&mut self) {
        let outer = std::mem::take(&mut self.outer);
        for OuterRead { reader, key, list } in &outer {
            for element in list {
                match self.writers.get(&(*key, *element)) {
                    None => {
                        let what = format!("T{reader} read {element} in key {key}, which no transaction appended");
                        self.note("garbage read", vec![*reader], what);
                    }
                    Some((writer, _)) if self.history[*writer].outcome == Outcome::Fail => {
                        let writer = *writer;
                        let what = format!("T{reader} read {element} in key {key}, which T{writer} rolled back");
                        self.note("G1a", vec![*reader, writer], what);
                    }
                    Some(_) => {}
                }
            }
            if let Some(element) = list.last()
                && let Some((writer, is_last)) = self.writers.get(&(*key, *element)).copied()
                && !is_last
                && writer != *reader
            {
                let what = format!("T{reader} read key {key} up to {element}, after which T{writer} appended more");
                self.note("G1b", vec![*reader, writer], what);
            }
        }
        self.outer = outer;
    }

    /// A read that began after an append to the key was acknowledged has it.
    fn stale(&mut self) {
        let mut appends: HashMap<Key, Vec<(usize, Element)>> = HashMap::new();
        for (at, transaction) in self.history.iter().enumerate().filter(|(_, it)| it.outcome == Outcome::Ok) {
            for step in &transaction.what {
                if let Micro::Append(key, element) = step {
                    appends.entry(*key).or_default().push((at, *element));
                }
            }
        }
        let outer = std::mem::take(&mut self.outer);
        for OuterRead { reader, key, list } in &outer {
            let seen: HashSet<Element> = list.iter().copied().collect();
            let missed = appends.get(key).into_iter().flatten().find(|(writer, element)| {
                self.history[*writer].precedes(&self.history[*reader]) && !seen.contains(element)
            });
            if let Some((writer, element)) = missed {
                let what = format!("T{reader} read key {key} without {element}, which T{writer} had appended before");
                self.note("stale read", vec![*reader, *writer], what);
            }
        }
        self.outer = outer;
    }

    fn lost_updates(&mut self) {
        let mut by_version: BTreeMap<(Key, Option<Element>), Vec<usize>> = BTreeMap::new();
        for read in &self.outer {
            let appends = |step: &Micro| matches!(step, Micro::Append(key, _) if *key == read.key);
            if self.history[read.reader].what.iter().any(appends) {
                let readers = by_version.entry((read.key, read.list.last().copied())).or_default();
                if readers.last() != Some(&read.reader) {
                    readers.push(read.reader);
                }
            }
        }
        for ((key, version), readers) in by_version {
            if readers.len() > 1 {
                let version = version.map_or_else(|| "empty".to_owned(), |element| format!("up to {element}"));
                let what = format!("{} transactions read key {key} {version} and appended to it", readers.len());
                self.note("lost update", readers, what);
            }
        }
    }

    fn dirty_updates(&mut self) {
        for (key, list) in self.order.clone() {
            let mut rolled_back = None;
            for element in &list {
                let Some((writer, _)) = self.writers.get(&(key, *element)).copied() else { continue };
                match (self.history[writer].outcome, rolled_back) {
                    (Outcome::Fail, None) => rolled_back = Some((writer, *element)),
                    (Outcome::Ok, Some((failed, under))) => {
                        let what = format!("in key {key}, {element} lies on top of {under}, which was rolled back");
                        self.note("dirty update", vec![writer, failed], what);
                        break;
                    }
                    _ => {}
                }
            }
        }
    }

    /// What was acknowledged is there; what is there is there wholly.
    fn ends(&mut self) {
        let Some(last) = self.last else { return };
        let there = |key: &Key, element: &Element| last.get(key).is_some_and(|list| list.contains(element));
        for (at, transaction) in self.history.iter().enumerate() {
            let appends = transaction.what.iter().filter_map(|step| match step {
                Micro::Append(key, element) => Some((key, element)),
                Micro::Read(..) => None,
            });
            let (present, missing): (Vec<_>, Vec<_>) = appends.partition(|(key, element)| there(key, element));
            match (transaction.outcome, present.first(), missing.first()) {
                (Outcome::Ok, _, Some((key, element))) => {
                    let what = format!("{element} was appended to key {key} and acknowledged, and is not there in the end");
                    self.note("lost write", vec![at], what);
                }
                (Outcome::Fail, Some((key, element)), _) => {
                    let what = format!("{element} is in key {key} in the end, though T{at} was rolled back");
                    self.note("G1a", vec![at], what);
                }
                (Outcome::Info, Some((key, element)), Some((other, missing))) => {
                    let what = format!("{element} is in key {key} in the end, {missing} is not in key {other}");
                    self.note("torn transaction", vec![at], what);
                }
                (Outcome::Ok | Outcome::Fail | Outcome::Info, ..) => {}
            }
        }
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let writer = |key: Key, element: Element| self.writers.get(&(key, element)).map(|(at, _)| *at);
        let mut add = |from: Option<usize>, to: Option<usize>, kind, key, before, after| {
            if let (Some(from), Some(to)) = (from, to)
                && from != to
            {
                edges.push(Edge { from, to, kind, key, before, after });
            }
        };
        // Acknowledged and in no list: after all that was read, for lists only grow.
        let mut unseen: HashMap<Key, Vec<(usize, Element)>> = HashMap::new();
        for ((key, element), (at, _)) in &self.writers {
            let is_seen = || self.order.get(key).is_some_and(|order| order.contains(element));
            if self.last.is_none() && self.history[*at].outcome == Outcome::Ok && !is_seen() {
                unseen.entry(*key).or_default().push((*at, *element));
            }
        }
        for (key, list) in &self.order {
            for pair in list.windows(2) {
                let (from, to) = (writer(*key, pair[0]), writer(*key, pair[1]));
                add(from, to, Dependency::Ww, *key, Some(pair[0]), Some(pair[1]));
            }
        }
        for (key, after) in &unseen {
            let end = self.order.get(key).and_then(|order| order.last()).copied();
            for (to, element) in after {
                let from = end.and_then(|end| writer(*key, end));
                add(from, Some(*to), Dependency::Ww, *key, end, Some(*element));
            }
        }
        for OuterRead { reader, key, list } in &self.outer {
            let read = list.last().copied();
            let from = read.and_then(|element| writer(*key, element));
            add(from, Some(*reader), Dependency::Wr, *key, read, read);
            match self.order.get(key).and_then(|order| order.get(list.len())) {
                Some(next) => add(Some(*reader), writer(*key, *next), Dependency::Rw, *key, read, Some(*next)),
                None => {
                    for (to, element) in unseen.get(key).into_iter().flatten() {
                        add(Some(*reader), Some(*to), Dependency::Rw, *key, read, Some(*element));
                    }
                }
            }
        }
        edges
    }
}

fn twice(list: &[Element]) -> Option<Element> {
    let mut seen = HashSet::with_capacity(list.len());
    list.iter().find(|element| !seen.insert(**element)).copied()
}

#[cfg(test)]
mod tests;
