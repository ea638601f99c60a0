//! Of each anomaly a smallest history that shows it and a near one that does not; serial executions, and what is seen of
//! them once they are changed.

use proptest::prelude::*;

use super::*;
use crate::history::NEVER;

/// Transactions that all overlap, written as `r1:1,2 a1:3`; those of other outcomes begin with `!` (failed) or `?`.
fn history(texts: &[&str]) -> Vec<Transaction> {
    texts.iter().enumerate().map(|(at, text)| transaction(text, at as u64, 0, 100)).collect()
}

fn transaction(text: &str, process: u64, invoked: u64, returned: u64) -> Transaction {
    let (outcome, text) = match text.split_at_checked(1) {
        Some(("!", rest)) => (Outcome::Fail, rest),
        Some(("?", rest)) => (Outcome::Info, rest),
        _ => (Outcome::Ok, text),
    };
    let what = text
        .split_whitespace()
        .map(|word| {
            let (head, list) = word[1..].split_once(':').unwrap();
            let key = head.parse().unwrap();
            let mut elements = list.split(',').filter(|it| !it.is_empty()).map(|it| it.parse().unwrap());
            if word.starts_with('a') {
                Micro::Append(key, elements.next().unwrap())
            } else {
                Micro::Read(key, Some(elements.collect()))
            }
        })
        .collect();
    let returned = if outcome == Outcome::Info { NEVER } else { returned };
    Operation { process, invoked, returned, outcome, what, error: String::new() }
}

fn last(lists: &[(Key, &[Element])]) -> BTreeMap<Key, Vec<Element>> {
    lists.iter().map(|(key, list)| (*key, list.to_vec())).collect()
}

fn names(texts: &[&str]) -> Vec<&'static str> {
    check(&history(texts), None).names()
}

#[test]
fn a_serial_history_is_in_order() {
    assert_eq!(names(&["a1:1 a2:1", "r1:1 a1:2", "r1:1,2 r2:1 a2:3 r2:1,3"]), [""; 0]);
}

#[test]
fn g0_two_that_overwrite_each_other() {
    assert_eq!(names(&["a1:1 a2:1", "a1:2 a2:2", "r1:1,2", "r2:2,1"]), ["G0"]);
    assert_eq!(names(&["a1:1 a2:1", "a1:2 a2:2", "r1:1,2", "r2:1,2"]), [""; 0]);
}

#[test]
fn g1a_a_read_of_what_was_rolled_back() {
    assert_eq!(names(&["!a1:1", "r1:1"]), ["G1a"]);
    assert_eq!(names(&["?a1:1", "r1:1"]), [""; 0]);
}

#[test]
fn g1b_a_read_in_the_middle_of_a_transaction() {
    assert!(names(&["a1:1 a1:2", "r1:1", "r1:1,2"]).contains(&"G1b"));
    assert_eq!(names(&["a1:1 a1:2", "r1:1,2"]), [""; 0]);
}

#[test]
fn g1c_two_that_read_each_other() {
    assert_eq!(names(&["a1:1 r2:1", "a2:1 r1:1"]), ["G1c"]);
    assert_eq!(names(&["a1:1 r2:1", "a2:1 r1:"]), [""; 0]);
}

#[test]
fn g_single_a_read_torn_between_two_states() {
    assert_eq!(names(&["a1:1 a2:1", "r1:1 r2:"]), ["G-single"]);
    assert_eq!(names(&["a1:1 a2:1", "r1: r2:"]), [""; 0]);
}

#[test]
fn a_lost_update_is_named_as_one() {
    assert_eq!(names(&["r1: a1:1", "r1: a1:2", "r1:1,2"]), ["G-single", "lost update"]);
    assert_eq!(names(&["r1: a1:1", "r1:1 a1:2", "r1:1,2"]), [""; 0]);
}

#[test]
fn g2_item_write_skew() {
    assert_eq!(names(&["r1: a2:1", "r2: a1:1"]), ["G2-item"]);
    assert_eq!(names(&["r1: a2:1", "r2:1 a1:1"]), [""; 0]);
}

#[test]
fn internal_a_transaction_that_contradicts_itself() {
    for wrong in ["a1:1 r1:", "r1: r1:2", "r1: a1:1 r1:2,1", "r1:1 a1:1"] {
        assert!(names(&[wrong, "a1:2"]).contains(&"internal"), "{wrong}");
    }
    assert_eq!(names(&["r1: a1:1 r1:1 a1:2 r1:1,2"]), [""; 0]);
}

#[test]
fn dirty_update_a_commit_on_top_of_what_was_rolled_back() {
    assert_eq!(names(&["!a1:1", "a1:2", "r1:1,2"]), ["G1a", "dirty update"]);
    assert_eq!(names(&["!a1:1", "a1:2", "r1:2"]), [""; 0]);
}

#[test]
fn incompatible_order_lists_that_do_not_extend_one_another() {
    assert!(names(&["a1:1", "a1:2", "r1:1", "r1:2,1"]).contains(&"incompatible order"));
    assert_eq!(names(&["a1:1", "a1:2", "r1:2", "r1:2,1"]), [""; 0]);
}

#[test]
fn duplicate_elements_and_garbage() {
    assert!(names(&["a1:1", "r1:1,1"]).contains(&"duplicate elements"));
    assert!(names(&["a1:1", "r1:7"]).contains(&"garbage read"));
    assert_eq!(names(&["a1:1", "a1:7", "r1:1,7"]), [""; 0]);
}

#[test]
fn lost_torn_and_stale() {
    let history = [
        transaction("a1:1", 0, 0, 1),
        transaction("?a1:2 a2:2", 1, 0, 1),
        transaction("a1:3", 2, 0, 10),
        transaction("r1:2", 3, 11, 12),
        transaction("?a2:9", 4, 0, 1),
    ];
    let found = check(&history, Some(&last(&[(1, &[2, 3]), (2, &[])])));
    let of = |name: &str| -> Vec<Vec<usize>> {
        found.anomalies.iter().filter(|it| it.name == name).map(|it| it.operations.clone()).collect()
    };
    assert_eq!(of("lost write"), [[0]]);
    assert_eq!(of("torn transaction"), [[1]]);
    assert_eq!(of("stale read"), [[3, 0]]);
}

#[test]
fn an_append_that_nobody_read_lies_after_all_that_was_read() {
    // As in a known history: three transactions, no append of which is read, and still two cannot be ordered.
    let found = check(&history(&["a3:1 a2:4 r4:", "r2: r3: a4:0"]), None);
    assert_eq!(found.names(), ["G2-item"]);
    let evidence = &found.anomalies[0].evidence;
    assert!(evidence.contains("T0 before T1: it read the initial version of key 4, not 0 of T1 (rw)"), "{evidence}");
}

#[test]
fn real_time_stands_apart() {
    // T1 began after T0 had ended, and T2 saw T1's write alone: serializable, and not strictly.
    let history = [
        transaction("a1:1", 0, 0, 1),
        transaction("a2:1", 1, 2, 3),
        transaction("r1: r2:1", 2, 0, 9),
        transaction("r1:1 r2:1", 3, 20, 21),
    ];
    let found = check(&history, None);
    assert_eq!(found.anomalies, []);
    assert_eq!(found.apart.iter().map(|it| it.name).collect::<Vec<_>>(), ["G-single-realtime"]);
}

#[test]
fn events_become_transactions() {
    let lines = [
        r#"{"type":"invoke","process":1,"value":[["append",1,5],["r",2,null]]}"#,
        r#"{"type":"invoke","process":2,"value":[["r",1,null]]}"#,
        r#"{"type":"ok","process":1,"value":[["append",1,5],["r",2,[7,8]]]}"#,
    ];
    let events: Vec<Event> = (0..).zip(lines)
        .filter_map(|(at, line)| Event::of_value(at, &serde_json::from_str(line).unwrap()).unwrap())
        .collect();
    let decoded = decode(&events).unwrap();
    assert_eq!(decoded[0].what, [Micro::Append(1, 5), Micro::Read(2, Some(vec![7, 8]))]);
    assert_eq!((decoded[1].outcome, &decoded[1].what[..]), (Outcome::Info, &[Micro::Read(1, None)][..]));
}

/// A step before it is executed: a key, and whether it is written.
type Plan = Vec<Vec<(Key, bool)>>;

fn plans() -> impl Strategy<Value = Plan> {
    prop::collection::vec(prop::collection::vec((0..4_u64, any::<bool>()), 1..5), 2..30)
}

/// Executes one transaction after the other, each overlapping the next in time, and reads all in the end.
fn serial(plan: &Plan) -> (Vec<Transaction>, BTreeMap<Key, Vec<Element>>) {
    let mut state: BTreeMap<Key, Vec<Element>> = BTreeMap::new();
    let mut next = 0;
    let mut history = Vec::new();
    for (at, steps) in (0_u64..).zip(plan) {
        let mut what = Vec::new();
        for (key, writes) in steps {
            if *writes {
                next += 1;
                state.entry(*key).or_default().push(next);
                what.push(Micro::Append(*key, next));
            } else {
                what.push(Micro::Read(*key, Some(state.get(key).cloned().unwrap_or_default())));
            }
        }
        let (invoked, returned) = (at * 10, at * 10 + 15);
        history.push(Operation { process: at % 5, invoked, returned, outcome: Outcome::Ok, what, error: String::new() });
    }
    let all = (0..4).map(|key| Micro::Read(key, Some(state.get(&key).cloned().unwrap_or_default()))).collect();
    let end = plan.len() as u64 * 10 + 100;
    history.push(Operation { process: 9, invoked: end, returned: end + 1, outcome: Outcome::Ok, what: all, error: String::new() });
    (history, state)
}

proptest! {
    #[test]
    fn a_serial_execution_never_shows_an_anomaly(plan in plans()) {
        let (history, last) = serial(&plan);
        let found = check(&history, Some(&last));
        prop_assert_eq!(found.anomalies, vec![]);
        prop_assert_eq!(found.apart, vec![]);
        prop_assert_eq!(check(&history, None).anomalies, vec![]);
    }

    /// A read that is cut short missed an append that its transaction came after, in real time or by another dependency:
    /// nothing of the serial order explains it, unless the append was its own or was concurrent.
    #[test]
    fn a_shortened_last_read_is_found(plan in plans(), key in 0..4_u64) {
        let (mut history, last) = serial(&plan);
        let end = history.last_mut().unwrap();
        let mut is_cut = false;
        for step in &mut end.what {
            if let Micro::Read(of, Some(list)) = step
                && *of == key
            {
                is_cut = list.pop().is_some();
            }
        }
        prop_assert_eq!(check(&history, Some(&last)).anomalies.is_empty(), !is_cut);
    }

    /// Two appends of a key that change places contradict the last read.
    #[test]
    fn swapped_elements_are_found(plan in plans(), key in 0..4_u64) {
        let (mut history, _) = serial(&plan);
        let mut is_swapped = false;
        for transaction in &mut history[..plan.len()] {
            for step in &mut transaction.what {
                if let Micro::Read(of, Some(list)) = step
                    && *of == key && list.len() > 1
                {
                    let end = list.len() - 1;
                    list.swap(end - 1, end);
                    is_swapped = true;
                }
            }
        }
        prop_assert_eq!(check(&history, None).anomalies.is_empty(), !is_swapped);
    }

    /// A transaction that turns out to have been refused, though it wrote.
    #[test]
    fn a_refused_write_that_is_there_is_found(plan in plans(), at in 0..30_usize) {
        let (mut history, last) = serial(&plan);
        let at = at % plan.len();
        history[at].outcome = Outcome::Fail;
        let wrote = history[at].what.iter().any(|step| matches!(step, Micro::Append(..)));
        let found = check(&history, Some(&last));
        prop_assert_eq!(found.names().contains(&"G1a"), wrote);
    }
}
