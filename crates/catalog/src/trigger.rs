//! Triggers of tables and views. Their bytes are fields with tags ([`crate::tagged`]).

use keys::ColumnId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::descriptor::Table;
use crate::tagged::{Malformed, Reader, Writer};

/// What a trigger fires on, or what has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TriggerEvent {
    Insert,
    Delete,
    Update,
    Truncate,
}

impl TriggerEvent {
    /// In the order in which PostgreSQL shows them.
    pub const ALL: [Self; 4] = [Self::Insert, Self::Delete, Self::Update, Self::Truncate];

    /// As `TG_OP` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Delete => "DELETE",
            Self::Update => "UPDATE",
            Self::Truncate => "TRUNCATE",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Insert => 1,
            Self::Delete => 2,
            Self::Update => 4,
            Self::Truncate => 8,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriggerEvents(u8);

impl TriggerEvents {
    #[must_use]
    pub const fn has(self, event: TriggerEvent) -> bool {
        self.0 & event.bit() != 0
    }

    #[must_use]
    pub const fn with(self, event: TriggerEvent) -> Self {
        Self(self.0 | event.bit())
    }

    pub fn iter(self) -> impl Iterator<Item = TriggerEvent> {
        TriggerEvent::ALL.into_iter().filter(move |event| self.has(*event))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerTiming {
    Before,
    After,
    InsteadOf,
}

impl TriggerTiming {
    /// As `TG_WHEN` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "BEFORE",
            Self::After => "AFTER",
            Self::InsteadOf => "INSTEAD OF",
        }
    }
}

/// ALTER TABLE … ENABLE and DISABLE TRIGGER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerEnabled {
    /// Unless `session_replication_role` is `replica`.
    Origin,
    Disabled,
    /// Only where it is.
    Replica,
    Always,
}

impl TriggerEnabled {
    const ALL: [Self; 4] = [Self::Origin, Self::Disabled, Self::Replica, Self::Always];

    /// As `tgenabled` has it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Origin => 'O',
            Self::Disabled => 'D',
            Self::Replica => 'R',
            Self::Always => 'A',
        }
    }
}

/// What CREATE CONSTRAINT TRIGGER says besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConstraintTrigger {
    pub deferrable: bool,
    pub initially_deferred: bool,
    /// FROM: the other table of the constraint.
    pub from: Option<u32>,
}

/// A trigger of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    pub oid: u32,
    pub name: String,
    /// The id of its function.
    pub routine: u32,
    pub timing: TriggerTiming,
    /// FOR EACH ROW.
    pub for_each_row: bool,
    pub events: TriggerEvents,
    /// UPDATE OF these; empty: of any.
    pub columns: Vec<ColumnId>,
    /// WHEN, as SQL text over `old` and `new`.
    pub condition: Option<String>,
    pub arguments: Vec<String>,
    /// The name of OLD TABLE.
    pub old_table: Option<String>,
    /// The name of NEW TABLE.
    pub new_table: Option<String>,
    pub constraint: Option<ConstraintTrigger>,
    pub enabled: TriggerEnabled,
}

impl Trigger {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let timing = match self.timing {
            TriggerTiming::Before => 0,
            TriggerTiming::After => 1,
            TriggerTiming::InsteadOf => 2,
        };
        let mut writer = Writer::default();
        writer.number(2, self.oid.into(), 0);
        writer.text(4, &self.name);
        writer.number(6, self.routine.into(), 0);
        writer.number(8, timing, 0);
        writer.flag(10, self.for_each_row);
        writer.number(12, self.events.0.into(), 0);
        writer.list(14, self.columns.iter().map(|column| column.get().to_be_bytes().to_vec()));
        if let Some(condition) = &self.condition {
            writer.bytes(16, condition.as_bytes());
        }
        writer.list(18, self.arguments.iter().map(|argument| argument.clone().into_bytes()));
        if let Some(name) = &self.old_table {
            writer.bytes(20, name.as_bytes());
        }
        if let Some(name) = &self.new_table {
            writer.bytes(22, name.as_bytes());
        }
        if let Some(constraint) = self.constraint {
            let flags = 1 | u64::from(constraint.deferrable) << 1 | u64::from(constraint.initially_deferred) << 2;
            writer.number(24, flags, 0);
            writer.number(26, constraint.from.unwrap_or(0).into(), 0);
        }
        writer.number(28, u32::from(self.enabled.letter()).into(), u32::from('O').into());
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let text = |tag: u64, bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Bad(tag));
        let mut reader = Reader::new(bytes)?;
        let trigger = Self {
            oid: reader.id(2)?,
            name: reader.text(4)?,
            routine: reader.id(6)?,
            timing: match reader.number(8, 0)? {
                0 => TriggerTiming::Before,
                1 => TriggerTiming::After,
                2 => TriggerTiming::InsteadOf,
                _ => return Err(Malformed::Bad(8)),
            },
            for_each_row: reader.flag(10)?,
            events: match u8::try_from(reader.number(12, 0)?) {
                Ok(bits @ 1..=15) => TriggerEvents(bits),
                _ => return Err(Malformed::Bad(12)),
            },
            columns: {
                let column = |bytes: &[u8]| {
                    let bytes = bytes.try_into().map_err(|_| Malformed::Bad(14))?;
                    Ok(ColumnId::new(u32::from_be_bytes(bytes)))
                };
                reader.list(14)?.into_iter().map(column).collect::<Result<_, _>>()?
            },
            condition: reader.bytes(16)?.map(|bytes| text(16, bytes)).transpose()?,
            arguments: reader.list(18)?.into_iter().map(|bytes| text(18, bytes)).collect::<Result<_, _>>()?,
            old_table: reader.bytes(20)?.map(|bytes| text(20, bytes)).transpose()?,
            new_table: reader.bytes(22)?.map(|bytes| text(22, bytes)).transpose()?,
            constraint: {
                let (flags, from) = (reader.number(24, 0)?, reader.id(26)?);
                (flags != 0).then_some(ConstraintTrigger {
                    deferrable: flags & 2 != 0,
                    initially_deferred: flags & 4 != 0,
                    from: (from != 0).then_some(from),
                })
            },
            enabled: {
                let letter = reader.number(28, u32::from('O').into())?;
                let known = |enabled: &TriggerEnabled| u64::from(u32::from(enabled.letter())) == letter;
                TriggerEnabled::ALL.into_iter().find(known).ok_or(Malformed::Bad(28))?
            },
        };
        reader.finish()?;
        Ok(trigger)
    }

    /// Whether it fires where `session_replication_role` is `replica`, or is not.
    #[must_use]
    pub const fn fires(&self, is_replica: bool) -> bool {
        match self.enabled {
            TriggerEnabled::Origin => !is_replica,
            TriggerEnabled::Disabled => false,
            TriggerEnabled::Replica => is_replica,
            TriggerEnabled::Always => true,
        }
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <Vec<u8>>::deserialize(deserializer)?;
        Self::decode(&bytes).map_err(serde::de::Error::custom)
    }
}

impl Table {
    #[must_use]
    pub fn trigger_named(&self, name: &str) -> Option<&Trigger> {
        self.triggers.iter().find(|trigger| trigger.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger() -> Trigger {
        Trigger {
            oid: 16_420,
            name: "audit".into(),
            routine: 16_400,
            timing: TriggerTiming::After,
            for_each_row: true,
            events: TriggerEvents::default().with(TriggerEvent::Insert).with(TriggerEvent::Update),
            columns: vec![ColumnId::new(1), ColumnId::new(300)],
            condition: Some("old.a IS DISTINCT FROM new.a".into()),
            arguments: vec!["x".into(), String::new()],
            old_table: Some("before".into()),
            new_table: None,
            constraint: Some(ConstraintTrigger { deferrable: true, initially_deferred: true, from: Some(16_384) }),
            enabled: TriggerEnabled::Replica,
        }
    }

    #[test]
    fn golden_bytes_of_a_trigger() {
        let bytes = trigger().encode();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Trigger::decode(&bytes).unwrap(), trigger());
        assert_eq!(shown, include_str!("trigger.golden").trim(), "bytes that are stored stay readable");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = trigger().encode();
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = Trigger::decode(&bytes[..end]);
        }
        assert!(Trigger::decode(&[]).is_err(), "a trigger without an event");
    }
}
