//! Judges histories of transactions that append to lists and read them: whether some serial order explains them.
//!
//! Lists make the order of writes visible: who reads `[1, 4, 2]` tells in which order three transactions wrote. From
//! that order follow the dependencies between transactions, and a circle among them is an anomaly with a name:
//!
//! ```text
//! ww  A appended x, B appended the next element           circle of ww alone          G0   dirty write
//! wr  A appended the last element that B read             ww and wr                   G1c  circular information flow
//! rw  A read a list to which B appended the next element  with one rw                 G-single  lost update, read skew
//!                                                         with more                   G2   write skew
//! ```
//!
//! Beside circles: a read of what was rolled back (G1a), of what its writer overwrote itself (G1b), lists that do not
//! extend one another, an acknowledged append that is nowhere (lost), a transaction half there (torn), a read that
//! misses what was acknowledged before it began (stale).
//!
//! Serializability alone allows stale reads; that a key's acknowledged append is seen by whoever begins later is a
//! promise of this database beyond it.

use std::collections::{BTreeMap, HashMap, HashSet};

pub type Key = u32;
pub type Element = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Append(Key, Element),
    Read(Key, Vec<Element>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// It certainly wrote nothing.
    Aborted,
    /// Nobody told: it may have committed, then or later.
    Unknown,
}

/// A transaction as its client saw it.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub ops: Vec<Op>,
    pub outcome: Outcome,
    /// When it was begun and when its end was known, on one clock for the whole history.
    pub began: u64,
    pub ended: u64,
    /// The error its client got, for whoever looks for the cause of an anomaly.
    pub told: String,
}

/// What is wrong with a history, each with the transactions (by position) that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// A circle of dependencies; `kind` is G0, G1c, G-single or G2.
    Circle { kind: &'static str, edges: Vec<Edge> },
    AbortedRead { reader: usize, key: Key, element: Element },
    IntermediateRead { reader: usize, key: Key, element: Element },
    /// Two reads of a key of which neither extends the other, or an element twice.
    Incompatible { key: Key, one: Vec<Element>, other: Vec<Element> },
    /// A transaction did not see what it wrote itself.
    Internal { txn: usize, key: Key },
    Lost { txn: usize, key: Key, element: Element },
    Torn { txn: usize, there: Element, missing: Element },
    Stale { reader: usize, writer: usize, key: Key, element: Element },
    /// Read, but nobody appended it.
    Garbage { reader: usize, key: Key, element: Element },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub kind: Dependency,
    pub key: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// Write, write.
    Ww,
    /// Write, read.
    Wr,
    /// Read, write: the reader did not see the write.
    Rw,
}

impl Anomaly {
    /// One line for its kind, and the transactions that show it.
    #[must_use]
    pub fn tell(&self, history: &[Transaction]) -> String {
        use std::fmt::Write;
        let shown: Vec<usize> = match self {
            Self::Circle { edges, .. } => edges.iter().map(|edge| edge.from).collect(),
            Self::AbortedRead { reader, .. } | Self::IntermediateRead { reader, .. } | Self::Garbage { reader, .. } => {
                vec![*reader]
            }
            Self::Incompatible { .. } => Vec::new(),
            Self::Internal { txn, .. } | Self::Lost { txn, .. } | Self::Torn { txn, .. } => vec![*txn],
            Self::Stale { reader, writer, .. } => vec![*reader, *writer],
        };
        let mut text = format!("lists: {self:?}");
        for txn in shown {
            // Writing to a string does not fail.
            let _ = write!(text, "\n    {txn}: {:?}", history[txn]);
        }
        text
    }
}

/// Judges a history. `last` holds the lists as read after everything had ended.
#[must_use]
pub fn check(history: &[Transaction], last: &BTreeMap<Key, Vec<Element>>) -> Vec<Anomaly> {
    let mut judge = Judge::new(history, last);
    judge.own_reads();
    judge.orders();
    judge.reads();
    judge.writes();
    judge.circles();
    judge.found
}

struct Judge<'h> {
    history: &'h [Transaction],
    last: &'h BTreeMap<Key, Vec<Element>>,
    /// Who appended an element, and whether it was that transaction's last to the key.
    writers: HashMap<(Key, Element), (usize, bool)>,
    /// The longest list seen of each key.
    order: BTreeMap<Key, Vec<Element>>,
    found: Vec<Anomaly>,
}

impl<'h> Judge<'h> {
    fn new(history: &'h [Transaction], last: &'h BTreeMap<Key, Vec<Element>>) -> Self {
        let mut writers = HashMap::new();
        for (txn, transaction) in history.iter().enumerate() {
            let mut final_of: HashMap<Key, Element> = HashMap::new();
            for op in &transaction.ops {
                if let Op::Append(key, element) = op {
                    final_of.insert(*key, *element);
                }
            }
            for op in &transaction.ops {
                if let Op::Append(key, element) = op {
                    writers.insert((*key, *element), (txn, final_of[key] == *element));
                }
            }
        }
        Self { history, last, writers, order: last.clone(), found: Vec::new() }
    }

    /// Reads of others' transactions: the list with the reader's own appends cut off.
    fn outer_reads(&self) -> Vec<(usize, Key, Vec<Element>)> {
        let mut reads = Vec::new();
        for (txn, transaction) in self.history.iter().enumerate() {
            if transaction.outcome != Outcome::Committed {
                continue;
            }
            let mut own: HashMap<Key, usize> = HashMap::new();
            for op in &transaction.ops {
                match op {
                    Op::Append(key, _) => *own.entry(*key).or_default() += 1,
                    Op::Read(key, list) => {
                        let cut = list.len().saturating_sub(own.get(key).copied().unwrap_or(0));
                        reads.push((txn, *key, list[..cut].to_vec()));
                    }
                }
            }
        }
        reads
    }

    fn own_reads(&mut self) {
        for (txn, transaction) in self.history.iter().enumerate() {
            if transaction.outcome != Outcome::Committed {
                continue;
            }
            let mut own: HashMap<Key, Vec<Element>> = HashMap::new();
            for op in &transaction.ops {
                match op {
                    Op::Append(key, element) => own.entry(*key).or_default().push(*element),
                    Op::Read(key, list) => {
                        if own.get(key).is_some_and(|own| !list.ends_with(own)) {
                            self.found.push(Anomaly::Internal { txn, key: *key });
                        }
                    }
                }
            }
        }
    }

    fn orders(&mut self) {
        for (_, key, list) in self.outer_reads() {
            let known = self.order.entry(key).or_default();
            let (short, long) = if list.len() > known.len() { (&*known, &list) } else { (&list, &*known) };
            if !long.starts_with(short) {
                self.found.push(Anomaly::Incompatible { key, one: short.clone(), other: long.clone() });
            }
            if list.len() > known.len() {
                *known = list;
            }
        }
        for (key, list) in &self.order {
            if list.iter().collect::<HashSet<_>>().len() != list.len() {
                self.found.push(Anomaly::Incompatible { key: *key, one: list.clone(), other: list.clone() });
            }
        }
    }

    fn reads(&mut self) {
        for (reader, key, list) in self.outer_reads() {
            for element in &list {
                match self.writers.get(&(key, *element)) {
                    None => self.found.push(Anomaly::Garbage { reader, key, element: *element }),
                    Some((writer, _)) if self.history[*writer].outcome == Outcome::Aborted => {
                        self.found.push(Anomaly::AbortedRead { reader, key, element: *element });
                    }
                    Some(_) => {}
                }
            }
            if let Some(element) = list.last()
                && self.writers.get(&(key, *element)).is_some_and(|(writer, is_last)| !is_last && *writer != reader)
            {
                self.found.push(Anomaly::IntermediateRead { reader, key, element: *element });
            }
        }
        self.stale();
    }

    /// A read that began after an append to the key was acknowledged has it.
    fn stale(&mut self) {
        let mut appends: HashMap<Key, Vec<(u64, usize, Element)>> = HashMap::new();
        for (txn, transaction) in self.history.iter().enumerate() {
            if transaction.outcome == Outcome::Committed {
                for op in &transaction.ops {
                    if let Op::Append(key, element) = op {
                        appends.entry(*key).or_default().push((transaction.ended, txn, *element));
                    }
                }
            }
        }
        for (reader, key, list) in self.outer_reads() {
            let seen: HashSet<Element> = list.iter().copied().collect();
            let began = self.history[reader].began;
            let missed = appends.get(&key).into_iter().flatten().find(|(ended, writer, element)| {
                *ended < began && *writer != reader && !seen.contains(element)
            });
            if let Some((_, writer, element)) = missed {
                self.found.push(Anomaly::Stale { reader, writer: *writer, key, element: *element });
            }
        }
    }

    /// What was acknowledged is there; what is there is there wholly.
    fn writes(&mut self) {
        let there = |key: &Key, element: &Element| self.last.get(key).is_some_and(|list| list.contains(element));
        for (txn, transaction) in self.history.iter().enumerate() {
            let appends = transaction.ops.iter().filter_map(|op| match op {
                Op::Append(key, element) => Some((key, element)),
                Op::Read(..) => None,
            });
            let (present, missing): (Vec<_>, Vec<_>) = appends.partition(|(key, element)| there(key, element));
            match (transaction.outcome, present.first(), missing.first()) {
                (Outcome::Committed, _, Some((key, element))) => {
                    self.found.push(Anomaly::Lost { txn, key: **key, element: **element });
                }
                (Outcome::Aborted, Some((key, element)), _) => {
                    self.found.push(Anomaly::AbortedRead { reader: txn, key: **key, element: **element });
                }
                (Outcome::Unknown, Some((_, there)), Some((_, missing))) => {
                    self.found.push(Anomaly::Torn { txn, there: **there, missing: **missing });
                }
                _ => {}
            }
        }
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let writer = |key: Key, element: Element| self.writers.get(&(key, element)).map(|(txn, _)| *txn);
        for (key, list) in &self.order {
            for pair in list.windows(2) {
                if let (Some(from), Some(to)) = (writer(*key, pair[0]), writer(*key, pair[1]))
                    && from != to
                {
                    edges.push(Edge { from, to, kind: Dependency::Ww, key: *key });
                }
            }
        }
        for (reader, key, list) in self.outer_reads() {
            if let Some(from) = list.last().and_then(|element| writer(key, *element))
                && from != reader
            {
                edges.push(Edge { from, to: reader, kind: Dependency::Wr, key });
            }
            let next = self.order.get(&key).and_then(|order| order.get(list.len()));
            if let Some(to) = next.and_then(|element| writer(key, *element))
                && to != reader
            {
                edges.push(Edge { from: reader, to, kind: Dependency::Rw, key });
            }
        }
        edges
    }

    fn circles(&mut self) {
        let edges = self.edges();
        let kinds: [(&[Dependency], &'static str); 3] = [
            (&[Dependency::Ww], "G0"),
            (&[Dependency::Ww, Dependency::Wr], "G1c"),
            (&[Dependency::Ww, Dependency::Wr, Dependency::Rw], "G2"),
        ];
        for (allowed, kind) in kinds {
            let allowed: Vec<Edge> = edges.iter().filter(|edge| allowed.contains(&edge.kind)).copied().collect();
            if let Some(circle) = shortest_circle(self.history.len(), &allowed) {
                let antis = circle.iter().filter(|edge| edge.kind == Dependency::Rw).count();
                let kind = if kind == "G2" && antis == 1 { "G-single" } else { kind };
                self.found.push(Anomaly::Circle { kind, edges: circle });
                return;
            }
        }
    }
}

/// A circle of the fewest edges, if there is any.
fn shortest_circle(count: usize, edges: &[Edge]) -> Option<Vec<Edge>> {
    let mut out: Vec<Vec<Edge>> = vec![Vec::new(); count];
    let mut incoming = vec![0_usize; count];
    for edge in edges {
        out[edge.from].push(*edge);
        incoming[edge.to] += 1;
    }
    // What nobody precedes is on no circle; what remains in the end has one, or hangs behind one.
    let mut free: Vec<usize> = (0..count).filter(|txn| incoming[*txn] == 0).collect();
    let mut remains: HashSet<usize> = (0..count).collect();
    while let Some(txn) = free.pop() {
        remains.remove(&txn);
        for edge in &out[txn] {
            incoming[edge.to] -= 1;
            if incoming[edge.to] == 0 {
                free.push(edge.to);
            }
        }
    }
    let mut best: Option<Vec<Edge>> = None;
    for start in remains.iter().copied() {
        if let Some(circle) = walk_back_to(start, &out, &remains)
            && best.as_ref().is_none_or(|best| circle.len() < best.len())
        {
            let is_shortest = circle.len() == 2;
            best = Some(circle);
            if is_shortest {
                break;
            }
        }
    }
    best
}

/// The shortest way from `start` to itself, breadth first.
fn walk_back_to(start: usize, out: &[Vec<Edge>], within: &HashSet<usize>) -> Option<Vec<Edge>> {
    let mut came_by: HashMap<usize, Edge> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(txn) = queue.pop_front() {
        for edge in out[txn].iter().filter(|edge| within.contains(&edge.to)) {
            if edge.to == start {
                let mut circle = vec![*edge];
                while circle.last().is_some_and(|edge| edge.from != start) {
                    let at = circle.last().map(|edge| edge.from)?;
                    circle.push(came_by[&at]);
                }
                circle.reverse();
                return Some(circle);
            }
            if edge.to != start && !came_by.contains_key(&edge.to) {
                came_by.insert(edge.to, *edge);
                queue.push_back(edge.to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transactions that all overlap, written as `r1:1,2 a1:3`.
    fn history(texts: &[&str]) -> Vec<Transaction> {
        texts.iter().map(|text| transaction(text, Outcome::Committed, 0, 100)).collect()
    }

    fn transaction(text: &str, outcome: Outcome, began: u64, ended: u64) -> Transaction {
        let ops = text
            .split_whitespace()
            .map(|word| {
                let (head, list) = word[1..].split_once(':').unwrap();
                let key = head.parse().unwrap();
                let mut elements = list.split(',').filter(|it| !it.is_empty()).map(|it| it.parse().unwrap());
                if word.starts_with('a') { Op::Append(key, elements.next().unwrap()) } else { Op::Read(key, elements.collect()) }
            })
            .collect();
        Transaction { ops, outcome, began, ended, told: String::new() }
    }

    fn last(lists: &[(Key, &[Element])]) -> BTreeMap<Key, Vec<Element>> {
        lists.iter().map(|(key, list)| (*key, list.to_vec())).collect()
    }

    fn circle_of(found: &[Anomaly]) -> Option<&'static str> {
        found.iter().find_map(|anomaly| match anomaly {
            Anomaly::Circle { kind, .. } => Some(*kind),
            _ => None,
        })
    }

    #[test]
    fn a_serial_history_is_in_order() {
        let history = history(&["a1:1 a2:1", "r1:1 a1:2", "r1:1,2 r2:1 a2:3 r2:1,3"]);
        assert_eq!(check(&history, &last(&[(1, &[1, 2]), (2, &[1, 3])])), []);
    }

    #[test]
    fn g0_two_that_overwrite_each_other() {
        let history = history(&["a1:1 a2:1", "a1:2 a2:2"]);
        assert_eq!(circle_of(&check(&history, &last(&[(1, &[1, 2]), (2, &[2, 1])]))), Some("G0"));
    }

    #[test]
    fn g1a_a_read_of_what_was_rolled_back() {
        let history =
            [transaction("a1:1", Outcome::Aborted, 0, 9), transaction("r1:1", Outcome::Committed, 0, 9)];
        let found = check(&history, &last(&[(1, &[])]));
        assert!(found.contains(&Anomaly::AbortedRead { reader: 1, key: 1, element: 1 }), "{found:?}");
    }

    #[test]
    fn g1b_a_read_in_the_middle_of_a_transaction() {
        let history = history(&["a1:1 a1:2", "r1:1"]);
        let found = check(&history, &last(&[(1, &[1, 2])]));
        assert!(found.contains(&Anomaly::IntermediateRead { reader: 1, key: 1, element: 1 }), "{found:?}");
    }

    #[test]
    fn g1c_two_that_read_each_other() {
        let history = history(&["a1:1 r2:1", "a2:1 r1:1"]);
        assert_eq!(circle_of(&check(&history, &last(&[(1, &[1]), (2, &[1])]))), Some("G1c"));
    }

    #[test]
    fn g_single_a_read_torn_between_two_states() {
        let history = history(&["a1:1 a2:1", "r1:1 r2:"]);
        assert_eq!(circle_of(&check(&history, &last(&[(1, &[1]), (2, &[1])]))), Some("G-single"));
    }

    #[test]
    fn g_single_a_lost_update() {
        let history = history(&["r1: a1:1", "r1: a1:2"]);
        assert_eq!(circle_of(&check(&history, &last(&[(1, &[1, 2])]))), Some("G-single"));
    }

    #[test]
    fn g2_write_skew() {
        let history = history(&["r1: a2:1", "r2: a1:1"]);
        assert_eq!(circle_of(&check(&history, &last(&[(1, &[1]), (2, &[1])]))), Some("G2"));
    }

    #[test]
    fn lists_that_do_not_extend_one_another() {
        let history = history(&["a1:1", "a1:2", "r1:1", "r1:2,1"]);
        let found = check(&history, &last(&[(1, &[2, 1])]));
        assert!(found.iter().any(|it| matches!(it, Anomaly::Incompatible { key: 1, .. })), "{found:?}");
    }

    #[test]
    fn lost_torn_and_stale() {
        let history = [
            transaction("a1:1", Outcome::Committed, 0, 1),
            transaction("a1:2 a2:2", Outcome::Unknown, 0, 1),
            transaction("a1:3", Outcome::Committed, 0, 10),
            transaction("r1:2", Outcome::Committed, 11, 12),
            transaction("a2:9", Outcome::Unknown, 0, 1),
        ];
        let found = check(&history, &last(&[(1, &[2, 3]), (2, &[])]));
        assert!(found.contains(&Anomaly::Lost { txn: 0, key: 1, element: 1 }), "{found:?}");
        assert!(found.contains(&Anomaly::Torn { txn: 1, there: 2, missing: 2 }), "{found:?}");
        assert!(found.iter().any(|it| matches!(it, Anomaly::Stale { reader: 3, .. })), "{found:?}");
        assert!(!found.iter().any(|it| matches!(it, Anomaly::Torn { txn: 4, .. })), "{found:?}");
    }

    #[test]
    fn a_transaction_must_see_its_own_writes() {
        let found = check(&history(&["a1:1 r1:"]), &last(&[(1, &[1])]));
        assert!(found.contains(&Anomaly::Internal { txn: 0, key: 1 }), "{found:?}");
    }
}
