//! Dependencies between transactions, and the cycles among them by name.
//!
//! ```text
//! ww  A wrote a version, B the next one                    cycle of ww alone            G0
//! wr  A wrote the version that B read                      ww and wr                    G1c
//! rw  A read a version, B wrote the next one               with one rw                  G-single
//!                                                          with more                    G2-item
//! process, realtime   A had ended before B began           any of these with it         …-process, …-realtime
//! ```
//!
//! Each strongly connected component yields at most one cycle of a name, the shortest that was found.

use std::{collections::VecDeque, fmt::Write as _};

use rustc_hash::FxHashMap;

use crate::{
    history::Operation,
    verdict::{Anomaly, Verdict},
};

pub type Key = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    Ww,
    Wr,
    Rw,
    /// The same client did one after the other.
    Process,
    /// One had ended before the other began.
    Realtime,
}

/// `from` comes before `to` in any order that explains the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub kind: Dependency,
    pub key: Key,
    /// The version of `key` on the side of `from`, and on the side of `to`; none for the initial one.
    pub before: Option<u64>,
    pub after: Option<u64>,
}

/// Edges that lead back to where they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub name: &'static str,
    pub edges: Vec<Edge>,
}

/// Edges of a component from which a way back is looked for.
const STARTS_MAX: usize = 2_000;

/// Of a way: it holds an rw edge.
const HAS_RW: u8 = 1;
/// Of a way: it holds an edge of process or real time.
const HAS_ORDER: u8 = 2;

fn mark(kind: Dependency) -> u8 {
    match kind {
        Dependency::Ww | Dependency::Wr => 0,
        Dependency::Rw => HAS_RW,
        Dependency::Process | Dependency::Realtime => HAS_ORDER,
    }
}

/// A kind of cycle: one edge of `first`, and the way back by edges of `rest` that has all of `must`.
struct Shape {
    name: &'static str,
    first: Dependency,
    rest: &'static [Dependency],
    must: u8,
}

use Dependency::{Process, Realtime, Rw, Wr, Ww};

const PLAIN: [Shape; 4] = [
    Shape { name: "G0", first: Ww, rest: &[Ww], must: 0 },
    Shape { name: "G1c", first: Wr, rest: &[Ww, Wr], must: 0 },
    Shape { name: "G-single", first: Rw, rest: &[Ww, Wr], must: 0 },
    Shape { name: "G2-item", first: Rw, rest: &[Ww, Wr, Rw], must: HAS_RW },
];

const IN_PROCESS: [Shape; 4] = [
    Shape { name: "G0-process", first: Process, rest: &[Ww, Process], must: 0 },
    Shape { name: "G1c-process", first: Wr, rest: &[Ww, Wr, Process], must: HAS_ORDER },
    Shape { name: "G-single-process", first: Rw, rest: &[Ww, Wr, Process], must: HAS_ORDER },
    Shape { name: "G2-item-process", first: Rw, rest: &[Ww, Wr, Rw, Process], must: HAS_RW | HAS_ORDER },
];

const IN_REAL_TIME: [Shape; 4] = [
    Shape { name: "G0-realtime", first: Realtime, rest: &[Ww, Realtime], must: 0 },
    Shape { name: "G1c-realtime", first: Wr, rest: &[Ww, Wr, Realtime], must: HAS_ORDER },
    Shape { name: "G-single-realtime", first: Rw, rest: &[Ww, Wr, Realtime], must: HAS_ORDER },
    Shape { name: "G2-item-realtime", first: Rw, rest: &[Ww, Wr, Rw, Realtime], must: HAS_RW | HAS_ORDER },
];

/// The cycles of dependencies alone.
#[must_use]
pub fn cycles(count: usize, edges: &[Edge]) -> Vec<Cycle> {
    find(count, edges, &PLAIN)
}

/// The cycles that the order within processes, or real time, closes.
#[must_use]
pub fn cycles_in_time<T>(history: &[Operation<T>], edges: &[Edge]) -> Vec<Cycle> {
    let mut found = Vec::new();
    for (order, shapes) in [(process_edges(history), &IN_PROCESS), (realtime_edges(history), &IN_REAL_TIME)] {
        let all: Vec<Edge> = edges.iter().copied().chain(order).collect();
        found.extend(find(history.len(), &all, shapes));
    }
    found
}

/// The verdict over a history: `anomalies` and the cycles of dependencies, and apart from them those that only time closes.
/// `line` shows an operation.
pub(crate) fn verdict<T>(
    checked: &str,
    history: &[Operation<T>],
    edges: &[Edge],
    anomalies: Vec<Anomaly>,
    line: impl Fn(usize) -> String,
) -> Verdict {
    let anomaly = |cycle: &Cycle| {
        let mut evidence = format!("{} transactions", cycle.edges.len());
        for edge in &cycle.edges {
            let _ = write!(evidence, "\n  {}", line(edge.from));
        }
        for edge in &cycle.edges {
            let _ = write!(evidence, "\n  {}", shown_edge(edge));
        }
        Anomaly { name: cycle.name, operations: cycle.edges.iter().map(|edge| edge.from).collect(), evidence }
    };
    let mut verdict = Verdict::over(checked, history);
    verdict.anomalies = anomalies;
    verdict.anomalies.extend(cycles(history.len(), edges).iter().map(anomaly));
    verdict.apart = cycles_in_time(history, edges).iter().map(anomaly).collect();
    verdict
}

/// What an edge stands for.
fn shown_edge(edge: &Edge) -> String {
    let Edge { from, to, kind, key, before, after } = edge;
    let version = |version: &Option<u64>| version.map_or_else(|| "the initial version".to_owned(), |it| it.to_string());
    match kind {
        Dependency::Ww => {
            format!("T{from} before T{to}: it wrote {} of key {key}, on which T{to} wrote {} (ww)", version(before), version(after))
        }
        Dependency::Wr => format!("T{from} before T{to}: it wrote {} of key {key}, which T{to} read (wr)", version(before)),
        Dependency::Rw => {
            format!("T{from} before T{to}: it read {} of key {key}, not {} of T{to} (rw)", version(before), version(after))
        }
        Dependency::Process => format!("T{from} before T{to}: the same client, one after the other"),
        Dependency::Realtime => format!("T{from} before T{to}: it had ended before T{to} began"),
    }
}

fn find(count: usize, edges: &[Edge], shapes: &[Shape]) -> Vec<Cycle> {
    let mut out: Vec<Vec<Edge>> = vec![Vec::new(); count];
    for edge in edges.iter().filter(|edge| edge.from != edge.to) {
        out[edge.from].push(*edge);
    }
    let mut found = Vec::new();
    for shape in shapes {
        let allowed = |kind: Dependency| kind == shape.first || shape.rest.contains(&kind);
        let component = components(&out, &allowed);
        let mut best: FxHashMap<usize, (usize, Option<Vec<Edge>>)> = FxHashMap::default();
        for start in out.iter().flatten().filter(|edge| edge.kind == shape.first) {
            let within = component[start.from];
            if within == ALONE || component[start.to] != within {
                continue;
            }
            let (tried, shortest) = best.entry(within).or_default();
            let is_enough = shortest.as_ref().is_some_and(|edges| edges.len() == 2);
            if is_enough || *tried >= STARTS_MAX {
                continue;
            }
            *tried += 1;
            let Some(back) = way(&out, &component, shape, start) else { continue };
            if shortest.as_ref().is_none_or(|edges| back.len() < edges.len()) {
                *shortest = Some(back);
            }
        }
        let mut cycles: Vec<(usize, Vec<Edge>)> =
            best.into_iter().filter_map(|(within, (_, edges))| Some((within, edges?))).collect();
        cycles.sort_unstable_by_key(|(within, _)| *within);
        found.extend(cycles.into_iter().map(|(_, edges)| Cycle { name: shape.name, edges }));
    }
    found
}

/// The shortest cycle of the shape that begins with `start`, breadth first over transactions and what the way has so far.
fn way(out: &[Vec<Edge>], component: &[usize], shape: &Shape, start: &Edge) -> Option<Vec<Edge>> {
    let mut came_by: FxHashMap<(usize, u8), (Edge, u8)> = FxHashMap::default();
    let mut queue = VecDeque::from([(start.to, 0_u8)]);
    while let Some((at, has)) = queue.pop_front() {
        for edge in &out[at] {
            if !shape.rest.contains(&edge.kind) || component[edge.to] != component[start.from] {
                continue;
            }
            let now = has | mark(edge.kind);
            if edge.to == start.from && now & shape.must == shape.must {
                let mut edges = vec![*edge];
                let mut state = (at, has);
                while state != (start.to, 0) {
                    let (by, had) = came_by[&state];
                    edges.push(by);
                    state = (by.from, had);
                }
                edges.push(*start);
                edges.reverse();
                return is_simple(&edges).then_some(edges);
            }
            let state = (edge.to, now);
            if edge.to != start.from && state != (start.to, 0) && !came_by.contains_key(&state) {
                came_by.insert(state, (*edge, has));
                queue.push_back(state);
            }
        }
    }
    None
}

/// Whether no transaction comes twice: otherwise there are two cycles, each with a name of its own.
fn is_simple(edges: &[Edge]) -> bool {
    let mut seen: Vec<usize> = edges.iter().map(|edge| edge.from).collect();
    seen.sort_unstable();
    seen.windows(2).all(|pair| pair[0] != pair[1])
}

/// The component of a transaction that lies on no cycle.
const ALONE: usize = usize::MAX;

/// The strongly connected component of each transaction (Tarjan, without recursion).
fn components(out: &[Vec<Edge>], allowed: &impl Fn(Dependency) -> bool) -> Vec<usize> {
    const UNSEEN: usize = usize::MAX;
    let count = out.len();
    let (mut index, mut low) = (vec![UNSEEN; count], vec![0; count]);
    let mut component = vec![ALONE; count];
    let (mut stack, mut on_stack) = (Vec::new(), vec![false; count]);
    let mut next = 0;
    for root in 0..count {
        if index[root] != UNSEEN {
            continue;
        }
        let mut calls = vec![(root, 0)];
        while let Some((at, edge)) = calls.pop() {
            if edge == 0 {
                index[at] = next;
                low[at] = next;
                next += 1;
                stack.push(at);
                on_stack[at] = true;
            }
            let mut descended = false;
            for (place, follow) in out[at].iter().enumerate().skip(edge) {
                if !allowed(follow.kind) {
                    continue;
                }
                let to = follow.to;
                if index[to] == UNSEEN {
                    calls.push((at, place + 1));
                    calls.push((to, 0));
                    descended = true;
                    break;
                }
                if on_stack[to] {
                    low[at] = low[at].min(index[to]);
                }
            }
            if descended {
                continue;
            }
            if low[at] == index[at] {
                let from = stack.iter().rposition(|member| *member == at).unwrap_or(0);
                let members = stack.split_off(from);
                let name = if members.len() > 1 { at } else { ALONE };
                for member in members {
                    on_stack[member] = false;
                    component[member] = name;
                }
            }
            if let Some((parent, _)) = calls.last() {
                low[*parent] = low[*parent].min(low[at]);
            }
        }
    }
    component
}

fn time_edge(kind: Dependency, from: usize, to: usize) -> Edge {
    Edge { from, to, kind, key: 0, before: None, after: None }
}

fn process_edges<T>(history: &[Operation<T>]) -> Vec<Edge> {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|at| history[*at].invoked);
    let mut last: FxHashMap<u64, usize> = FxHashMap::default();
    let mut edges = Vec::new();
    for at in order {
        if let Some(before) = last.insert(history[at].process, at)
            && history[before].precedes(&history[at])
        {
            edges.push(time_edge(Process, before, at));
        }
    }
    edges
}

/// From each operation to those that began after its end, leaving out what follows through others.
fn realtime_edges<T>(history: &[Operation<T>]) -> Vec<Edge> {
    let all: Vec<(usize, u64, u64)> =
        history.iter().enumerate().map(|(at, operation)| (at, operation.invoked, operation.end())).collect();
    realtime_pairs(&all).into_iter().map(|(from, to)| time_edge(Realtime, from, to)).collect()
}

/// Of operations with their times, those pairs of which one precedes the other with none in between.
#[must_use]
pub fn realtime_pairs(operations: &[(usize, u64, u64)]) -> Vec<(usize, usize)> {
    // Invocations before ends of the same time: what touches is concurrent.
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(operations.len() * 2);
    for (place, (_, invoked, returned)) in operations.iter().enumerate() {
        events.push((*invoked, false, place));
        events.push((*returned, true, place));
    }
    events.sort_unstable();
    // Those that have ended and do not precede another that has.
    let mut frontier: Vec<usize> = Vec::new();
    let mut pairs = Vec::new();
    for (_, is_end, place) in events {
        let (id, invoked, _) = operations[place];
        if is_end {
            frontier.retain(|ended| operations[*ended].2 >= invoked);
            frontier.push(place);
        } else {
            pairs.extend(frontier.iter().map(|ended| (operations[*ended].0, id)));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: usize, to: usize, kind: Dependency) -> Edge {
        Edge { from, to, kind, key: 1, before: None, after: None }
    }

    fn names(count: usize, edges: &[Edge]) -> Vec<&'static str> {
        cycles(count, edges).into_iter().map(|cycle| cycle.name).collect()
    }

    #[test]
    fn cycles_are_named_by_their_edges() {
        assert_eq!(names(2, &[edge(0, 1, Ww), edge(1, 0, Ww)]), ["G0"]);
        assert_eq!(names(2, &[edge(0, 1, Ww), edge(1, 0, Wr)]), ["G1c"]);
        assert_eq!(names(3, &[edge(0, 1, Wr), edge(1, 2, Ww), edge(2, 0, Rw)]), ["G-single"]);
        assert_eq!(names(2, &[edge(0, 1, Rw), edge(1, 0, Rw)]), ["G2-item"]);
        assert_eq!(names(3, &[edge(0, 1, Rw), edge(1, 2, Ww), edge(0, 2, Wr)]), [""; 0]);
    }

    #[test]
    fn two_cycles_that_touch_are_not_one_with_more_edges() {
        // 0 ⇄ 1 and 1 ⇄ 2, each with one rw: both are G-single, and the walk through both is no G2.
        let edges = [edge(0, 1, Rw), edge(1, 0, Wr), edge(1, 2, Rw), edge(2, 1, Wr)];
        assert_eq!(names(3, &edges), ["G-single"]);
    }

    #[test]
    fn real_time_needs_no_edge_that_others_imply() {
        let pairs = realtime_pairs(&[(0, 0, 1), (1, 2, 3), (2, 4, 5), (3, 0, 9)]);
        assert_eq!(pairs, [(0, 1), (1, 2)]);
    }

    #[test]
    fn real_time_closes_a_cycle() {
        let operation = |invoked, returned| Operation {
            process: invoked,
            invoked,
            returned,
            outcome: crate::Outcome::Ok,
            what: (),
            error: String::new(),
        };
        let history = [operation(0, 1), operation(2, 3)];
        let found = cycles_in_time(&history, &[edge(1, 0, Rw)]);
        assert_eq!(found.iter().map(|cycle| cycle.name).collect::<Vec<_>>(), ["G-single-realtime"]);
        assert_eq!(cycles_in_time(&history, &[edge(0, 1, Rw)]), []);
    }
}
