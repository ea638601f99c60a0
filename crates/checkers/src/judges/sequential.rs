//! A client writes the parts of a series one after the other, each when the one before was acknowledged. Others read them in
//! the opposite order, each part by itself: who has seen a later part sees every earlier one.

use crate::{
    Anomaly, Event, Malformed, Verdict,
    history::{self, Operation, Outcome},
};

/// A read of a series: the parts in the order of reading, last part first, and whether each was there. None for writes.
type Read = Option<(u64, Vec<(u64, bool)>)>;

pub(super) fn decode(events: &[Event]) -> Result<Vec<Operation<Read>>, Malformed> {
    history::decode(history::pair(events)?, |operation| {
        let call = &operation.what;
        if call.f != "read" || operation.outcome != Outcome::Ok {
            return (call.f == "read" || call.f == "write").then_some(None);
        }
        let [series, parts] = call.answered.as_array()?.as_slice() else { return None };
        let part = |value: &serde_json::Value| {
            let [number, is_there] = value.as_array()?.as_slice() else { return None };
            Some((number.as_u64()?, is_there.as_bool()?))
        };
        Some(Some((series.as_u64()?, parts.as_array()?.iter().map(part).collect::<Option<_>>()?)))
    })
}

pub(super) fn check(history: &[Operation<Read>]) -> Verdict {
    let mut verdict = Verdict::over("sequential: who sees a later write of a client sees all earlier ones", history);
    for (at, operation) in history.iter().enumerate() {
        let Some((series, parts)) = &operation.what else { continue };
        let mut seen = None;
        for (part, is_there) in parts {
            match (is_there, seen) {
                (true, None) => seen = Some(*part),
                (false, Some(later)) => {
                    let evidence = format!(
                        "series {series}: part {later} was there, and after that part {part} was not: process {}, {} to {}",
                        operation.process, operation.invoked, operation.returned
                    );
                    verdict.anomalies.push(Anomaly { name: "out of order", operations: vec![at], evidence });
                    break;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judges::tests::in_turn;

    #[test]
    fn later_without_earlier() {
        let names = |parts: Value| {
            let events = in_turn(&[("write", json!([4, 0]), "ok", Value::Null), ("read", json!(4), "ok", json!([4, parts]))]);
            check(&decode(&events).unwrap()).names()
        };
        assert_eq!(names(json!([[2, false], [1, true], [0, true]])), [""; 0]);
        assert_eq!(names(json!([[2, false], [1, true], [0, false]])), ["out of order"]);
    }
}
