//! Unique elements are added to a set, which is read: what was acknowledged is there, once, and nothing that was refused.

use std::collections::{BTreeMap, HashMap};

use super::{Added, counts, decode_added};
use crate::{
    Anomaly, Event, Malformed, Verdict,
    history::{NEVER, Operation, Outcome},
};

pub(super) fn decode(events: &[Event]) -> Result<Vec<Operation<Added>>, Malformed> {
    decode_added(events)
}

pub(super) fn check(history: &[Operation<Added>]) -> Verdict {
    let mut verdict = Verdict::over("sets: every acknowledged element is there from then on, once, and no refused one", history);
    let mut adds: BTreeMap<i64, usize> = BTreeMap::new();
    for (at, operation) in history.iter().enumerate() {
        if let Added::Add(Some(element)) = operation.what {
            adds.insert(element, at);
        }
    }
    // The first read to end that showed an element of unknown outcome: from then on it is there.
    let mut shown: HashMap<i64, u64> = HashMap::new();
    for operation in history.iter().filter(|it| matches!(it.what, Added::Read(Some(_)))) {
        let Added::Read(Some(elements)) = &operation.what else { continue };
        for element in elements {
            let first = shown.entry(*element).or_insert(NEVER);
            *first = operation.returned.min(*first);
        }
    }
    let mut found = Vec::new();
    for (at, operation) in history.iter().enumerate() {
        let Added::Read(Some(elements)) = &operation.what else { continue };
        let mut note = |name, add: Option<usize>, evidence| {
            found.push(Anomaly { name, operations: std::iter::once(at).chain(add).collect(), evidence });
        };
        let counts = counts(elements);
        for (element, count) in &counts {
            if *count > 1 {
                note("element twice", None, format!("{element} is there {count} times"));
            }
            match adds.get(element) {
                None => note("garbage read", None, format!("{element} is there, and was never added")),
                Some(add) if history[*add].outcome == Outcome::Fail => {
                    note("refused write", Some(*add), format!("{element} is there, though it was refused: {}", history[*add].error));
                }
                Some(add) if operation.precedes(&history[*add]) => {
                    note("garbage read", Some(*add), format!("{element} was there before it was added"));
                }
                Some(_) => {}
            }
        }
        for (element, add) in adds.iter().filter(|(element, _)| !counts.contains_key(element)) {
            let was_seen = shown.get(element).is_some_and(|since| *since < operation.invoked);
            if history[*add].outcome == Outcome::Ok && history[*add].precedes(operation) || was_seen {
                let how = if was_seen { "read before" } else { "acknowledged" };
                note("lost write", Some(*add), format!("{element} was {how}, and is not there in T{at}"));
            }
        }
    }
    verdict.anomalies = found;
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judges::tests::in_turn;

    #[test]
    fn elements_stay_and_come_once() {
        let add = |element: i64, outcome: &'static str| ("add", json!(element), outcome, json!(element));
        let read = |elements: Value| ("read", Value::Null, "ok", elements);
        let names = |lines: &[(&str, Value, &str, Value)]| check(&decode(&in_turn(lines)).unwrap()).names();
        assert_eq!(names(&[add(1, "ok"), add(2, "fail"), add(3, "info"), read(json!([1]))]), [""; 0]);
        assert_eq!(names(&[add(1, "ok"), add(3, "info"), read(json!([1, 3]))]), [""; 0]);
        assert_eq!(names(&[add(1, "ok"), read(json!([]))]), ["lost write"]);
        assert_eq!(names(&[add(3, "info"), read(json!([3])), read(json!([]))]), ["lost write"]);
        assert_eq!(names(&[add(2, "fail"), read(json!([2]))]), ["refused write"]);
        assert_eq!(names(&[add(1, "ok"), read(json!([1, 1]))]), ["element twice"]);
        assert_eq!(names(&[add(1, "ok"), read(json!([1, 8]))]), ["garbage read"]);
    }
}
