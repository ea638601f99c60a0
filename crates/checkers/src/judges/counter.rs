//! A counter is increased and read: a read lies between what was acknowledged before it began and what was asked for before
//! it ended. Where increments answer with what they made, no two make the same.

use std::collections::HashMap;

use crate::{
    Anomaly, Event, Malformed, Verdict,
    history::{self, Operation, Outcome},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// By how much, and to what, if that was answered.
    Add { by: i64, made: Option<i64> },
    Read(Option<i64>),
}

pub(super) fn decode(events: &[Event]) -> Result<Vec<Operation<Step>>, Malformed> {
    history::decode(history::pair(events)?, |operation| {
        let call = &operation.what;
        let is_ok = operation.outcome == Outcome::Ok;
        match call.f.as_str() {
            // Some recorders answer an increment with itself, others with an object that names what it made.
            "add" => {
                let made = call.answered.get("made").filter(|_| is_ok).and_then(serde_json::Value::as_i64);
                Some(Step::Add { by: call.asked.as_i64()?, made })
            }
            "read" => Some(Step::Read(if is_ok { Some(call.answered.as_i64()?) } else { None })),
            _ => None,
        }
    })
}

pub(super) fn check(history: &[Operation<Step>]) -> Verdict {
    let mut verdict = Verdict::over("counter: what is read lies between what was acknowledged and what was asked for", history);
    let mut found = Vec::new();
    // Sums of increments by the time of their end and of their invocation; decreases bound the other side.
    let (mut ended, mut asked) = (Vec::new(), Vec::new());
    let mut makers: HashMap<i64, usize> = HashMap::new();
    for (at, operation) in history.iter().enumerate() {
        let Step::Add { by, made } = operation.what else { continue };
        if operation.outcome == Outcome::Ok {
            ended.push((operation.returned, by));
        }
        if operation.outcome != Outcome::Fail {
            asked.push((operation.invoked, by));
        }
        if let Some(other) = made.and_then(|made| makers.insert(made, at)) {
            let evidence = format!("T{other} and T{at} each made it {}", made.unwrap_or_default());
            found.push(Anomaly { name: "lost update", operations: vec![other, at], evidence });
        }
    }
    let ended = Sums::of(ended);
    let asked = Sums::of(asked);
    for (at, operation) in history.iter().enumerate() {
        let value = match operation.what {
            Step::Read(Some(value)) | Step::Add { made: Some(value), .. } => value,
            Step::Read(None) | Step::Add { made: None, .. } => continue,
        };
        let least = ended.raises(operation.invoked) + asked.cuts(operation.returned);
        let most = asked.raises(operation.returned) + ended.cuts(operation.invoked);
        if value < least || value > most {
            let evidence = format!("T{at} saw {value}, outside {least} to {most}: process {}", operation.process);
            found.push(Anomaly { name: "out of bounds", operations: vec![at], evidence });
        }
    }
    verdict.anomalies = found;
    verdict
}

/// Running sums of increases and decreases by time.
struct Sums {
    times: Vec<(u64, i64, i64)>,
}

impl Sums {
    fn of(mut changes: Vec<(u64, i64)>) -> Self {
        changes.sort_unstable();
        let (mut raised, mut cut) = (0, 0);
        let times = changes.into_iter().map(|(time, by)| {
            if by > 0 { raised += by } else { cut += by }
            (time, raised, cut)
        });
        Self { times: times.collect() }
    }

    fn before(&self, time: u64) -> (i64, i64) {
        let count = self.times.partition_point(|(at, ..)| *at < time);
        count.checked_sub(1).map_or((0, 0), |last| (self.times[last].1, self.times[last].2))
    }

    fn raises(&self, time: u64) -> i64 {
        self.before(time).0
    }

    fn cuts(&self, time: u64) -> i64 {
        self.before(time).1
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::judges::tests::{at_once, in_turn};

    #[test]
    fn reads_lie_between_bounds() {
        let add = |outcome: &'static str| ("add", json!(1), outcome, json!(1));
        let made = |value: i64| ("add", json!(1), "ok", json!({ "made": value }));
        let read = |value: i64| ("read", Value::Null, "ok", json!(value));
        let names = |events: &[Event]| check(&decode(events).unwrap()).names();
        assert_eq!(names(&in_turn(&[add("ok"), add("info"), add("fail"), read(1)])), [""; 0]);
        assert_eq!(names(&in_turn(&[add("ok"), add("info"), add("fail"), read(2)])), [""; 0]);
        assert_eq!(names(&in_turn(&[add("ok"), add("info"), add("fail"), read(3)])), ["out of bounds"]);
        assert_eq!(names(&in_turn(&[add("ok"), add("ok"), read(1)])), ["out of bounds"]);
        assert_eq!(names(&at_once(&[made(1), made(2), read(0)])), [""; 0]);
        assert_eq!(names(&at_once(&[made(1), made(1)])), ["lost update"]);
    }
}
