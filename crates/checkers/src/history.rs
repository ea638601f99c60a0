//! Histories as data: what each client asked, what came back, and in which order, as events or as operations.
//!
//! Events are what a recorder writes down, one JSON object a line:
//!
//! ```text
//! {"type":"invoke","process":3,"time":17000,"f":"txn","value":[["append",1,9],["r",2,null]]}
//! {"type":"ok","process":3,"time":23000,"f":"txn","value":[["append",1,9],["r",2,[4,5]]]}
//! ```
//!
//! A process does one thing at a time. Its invocation is answered by *ok* (it happened), *fail* (it certainly did not) or
//! *info* (unknown: it may have happened, then or later); one without an answer counts as *info*. An [`Operation`] is such
//! a pair. Its times are places in the sequence of events, which is the order of real time.

use std::fmt;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl EventKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Invoke, Self::Ok, Self::Fail, Self::Info].into_iter().find(|kind| kind.name() == name)
    }
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: EventKind,
    pub process: u64,
    /// Nanoseconds since the history began; for readers, no checker uses it.
    pub time_ns: u64,
    pub f: String,
    pub value: Value,
    /// What the client was told, when it was not *ok*.
    pub error: Option<String>,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It certainly did nothing.
    Fail,
    /// Unknown: it may have happened, then or later.
    Info,
}

/// An invocation and its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation<T> {
    pub process: u64,
    /// When it was invoked and when its client was told, on one clock for the whole history; see [`Operation::end`].
    pub invoked: u64,
    pub returned: u64,
    pub outcome: Outcome,
    pub what: T,
    /// The error its client got.
    pub error: String,
}

/// Later than everything.
pub const NEVER: u64 = u64::MAX;

impl<T> Operation<T> {
    /// Until when it may take effect: [`NEVER`] when its outcome is unknown, whatever its client was told and when.
    #[must_use]
    pub fn end(&self) -> u64 {
        match self.outcome {
            Outcome::Ok | Outcome::Fail => self.returned,
            Outcome::Info => NEVER,
        }
    }

    /// Whether it had ended before the other was invoked.
    #[must_use]
    pub fn precedes<U>(&self, other: &Operation<U>) -> bool {
        self.end() < other.invoked
    }

    /// The same with its content worked out further.
    pub fn map<U>(self, work_out: impl FnOnce(T) -> U) -> Operation<U> {
        let Self { process, invoked, returned, outcome, what, error } = self;
        Operation { process, invoked, returned, outcome, what: work_out(what), error }
    }
}

/// An operation as events tell it: its name, what it was invoked with and what came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub f: String,
    pub asked: Value,
    /// Null when nothing came back.
    pub answered: Value,
}

/// A history that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The event, counted from zero.
    pub event: usize,
    pub reason: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}: {}", self.event, self.reason)
    }
}

impl std::error::Error for Malformed {}

impl Event {
    /// As one line of JSON, without its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        object.insert("type".into(), self.kind.name().into());
        object.insert("process".into(), self.process.into());
        object.insert("time".into(), self.time_ns.into());
        object.insert("f".into(), self.f.as_str().into());
        object.insert("value".into(), self.value.clone());
        if let Some(error) = &self.error {
            object.insert("error".into(), error.as_str().into());
        }
        Value::Object(object).to_string()
    }

    /// One object; none for what a nemesis did, which is no operation of a client.
    ///
    /// # Errors
    /// When it is no event.
    pub fn of_value(at: usize, object: &Value) -> Result<Option<Self>, Malformed> {
        let missing = |what: &str| Malformed { event: at, reason: format!("no {what}: {object}") };
        let Some(process) = object.get("process") else {
            return Ok(Some(Self::without_process(at, object)?));
        };
        let Some(process) = process.as_u64() else { return Ok(None) };
        Self::parse(object, process).map(Some).ok_or_else(|| missing("type"))
    }

    /// Some recorders leave the process out: then operations of one name come one after the other.
    fn without_process(at: usize, object: &Value) -> Result<Self, Malformed> {
        let f = object.get("f").and_then(Value::as_str).unwrap_or_default();
        let process = f.bytes().fold(0, |sum: u64, byte| (sum * 31 + u64::from(byte)) % 1_000_003);
        Self::parse(object, process).ok_or_else(|| Malformed { event: at, reason: format!("no type: {object}") })
    }

    fn parse(object: &Value, process: u64) -> Option<Self> {
        Some(Self {
            kind: EventKind::parse(object.get("type")?.as_str()?)?,
            process,
            time_ns: object.get("time").and_then(Value::as_u64).unwrap_or_default(),
            f: object.get("f").and_then(Value::as_str).unwrap_or("txn").to_owned(),
            value: object.get("value").cloned().unwrap_or(Value::Null),
            error: object.get("error").map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned)),
        })
    }
}

/// Puts invocations and their outcomes together, in the order of invocation.
///
/// # Errors
/// When an outcome has no invocation.
pub fn pair(events: &[Event]) -> Result<Vec<Operation<Call>>, Malformed> {
    let mut operations: Vec<Operation<Call>> = Vec::with_capacity(events.len() / 2);
    let mut open: FxHashMap<u64, usize> = FxHashMap::default();
    for (at, event) in events.iter().enumerate() {
        let now = at as u64;
        if event.kind == EventKind::Invoke {
            open.insert(event.process, operations.len());
            operations.push(Operation {
                process: event.process,
                invoked: now,
                returned: NEVER,
                outcome: Outcome::Info,
                what: Call { f: event.f.clone(), asked: event.value.clone(), answered: Value::Null },
                error: "no answer".into(),
            });
            continue;
        }
        let Some(operation) = open.remove(&event.process).map(|place| &mut operations[place]) else {
            let reason = format!("process {} had nothing under way", event.process);
            return Err(Malformed { event: at, reason });
        };
        operation.error = event.error.clone().unwrap_or_default();
        operation.what.answered = event.value.clone();
        (operation.outcome, operation.returned) = match event.kind {
            EventKind::Ok => (Outcome::Ok, now),
            EventKind::Fail => (Outcome::Fail, now),
            EventKind::Info | EventKind::Invoke => (Outcome::Info, NEVER),
        };
    }
    Ok(operations)
}

/// Works out the content of every operation.
///
/// # Errors
/// The first one whose content makes no sense.
pub fn decode<T>(
    operations: Vec<Operation<Call>>,
    one: impl Fn(&Operation<Call>) -> Option<T>,
) -> Result<Vec<Operation<T>>, Malformed> {
    let decoded = operations.into_iter().map(|operation| {
        let at = usize::try_from(operation.invoked).unwrap_or(usize::MAX);
        match one(&operation) {
            Some(what) => Ok(operation.map(|_| what)),
            None => Err(Malformed { event: at, reason: format!("not understood: {:?}", operation.what) }),
        }
    });
    decoded.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: EventKind, process: u64, value: Value) -> Event {
        Event { kind, process, time_ns: 5, f: "txn".into(), value, error: None }
    }

    #[test]
    fn lines_come_back_as_they_were() {
        let mut one = event(EventKind::Fail, 7, json!([["append", 1, 2], ["r", 3, null]]));
        one.error = Some("40001: again".into());
        let value: Value = serde_json::from_str(&one.to_json()).unwrap();
        assert_eq!(Event::of_value(0, &value), Ok(Some(one)));
    }

    #[test]
    fn an_invocation_without_an_answer_is_unknown_for_ever() {
        let events = [
            event(EventKind::Invoke, 1, json!(1)),
            event(EventKind::Invoke, 2, json!(2)),
            event(EventKind::Ok, 2, json!(3)),
        ];
        let operations = pair(&events).unwrap();
        assert_eq!((operations[0].outcome, operations[0].returned), (Outcome::Info, NEVER));
        assert_eq!((operations[1].outcome, operations[1].invoked, operations[1].returned), (Outcome::Ok, 1, 2));
        assert_eq!(operations[1].what.answered, json!(3));
    }

    #[test]
    fn an_answer_without_an_invocation_is_no_history() {
        assert!(pair(&[event(EventKind::Ok, 1, json!(1))]).is_err());
    }
}
