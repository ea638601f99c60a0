//! Judges histories of transactions that read registers and write unique values to them.
//!
//! A read shows who wrote what it returned, but not which versions came before: the order of a key's versions is only
//! known in part, from
//!
//! - the initial version, which comes before all;
//! - a transaction that read one version and wrote another: the first came before (unless it wrote blindly in between);
//! - real time, where single keys are promised to be linearizable ([`Options::linearizable_keys`]).
//!
//! Of two versions of which one is known to come before the other, their writers are ordered (ww), and so are a reader of
//! the first and the writer of the second (rw). A cycle among versions of one key is an anomaly by itself; from such a key
//! no further dependencies are drawn.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
};

use serde_json::Value;

use crate::{
    graph::{self, Dependency, Edge, Key},
    history::{self, Call, Event, Malformed, Operation, Outcome},
    verdict::{Anomaly, Verdict},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Micro {
    Write(Key, u64),
    /// What was read, where the initial version is none; nothing when the transaction did not come that far.
    Read(Key, Option<Option<u64>>),
}

pub type Transaction = Operation<Vec<Micro>>;

/// What may be taken for granted of the order of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Operations on one key take effect between their invocation and their end.
    pub linearizable_keys: bool,
}

/// Judges a history.
#[must_use]
pub fn check(history: &[Transaction], options: Options) -> Verdict {
    let mut judge = Judge::new(history, options);
    judge.internal();
    judge.reads();
    judge.lost_updates();
    let edges = judge.edges();
    let found = std::mem::take(&mut judge.found);
    graph::verdict("registers: some serial order of the transactions explains every read", history, &edges, found, |at| judge.line(at))
}

/// Works transactions out of events: `[["w", key, value], ["r", key, value or null], …]`.
///
/// # Errors
/// When an event is none of a transaction.
pub fn decode(events: &[Event]) -> Result<Vec<Transaction>, Malformed> {
    history::decode(history::pair(events)?, |operation| transaction(&operation.what, operation.outcome))
}

fn transaction(call: &Call, outcome: Outcome) -> Option<Vec<Micro>> {
    let is_answered = outcome == Outcome::Ok && call.answered.is_array();
    let steps = if is_answered { &call.answered } else { &call.asked };
    steps.as_array()?.iter().map(|step| micro(step, is_answered)).collect()
}

fn micro(step: &Value, is_answered: bool) -> Option<Micro> {
    let [f, key, value] = step.as_array()?.as_slice() else { return None };
    let key = key.as_u64()?;
    match f.as_str()? {
        "w" => Some(Micro::Write(key, value.as_u64()?)),
        "r" if !is_answered => Some(Micro::Read(key, None)),
        "r" if value.is_null() => Some(Micro::Read(key, Some(None))),
        "r" => Some(Micro::Read(key, Some(Some(value.as_u64()?)))),
        _ => None,
    }
}

/// What a committed transaction did to a key: the version it found, if it read one, and the one it left.
#[derive(Clone, Copy, Default)]
struct Touch {
    found: Option<Option<u64>>,
    left: Option<u64>,
}

struct Judge<'h> {
    history: &'h [Transaction],
    options: Options,
    /// Who wrote a value, and whether it was that transaction's last to the key.
    writers: HashMap<(Key, u64), (usize, bool)>,
    touches: BTreeMap<Key, Vec<(usize, Touch)>>,
    found: Vec<Anomaly>,
}

impl<'h> Judge<'h> {
    fn new(history: &'h [Transaction], options: Options) -> Self {
        let mut writers = HashMap::new();
        let mut touches: BTreeMap<Key, Vec<(usize, Touch)>> = BTreeMap::new();
        for (at, transaction) in history.iter().enumerate() {
            let mut of: BTreeMap<Key, Touch> = BTreeMap::new();
            for step in &transaction.what {
                match step {
                    Micro::Write(key, value) => of.entry(*key).or_default().left = Some(*value),
                    Micro::Read(key, Some(value)) => {
                        let touch = of.entry(*key).or_default();
                        if touch.left.is_none() && touch.found.is_none() {
                            touch.found = Some(*value);
                        }
                    }
                    Micro::Read(_, None) => {}
                }
            }
            for step in &transaction.what {
                if let Micro::Write(key, value) = step {
                    writers.insert((*key, *value), (at, of[key].left == Some(*value)));
                }
            }
            if transaction.outcome == Outcome::Ok {
                for (key, touch) in of {
                    touches.entry(key).or_default().push((at, touch));
                }
            }
        }
        Self { history, options, writers, touches, found: Vec::new() }
    }

    fn line(&self, at: usize) -> String {
        let Operation { process, outcome, what, .. } = &self.history[at];
        let steps: Vec<String> = what
            .iter()
            .map(|step| match step {
                Micro::Write(key, value) => format!("write {key} {value}"),
                Micro::Read(key, Some(Some(value))) => format!("read {key} {value}"),
                Micro::Read(key, Some(None)) => format!("read {key} nothing"),
                Micro::Read(key, None) => format!("read {key} ?"),
            })
            .collect();
        format!("T{at} {outcome:?}, process {process}: {}", steps.join(", "))
    }

    fn note(&mut self, name: &'static str, operations: Vec<usize>, what: String) {
        let mut evidence = what;
        for at in &operations {
            // Writing to a string does not fail.
            let _ = write!(evidence, "\n  {}", self.line(*at));
        }
        self.found.push(Anomaly { name, operations, evidence });
    }

    fn internal(&mut self) {
        for (at, transaction) in self.history.iter().enumerate().filter(|(_, it)| it.outcome == Outcome::Ok) {
            let mut known: HashMap<Key, Option<u64>> = HashMap::new();
            for step in &transaction.what {
                match step {
                    Micro::Write(key, value) => {
                        known.insert(*key, Some(*value));
                    }
                    Micro::Read(key, Some(value)) => {
                        if known.insert(*key, *value).is_some_and(|before| before != *value) {
                            self.note("internal", vec![at], format!("T{at} read key {key} against what it did before"));
                        }
                    }
                    Micro::Read(_, None) => {}
                }
            }
        }
    }

    fn reads(&mut self) {
        let reads: Vec<(usize, Key, u64)> = self
            .touches
            .iter()
            .flat_map(|(key, touches)| touches.iter().filter_map(move |(at, it)| Some((*at, *key, it.found??))))
            .collect();
        for (reader, key, value) in reads {
            match self.writers.get(&(key, value)).copied() {
                None => {
                    let what = format!("T{reader} read {value} of key {key}, which no transaction wrote");
                    self.note("garbage read", vec![reader], what);
                }
                Some((writer, _)) if self.history[writer].outcome == Outcome::Fail => {
                    let what = format!("T{reader} read {value} of key {key}, which T{writer} rolled back");
                    self.note("G1a", vec![reader, writer], what);
                }
                Some((writer, false)) if writer != reader => {
                    let what = format!("T{reader} read {value} of key {key}, over which T{writer} wrote another");
                    self.note("G1b", vec![reader, writer], what);
                }
                Some((writer, _)) if writer == reader => {
                    let what = format!("T{reader} read {value} of key {key} before it wrote it");
                    self.note("internal", vec![reader], what);
                }
                Some(_) => {}
            }
        }
    }

    fn lost_updates(&mut self) {
        let mut by_version: BTreeMap<(Key, Option<u64>), Vec<usize>> = BTreeMap::new();
        for (key, touches) in &self.touches {
            for (at, touch) in touches {
                if let (Some(found), Some(_)) = (touch.found, touch.left) {
                    by_version.entry((*key, found)).or_default().push(*at);
                }
            }
        }
        for ((key, version), writers) in by_version {
            if writers.len() > 1 {
                let version = version.map_or_else(|| "the initial version".to_owned(), |value| value.to_string());
                let what = format!("{} transactions read {version} of key {key} and wrote over it", writers.len());
                self.note("lost update", writers, what);
            }
        }
    }

    /// Pairs of versions of a key of which the first comes before the second.
    fn versions(&self, key: Key, touches: &[(usize, Touch)]) -> HashSet<(Option<u64>, u64)> {
        let mut pairs = HashSet::new();
        let mut values: HashSet<u64> = touches.iter().flat_map(|(_, it)| it.found.flatten().into_iter().chain(it.left)).collect();
        for (_, touch) in touches {
            if let (Some(found), Some(left)) = (touch.found, touch.left) {
                pairs.insert((found, left));
            }
        }
        for transaction in self.history.iter().filter(|it| it.outcome == Outcome::Ok) {
            let written = transaction.what.iter().filter_map(|step| match step {
                Micro::Write(of, value) if *of == key => Some(*value),
                Micro::Write(..) | Micro::Read(..) => None,
            });
            let written: Vec<u64> = written.collect();
            pairs.extend(written.windows(2).map(|pair| (Some(pair[0]), pair[1])));
            values.extend(written);
        }
        if self.options.linearizable_keys {
            let times: Vec<(usize, u64, u64)> = touches
                .iter()
                .enumerate()
                .map(|(place, (at, _))| (place, self.history[*at].invoked, self.history[*at].end()))
                .collect();
            for (before, after) in graph::realtime_pairs(&times) {
                let (before, after) = (touches[before].1, touches[after].1);
                let known = before.left.map(Some).or(before.found);
                let next = after.found.or(after.left.map(Some));
                if let (Some(known), Some(Some(next))) = (known, next)
                    && known != Some(next)
                {
                    pairs.insert((known, next));
                }
                // A version and then none: the initial one came back.
                if let (Some(Some(known)), Some(None)) = (known, next) {
                    pairs.insert((Some(known), known));
                }
            }
        }
        // Others than the first follow the initial version through them.
        let after: HashSet<u64> = pairs.iter().filter(|(before, _)| before.is_some()).map(|(_, after)| *after).collect();
        pairs.extend(values.into_iter().filter(|value| !after.contains(value)).map(|value| (None, value)));
        pairs
    }

    fn edges(&mut self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let all = std::mem::take(&mut self.touches);
        for (key, touches) in &all {
            let key = *key;
            let writer = |value: u64| self.writers.get(&(key, value)).map(|(at, _)| *at);
            let mut readers: HashMap<Option<u64>, Vec<usize>> = HashMap::new();
            for (at, touch) in touches {
                if let Some(found) = touch.found {
                    readers.entry(found).or_default().push(*at);
                    if let Some(from) = found.and_then(writer).filter(|from| from != at) {
                        edges.push(Edge { from, to: *at, kind: Dependency::Wr, key, before: found, after: found });
                    }
                }
            }
            let pairs = self.versions(key, touches);
            if let Some(circle) = circle_of(&pairs) {
                let shown: Vec<String> = circle.iter().map(u64::to_string).collect();
                let what = format!("versions of key {key} come each before the next and the last before the first: {}", shown.join(", "));
                let writers = circle.iter().filter_map(|value| self.writers.get(&(key, *value)).map(|(at, _)| *at)).collect();
                self.note("cyclic versions", writers, what);
                continue;
            }
            for (before, after) in pairs {
                let Some(to) = writer(after) else { continue };
                if let Some(from) = before.and_then(writer).filter(|from| *from != to) {
                    edges.push(Edge { from, to, kind: Dependency::Ww, key, before, after: Some(after) });
                }
                for from in readers.get(&before).into_iter().flatten().filter(|from| **from != to) {
                    edges.push(Edge { from: *from, to, kind: Dependency::Rw, key, before, after: Some(after) });
                }
            }
        }
        self.touches = all;
        edges
    }
}

/// Versions that lie on a cycle, if any do.
fn circle_of(pairs: &HashSet<(Option<u64>, u64)>) -> Option<Vec<u64>> {
    let mut place: HashMap<u64, usize> = HashMap::new();
    let mut values = Vec::new();
    let mut edges = Vec::new();
    for (before, after) in pairs.iter().filter_map(|(before, after)| Some(((*before)?, *after))) {
        if before == after {
            return Some(vec![before]);
        }
        let mut of = |value: u64| {
            *place.entry(value).or_insert_with(|| {
                values.push(value);
                values.len() - 1
            })
        };
        let (from, to) = (of(before), of(after));
        edges.push(Edge { from, to, kind: Dependency::Ww, key: 0, before: None, after: None });
    }
    let cycle = graph::cycles(values.len(), &edges).into_iter().next()?;
    Some(cycle.edges.iter().map(|edge| values[edge.from]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written as `w1:2 r1:2 r1:` (the last read nothing); one after the other unless all overlap.
    fn history(texts: &[&str], in_turn: bool) -> Vec<Transaction> {
        let one = |(at, text): (usize, &&str)| {
            let (outcome, text) = match text.strip_prefix('!') {
                Some(rest) => (Outcome::Fail, rest),
                None => (Outcome::Ok, *text),
            };
            let what = text.split_whitespace().map(|word| {
                let (key, value) = word[1..].split_once(':').unwrap();
                let (key, value) = (key.parse().unwrap(), value.parse().ok());
                if word.starts_with('w') { Micro::Write(key, value.unwrap()) } else { Micro::Read(key, Some(value)) }
            });
            let at = at as u64;
            let (invoked, returned) = if in_turn { (at * 2, at * 2 + 1) } else { (0, 100) };
            Operation { process: at, invoked, returned, outcome, what: what.collect(), error: String::new() }
        };
        texts.iter().enumerate().map(one).collect()
    }

    const PLAIN: Options = Options { linearizable_keys: false };
    const LINEAR: Options = Options { linearizable_keys: true };

    fn names(texts: &[&str]) -> Vec<&'static str> {
        check(&history(texts, false), PLAIN).names()
    }

    #[test]
    fn each_anomaly_and_a_near_history_without() {
        assert_eq!(names(&["w1:1 w2:1", "r1:1 r2:1"]), [""; 0]);
        assert_eq!(names(&["!w1:1", "r1:1"]), ["G1a"]);
        assert_eq!(names(&["!w1:1", "r1:"]), [""; 0]);
        assert_eq!(names(&["w1:1 w1:2", "r1:1"]), ["G-single", "G1b"]);
        assert_eq!(names(&["w1:1 w1:2", "r1:2"]), [""; 0]);
        assert_eq!(names(&["w1:1 r1:2"]), ["internal"]);
        assert_eq!(names(&["w1:1 r2:1", "w2:1 r1:1"]), ["G1c"]);
        assert_eq!(names(&["w1:1 w2:1", "r1:1 r2:"]), ["G-single"]);
        assert_eq!(names(&["w1:1 w2:1", "r1: r2:"]), [""; 0]);
        assert_eq!(names(&["r1: w2:1", "r2: w1:1"]), ["G2-item"]);
        assert_eq!(names(&["r1: w2:1", "r2:1 w1:1"]), [""; 0]);
        assert!(names(&["r1: w1:1", "r1: w1:2"]).contains(&"lost update"));
        assert_eq!(names(&["r1: w1:1", "r1:1 w1:2"]), [""; 0]);
        assert_eq!(names(&["r1:9"]), ["garbage read"]);
        assert!(names(&["r1:2 w1:1", "r1:1 w1:2"]).contains(&"cyclic versions"));
    }

    #[test]
    fn real_time_orders_versions_only_where_keys_are_linearizable() {
        let texts = ["w1:1", "w1:2", "r1:1", "r1:2"];
        assert_eq!(check(&history(&texts, true), LINEAR).names(), ["cyclic versions"]);
        assert_eq!(check(&history(&texts, true), PLAIN).names(), [""; 0]);
        assert_eq!(check(&history(&["w1:1", "r1:"], true), LINEAR).names(), ["cyclic versions"]);
        assert_eq!(check(&history(&["w1:1", "w1:2", "r1:2"], true), LINEAR).names(), [""; 0]);
    }
}
