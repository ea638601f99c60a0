//! Judges of workloads that look for one thing each, by the names of their workloads, over events as a recorder wrote them.

mod bank;
mod counter;
mod long_fork;
mod monotonic;
mod sequential;
mod sets;
mod write_skew;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    Event, Malformed, Verdict, linearizable, list_append,
    history::{self, Call, Operation, Outcome},
    rw_register,
};

/// What a history is a history of, and what must be known to judge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// `total` is what all accounts hold together; they may go below zero or not.
    Bank { total: i64, negative: bool },
    /// Single reads, writes and compare-and-sets of many keys.
    Registers,
    ListAppend,
    /// Transactions over registers with unique writes.
    RwRegisters { linearizable_keys: bool },
    LongFork,
    WriteSkew,
    Sequential,
    Monotonic,
    Sets,
    Counter,
}

impl Workload {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bank { .. } => "bank",
            Self::Registers => "registers",
            Self::ListAppend => "list-append",
            Self::RwRegisters { .. } => "rw-registers",
            Self::LongFork => "long-fork",
            Self::WriteSkew => "write-skew",
            Self::Sequential => "sequential",
            Self::Monotonic => "monotonic",
            Self::Sets => "sets",
            Self::Counter => "counter",
        }
    }

    /// As the first line of a file, before the events.
    #[must_use]
    pub fn to_json(self) -> String {
        let mut header = json!({ "workload": self.name() });
        match self {
            Self::Bank { total, negative } => {
                header["total"] = total.into();
                header["negative"] = negative.into();
            }
            Self::RwRegisters { linearizable_keys } => header["linearizable_keys"] = linearizable_keys.into(),
            Self::Registers
            | Self::ListAppend
            | Self::LongFork
            | Self::WriteSkew
            | Self::Sequential
            | Self::Monotonic
            | Self::Sets
            | Self::Counter => {}
        }
        header.to_string()
    }

    /// What [`Workload::to_json`] wrote.
    #[must_use]
    pub fn of_value(header: &Value) -> Option<Self> {
        Some(match header.get("workload")?.as_str()? {
            "bank" => Self::Bank {
                total: header.get("total")?.as_i64()?,
                negative: header.get("negative").and_then(Value::as_bool).unwrap_or(false),
            },
            "registers" => Self::Registers,
            "list-append" => Self::ListAppend,
            "rw-registers" => {
                let linearizable_keys = header.get("linearizable_keys").and_then(Value::as_bool).unwrap_or(false);
                Self::RwRegisters { linearizable_keys }
            }
            "long-fork" => Self::LongFork,
            "write-skew" => Self::WriteSkew,
            "sequential" => Self::Sequential,
            "monotonic" => Self::Monotonic,
            "sets" => Self::Sets,
            "counter" => Self::Counter,
            _ => return None,
        })
    }

    /// Judges the events of such a workload.
    ///
    /// # Errors
    /// When they are of another.
    pub fn judge(self, events: &[Event]) -> Result<Verdict, Malformed> {
        Ok(match self {
            Self::Bank { total, negative } => bank::check(&bank::decode(events)?, total, negative),
            Self::Registers => {
                linearizable::check_registers(&linearizable::decode(events)?, linearizable::STATES_MAX)
            }
            Self::ListAppend => list_append::check(&list_append::decode(events)?, None),
            Self::RwRegisters { linearizable_keys } => {
                rw_register::check(&rw_register::decode(events)?, rw_register::Options { linearizable_keys })
            }
            Self::LongFork => long_fork::check(&rw_register::decode(events)?),
            Self::WriteSkew => write_skew::check(&write_skew::decode(events)?),
            Self::Sequential => sequential::check(&sequential::decode(events)?),
            Self::Monotonic => monotonic::check(&monotonic::decode(events)?),
            Self::Sets => sets::check(&sets::decode(events)?),
            Self::Counter => counter::check(&counter::decode(events)?),
        })
    }
}

/// One thing that is added, and reads of all of them: what several judges work on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Added {
    /// What was added; where the database chose the value, none until it answered.
    Add(Option<i64>),
    Read(Option<Vec<i64>>),
}

fn decode_added(events: &[Event]) -> Result<Vec<Operation<Added>>, Malformed> {
    history::decode(history::pair(events)?, |operation| {
        let Call { f, asked, answered } = &operation.what;
        match f.as_str() {
            "add" | "insert" => Some(Added::Add(asked.as_i64().or(answered.as_i64()))),
            "read" if operation.outcome != Outcome::Ok => Some(Added::Read(None)),
            "read" => Some(Added::Read(Some(answered.as_array()?.iter().map(Value::as_i64).collect::<Option<_>>()?))),
            _ => None,
        }
    })
}

/// How often each value is in a list.
fn counts(values: &[i64]) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(*value).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as `process f asked > outcome answered`: one invocation and its answer, one after the other.
    pub(super) fn in_turn(lines: &[(&str, Value, &str, Value)]) -> Vec<Event> {
        let mut events = Vec::new();
        for (process, (f, asked, outcome, answered)) in (0..).zip(lines) {
            events.push(event("invoke", process, f, asked));
            events.push(event(outcome, process, f, answered));
        }
        events
    }

    /// The same, all under way at once.
    pub(super) fn at_once(lines: &[(&str, Value, &str, Value)]) -> Vec<Event> {
        let numbered = || (0..).zip(lines);
        let invoked = numbered().map(|(process, (f, asked, ..))| event("invoke", process, f, asked));
        invoked.chain(numbered().map(|(process, (f, _, outcome, answered))| event(outcome, process, f, answered))).collect()
    }

    fn event(kind: &str, process: u64, f: &str, value: &Value) -> Event {
        let object = json!({"type": kind, "process": process, "f": f, "value": value});
        Event::of_value(0, &object).unwrap().unwrap()
    }

    #[test]
    fn headers_come_back_as_they_were() {
        let all = [
            Workload::Bank { total: 70, negative: true },
            Workload::Registers,
            Workload::ListAppend,
            Workload::RwRegisters { linearizable_keys: true },
            Workload::LongFork,
            Workload::WriteSkew,
            Workload::Sequential,
            Workload::Monotonic,
            Workload::Sets,
            Workload::Counter,
        ];
        for workload in all {
            let header = serde_json::from_str(&workload.to_json()).unwrap();
            assert_eq!(Workload::of_value(&header), Some(workload));
        }
    }
}
