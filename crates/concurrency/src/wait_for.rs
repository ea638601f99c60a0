//! The problem: transactions that wait for each other in a circle wait for ever, and no single range sees the circle.
//!
//! The idea: whoever waits records an edge, waiter → holder, where the holder's record lives. A new edge looks for a
//! path back from its holder; if there is one, all members of the circle and its victim are named. Edges learnt from
//! other nodes are added the same way, and [`WaitForGraph::dependents_of`] is what a node tells others: pushing a
//! transaction carries the set of those that wait for the pusher, so some member of any circle meets itself.
//!
//! The victim is chosen by what all nodes agree on: least priority, then youngest, then largest id. So two nodes
//! which find the same circle name the same victim.
//!
//! Deliberately left out: aborting the victim, and ageing. Whoever added an edge removes it when its wait ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keys::{TxnId, TxnMeta};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};

/// Who waits for whom.
#[derive(Default)]
pub struct WaitForGraph {
    edges: Mutex<Edges>,
}

/// Transactions that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Each waits for the next, and the last for the first. Starts with the waiter whose edge closed it.
    pub members: Vec<TxnId>,
    pub victim: TxnId,
}

impl WaitForGraph {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records one more wait of `waiter` for `holder`, and finds the circle it closes, if it does.
    ///
    /// The edge is recorded either way: it goes when the wait ends, by [`WaitForGraph::remove_edge`]. Adding an edge
    /// again looks again, so a circle whose victim was too slow to die is found as often as somebody asks. A
    /// transaction's wait for itself is no edge.
    pub fn add_edge(&self, waiter: &TxnMeta, holder: &TxnMeta) -> Option<Cycle> {
        if waiter.id == holder.id {
            return None;
        }
        let mut edges = self.edges.lock();
        edges.add(waiter, holder);
        let members = edges.path(holder.id, waiter.id)?;
        let victim = edges.victim(&members);
        Some(Cycle { members, victim })
    }

    /// Takes back one [`WaitForGraph::add_edge`]. Unknown edges are ignored: [`WaitForGraph::remove_txn`] may have
    /// been first.
    pub fn remove_edge(&self, waiter: TxnId, holder: TxnId) {
        self.edges.lock().remove(waiter, holder);
    }

    /// Forgets a transaction that is finished, with all its edges in both directions.
    pub fn remove_txn(&self, txn: TxnId) {
        let mut edges = self.edges.lock();
        for holder in edges.holders_of(txn) {
            edges.cut(txn, holder);
        }
        for waiter in edges.waiters_of(txn) {
            edges.cut(waiter, txn);
        }
    }

    /// Everyone who waits for `txn`, directly or through others, in order of id; `txn` itself only if in a circle.
    #[must_use]
    pub fn dependents_of(&self, txn: TxnId) -> Vec<TxnId> {
        let edges = self.edges.lock();
        let mut seen = FxHashSet::default();
        let mut open = vec![txn];
        while let Some(next) = open.pop() {
            open.extend(edges.waiters_of(next).into_iter().filter(|waiter| seen.insert(*waiter)));
        }
        let mut dependents: Vec<_> = seen.into_iter().collect();
        dependents.sort_unstable();
        dependents
    }

    /// How many distinct edges there are.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.edges.lock().nodes.values().map(|node| node.waits_for.len()).sum()
    }
}

#[derive(Default)]
struct Edges {
    nodes: FxHashMap<TxnId, Node>,
}

/// A transaction with at least one edge. Neighbours are ordered, so the same graph gives the same answer.
struct Node {
    meta: TxnMeta,
    /// Its holders, with how many waits stand for each edge.
    waits_for: BTreeMap<TxnId, u32>,
    waited_by: BTreeSet<TxnId>,
}

impl Edges {
    fn add(&mut self, waiter: &TxnMeta, holder: &TxnMeta) {
        *self.node(waiter).waits_for.entry(holder.id).or_insert(0) += 1;
        self.node(holder).waited_by.insert(waiter.id);
    }

    fn node(&mut self, meta: &TxnMeta) -> &mut Node {
        let node = self.nodes.entry(meta.id).or_insert_with(|| Node {
            meta: meta.clone(),
            waits_for: BTreeMap::new(),
            waited_by: BTreeSet::new(),
        });
        node.meta.priority = node.meta.priority.max(meta.priority);
        node
    }

    fn remove(&mut self, waiter: TxnId, holder: TxnId) {
        let Some(count) = self.nodes.get_mut(&waiter).and_then(|node| node.waits_for.get_mut(&holder)) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.cut(waiter, holder);
        }
    }

    fn cut(&mut self, waiter: TxnId, holder: TxnId) {
        if let Some(node) = self.nodes.get_mut(&waiter) {
            node.waits_for.remove(&holder);
        }
        if let Some(node) = self.nodes.get_mut(&holder) {
            node.waited_by.remove(&waiter);
        }
        for txn in [waiter, holder] {
            if self.nodes.get(&txn).is_some_and(|n| n.waits_for.is_empty() && n.waited_by.is_empty()) {
                self.nodes.remove(&txn);
            }
        }
    }

    fn holders_of(&self, txn: TxnId) -> Vec<TxnId> {
        self.nodes.get(&txn).map(|node| node.waits_for.keys().copied().collect()).unwrap_or_default()
    }

    fn waiters_of(&self, txn: TxnId) -> Vec<TxnId> {
        self.nodes.get(&txn).map(|node| node.waited_by.iter().copied().collect()).unwrap_or_default()
    }

    /// `to`, then the shortest way `from` … that waits for `to` again: the members of the circle in order.
    fn path(&self, from: TxnId, to: TxnId) -> Option<Vec<TxnId>> {
        let mut came_from: FxHashMap<TxnId, TxnId> = FxHashMap::default();
        let mut open = VecDeque::from([from]);
        while let Some(txn) = open.pop_front() {
            for holder in self.holders_of(txn) {
                if holder == to {
                    let mut members = vec![txn];
                    let mut at = txn;
                    while at != from {
                        at = came_from[&at];
                        members.push(at);
                    }
                    members.push(to);
                    members.reverse();
                    return Some(members);
                }
                if holder != from && !came_from.contains_key(&holder) {
                    came_from.insert(holder, txn);
                    open.push_back(holder);
                }
            }
        }
        None
    }

    fn victim(&self, members: &[TxnId]) -> TxnId {
        let worth = |id: &TxnId| {
            let meta = &self.nodes[id].meta;
            (meta.priority, std::cmp::Reverse(meta.min_ts), std::cmp::Reverse(*id))
        };
        *members.iter().min_by_key(|id| worth(id)).expect("a circle has members")
    }
}

#[cfg(test)]
mod tests {
    use hlc::Timestamp;
    use keys::Key;
    use proptest::prelude::*;

    use super::*;

    fn txn(n: u8) -> TxnMeta {
        let ts = Timestamp::new(100, 0);
        let id = TxnId::from_random(u128::from(n) << 64);
        TxnMeta { id, anchor: Key::MIN, epoch: 0, write_ts: ts, min_ts: ts, priority: 1 }
    }

    fn ids(members: &[u8]) -> Vec<TxnId> {
        members.iter().map(|n| txn(*n).id).collect()
    }

    #[test]
    fn a_circle_is_named_in_order_of_waiting() {
        let graph = WaitForGraph::new();
        assert_eq!(graph.add_edge(&txn(1), &txn(2)), None);
        assert_eq!(graph.add_edge(&txn(2), &txn(3)), None);
        assert_eq!(graph.dependents_of(txn(3).id), ids(&[1, 2]));
        let cycle = graph.add_edge(&txn(3), &txn(1)).expect("it closes a circle");
        assert_eq!(cycle.members, ids(&[3, 1, 2]));
        assert_eq!(cycle.victim, txn(3).id, "all else equal, the largest id");
        graph.remove_txn(cycle.victim);
        assert_eq!(graph.add_edge(&txn(1), &txn(2)), None, "the circle is broken");
    }

    #[test]
    fn the_victim_is_least_in_priority_then_youngest() {
        let young = TxnMeta { min_ts: Timestamp::new(200, 0), ..txn(1) };
        let graph = WaitForGraph::new();
        assert_eq!(graph.add_edge(&young, &txn(2)), None);
        assert_eq!(graph.add_edge(&txn(2), &young).map(|cycle| cycle.victim), Some(young.id));

        let urgent = TxnMeta { priority: 9, ..young };
        let graph = WaitForGraph::new();
        assert_eq!(graph.add_edge(&txn(2), &urgent), None);
        assert_eq!(graph.add_edge(&urgent, &txn(2)).map(|cycle| cycle.victim), Some(txn(2).id));
    }

    #[test]
    fn an_edge_lasts_as_long_as_its_last_wait() {
        let graph = WaitForGraph::new();
        for _ in 0..2 {
            assert_eq!(graph.add_edge(&txn(1), &txn(2)), None);
        }
        assert_eq!(graph.add_edge(&txn(1), &txn(1)), None, "a wait for itself is no edge");
        graph.remove_edge(txn(1).id, txn(2).id);
        assert!(graph.add_edge(&txn(2), &txn(1)).is_some(), "one wait is left");
        graph.remove_edge(txn(1).id, txn(2).id);
        graph.remove_edge(txn(2).id, txn(1).id);
        graph.remove_edge(txn(2).id, txn(1).id);
        assert_eq!(graph.edge_count(), 0);
        assert!(graph.edges.lock().nodes.is_empty(), "no node without an edge");
    }

    /// `reached[n]` for each `n` that one or more steps along `edges` lead to from `start`.
    fn reach(edges: &[(u8, u8)], start: u8) -> [bool; 6] {
        let mut reached = [false; 6];
        for _ in 0..edges.len() {
            for (from, to) in edges {
                reached[usize::from(*to)] |= *from == start || reached[usize::from(*from)];
            }
        }
        reached
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
        #[test]
        fn circles_and_dependents_are_those_of_a_list_of_edges(
            ops in prop::collection::vec((prop::bool::weighted(0.7), 0..6u8, 0..6u8), 1..50),
        ) {
            let graph = WaitForGraph::new();
            let mut edges: Vec<(u8, u8)> = Vec::new();
            for (adds, from, to) in ops {
                if adds && from != to {
                    let cycle = graph.add_edge(&txn(from), &txn(to));
                    edges.push((from, to));
                    prop_assert_eq!(cycle.is_some(), reach(&edges, to)[usize::from(from)]);
                    if let Some(Cycle { members, victim }) = cycle {
                        prop_assert!(members.contains(&victim));
                        let next = members.iter().cycle().skip(1);
                        for (waiter, holder) in members.iter().zip(next) {
                            let is_edge = edges.iter().any(|(a, b)| (txn(*a).id, txn(*b).id) == (*waiter, *holder));
                            prop_assert!(is_edge, "each member waits for the next");
                        }
                    }
                } else if let Some(place) = edges.iter().position(|edge| *edge == (from, to)) {
                    edges.swap_remove(place);
                    graph.remove_edge(txn(from).id, txn(to).id);
                }
                for holder in 0..6 {
                    let waiters: Vec<u8> =
                        (0..6).filter(|waiter| reach(&edges, *waiter)[usize::from(holder)]).collect();
                    let mut expected = ids(&waiters);
                    expected.sort_unstable();
                    prop_assert_eq!(graph.dependents_of(txn(holder).id), expected);
                }
            }
        }
    }
}
