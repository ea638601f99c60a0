//! Transfers between accounts: every read of all of them sees the same total, and no balance below zero.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Anomaly, Event, Malformed, Verdict,
    history::{self, Operation, Outcome},
};

/// All accounts as one transaction read them; nothing for a transfer.
type Read = Option<BTreeMap<String, i64>>;

pub(super) fn decode(events: &[Event]) -> Result<Vec<Operation<Read>>, Malformed> {
    history::decode(history::pair(events)?, |operation| {
        let call = &operation.what;
        if call.f != "read" || operation.outcome != Outcome::Ok {
            return (call.f == "read" || call.f == "transfer").then_some(None);
        }
        let balances = call.answered.as_object()?.iter();
        balances.map(|(account, balance)| Some((account.clone(), Value::as_i64(balance)?))).collect::<Option<_>>().map(Some)
    })
}

pub(super) fn check(history: &[Operation<Read>], total: i64, negative: bool) -> Verdict {
    let mut verdict = Verdict::over(format!("bank: every read of all accounts sees {total}"), history);
    for (at, operation) in history.iter().enumerate() {
        let Some(balances) = &operation.what else { continue };
        let sum: i64 = balances.values().sum();
        let mut note = |name, what: String| {
            let evidence = format!("{what}: {balances:?}, read by process {} at {}", operation.process, operation.returned);
            verdict.anomalies.push(Anomaly { name, operations: vec![at], evidence });
        };
        if sum != total {
            note("wrong total", format!("{sum} instead of {total}"));
        }
        if !negative && balances.values().any(|balance| *balance < 0) {
            note("negative balance", "an account below zero".to_owned());
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judges::tests::in_turn;

    #[test]
    fn totals_and_balances() {
        let moved = ("transfer", json!({"from": 0, "to": 1, "amount": 3}), "ok", Value::Null);
        let names = |balances: Value| {
            let events = in_turn(&[moved.clone(), ("read", Value::Null, "ok", balances)]);
            check(&decode(&events).unwrap(), 10, false).names()
        };
        assert_eq!(names(json!({"0": 7, "1": 3})), [""; 0]);
        assert_eq!(names(json!({"0": 7, "1": 4})), ["wrong total"]);
        assert_eq!(names(json!({"0": 11, "1": -1})), ["negative balance"]);
    }
}
