//! Foreign keys and rules of indexes ([`crate::rules`]) that are looked at, and constraint triggers that are fired, when
//! the transaction commits: DEFERRABLE, and put off by INITIALLY DEFERRED or SET CONSTRAINTS.
//!
//! What a statement would have asked at its end is noted here and asked of the rows that are there when it is due
//! ([`settle_deferred`](crate::foreign::settle_deferred)). A key noted by what was rolled back since, or by a row that has
//! changed again, owes nothing by then: no row refers to it.
//!
//! **Invariant (owed-until-settled):** what was put off stays owed until it was looked at and held, what was noted was
//! rolled back, or the transaction has ended. What held may not hold any more after ROLLBACK TO SAVEPOINT: it is owed
//! again. A trigger that was fired is owed no more, unless the savepoint it was fired behind is rolled back to.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use catalog::{ConstraintTrigger, ForeignKey, IndexDetails, TriggerEvent};
use rustc_hash::FxHashMap;
use types::{Datum, SqlError, SqlResult, SqlState};

/// What SET CONSTRAINTS has said in this transaction.
#[derive(Clone, Debug, Default)]
struct Modes {
    all: Option<bool>,
    /// Whether it is put off, by the constraint's oid.
    named: FxHashMap<u32, bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// A referencing row was inserted, or its key changed.
    Referring,
    /// The referenced row was deleted, or its key changed.
    Referenced,
    /// A row has come to an index with a rule.
    Rule,
}

#[derive(Debug)]
pub(crate) struct Owed {
    pub side: Side,
    /// The table of the foreign key, or of the index.
    pub table: u32,
    pub constraint: u32,
    /// The table whose rows have changed.
    changed: u32,
    pub values: Vec<Datum>,
}

/// A constraint trigger that a row has fired.
#[derive(Debug)]
pub(crate) struct OwedTrigger {
    pub table: u32,
    pub trigger: u32,
    pub event: TriggerEvent,
    pub old: Option<Datum>,
    pub new: Option<Datum>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Owed,
    /// Its function is running.
    Firing,
    /// When so many savepoints' marks had been taken.
    Fired(u64),
}

/// What the rows of triggers that are put off may take.
const TRIGGERS_MAX_BYTES: usize = 256 << 20;

/// What the keys that are put off may take.
const KEYS_MAX_BYTES: usize = 256 << 20;

/// What the transaction has put off.
#[derive(Debug, Default)]
pub struct Deferred {
    modes: Modes,
    /// In the order in which they were noted.
    triggers: Vec<(Arc<OwedTrigger>, Stage)>,
    trigger_bytes: usize,
    /// Rises with each mark.
    marks: u64,
    /// Each with whether it has held when it was looked at.
    owed: Vec<(Arc<Owed>, bool)>,
    owed_bytes: usize,
    /// Where it is among `owed`: by side, constraint and key.
    known: FxHashMap<(Side, u32, Vec<u8>), usize>,
}

/// What ROLLBACK TO goes back to.
#[derive(Clone, Debug)]
pub struct DeferredMark {
    modes: Modes,
    owed: usize,
    triggers: usize,
    number: u64,
}

impl Deferred {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.triggers.is_empty()
    }

    #[must_use]
    pub fn mark(&mut self) -> DeferredMark {
        self.marks += 1;
        DeferredMark {
            modes: self.modes.clone(),
            owed: self.owed.len(),
            triggers: self.triggers.len(),
            number: self.marks,
        }
    }

    pub fn rollback_to(&mut self, mark: &DeferredMark) {
        self.modes.clone_from(&mark.modes);
        let kept = mark.owed.min(self.owed.len());
        self.owed_bytes -= self.owed.drain(kept..).map(|(owed, _)| bytes_of_key(&owed)).sum::<usize>();
        self.owed.iter_mut().for_each(|(_, held)| *held = false);
        self.known.retain(|_, at| *at < mark.owed);
        let kept = mark.triggers.min(self.triggers.len());
        self.trigger_bytes -= self.triggers.drain(kept..).map(|(owed, _)| bytes_of(&owed)).sum::<usize>();
        for (_, stage) in &mut self.triggers {
            if matches!(*stage, Stage::Fired(marks) if marks >= mark.number) {
                *stage = Stage::Owed;
            }
        }
    }

    /// The transaction starts over; what SET CONSTRAINTS said before its first change still holds.
    pub fn start_over(&mut self) {
        self.owed.clear();
        self.owed_bytes = 0;
        self.known.clear();
        self.triggers.clear();
        self.trigger_bytes = 0;
    }

    /// The transaction has ended.
    pub fn clear(&mut self) {
        if !self.is_empty() || self.modes.all.is_some() || !self.modes.named.is_empty() {
            *self = Self::default();
        }
    }

    /// SET CONSTRAINTS for these, or for all. What becomes immediate was settled before.
    pub fn set(&mut self, constraints: Option<&[u32]>, deferred: bool) {
        match constraints {
            None => self.modes = Modes { all: Some(deferred), named: FxHashMap::default() },
            Some(oids) => self.modes.named.extend(oids.iter().map(|oid| (*oid, deferred))),
        }
    }

    pub(crate) fn puts_off(&self, key: &ForeignKey) -> bool {
        key.deferrable && self.said_of(key.oid).unwrap_or(key.initially_deferred)
    }

    pub(crate) fn puts_off_rule(&self, constraint: u32, of: &IndexDetails) -> bool {
        of.deferrable && self.said_of(constraint).unwrap_or(of.initially_deferred)
    }

    pub(crate) fn puts_off_trigger(&self, oid: u32, constraint: ConstraintTrigger) -> bool {
        constraint.deferrable && self.said_of(oid).unwrap_or(constraint.initially_deferred)
    }

    fn said_of(&self, oid: u32) -> Option<bool> {
        self.modes.named.get(&oid).copied().or(self.modes.all)
    }

    /// Notes that a row has fired a trigger of `table`.
    ///
    /// # Errors
    /// 53200 when the rows take too much.
    pub(crate) fn note_trigger(
        &mut self,
        table: u32,
        trigger: u32,
        event: TriggerEvent,
        old: Option<Datum>,
        new: Option<Datum>,
    ) -> SqlResult<()> {
        let owed = OwedTrigger { table, trigger, event, old, new };
        self.trigger_bytes += bytes_of(&owed);
        if self.trigger_bytes > TRIGGERS_MAX_BYTES {
            return Err(SqlError::new(SqlState::OutOfMemory, "out of memory")
                .with_detail("The rows of deferred triggers take too much.")
                .with_hint("Commit more often, or SET CONSTRAINTS … IMMEDIATE."));
        }
        self.triggers.push((Arc::new(owed), Stage::Owed));
        Ok(())
    }

    /// The next trigger, from a place on, that is owed of these constraints, or of all; its function is about to run.
    pub(crate) fn begin_trigger(&mut self, of: Option<&[u32]>, from: usize) -> Option<(usize, Arc<OwedTrigger>)> {
        let rest = self.triggers.iter_mut().enumerate().skip(from);
        let (at, (owed, stage)) =
            rest.into_iter().find(|(_, (owed, stage))| *stage == Stage::Owed && is_among(of, owed.trigger))?;
        *stage = Stage::Firing;
        Some((at, owed.clone()))
    }

    /// Its function has returned.
    pub(crate) fn end_trigger(&mut self, at: usize) {
        let marks = self.marks;
        if let Some((_, stage @ Stage::Firing)) = self.triggers.get_mut(at) {
            *stage = Stage::Fired(marks);
        }
    }

    /// Notes a key of a constraint of `table`, because rows of `changed` have changed; `bytes` are the key's.
    ///
    /// # Errors
    /// 53200 when the keys take too much.
    pub(crate) fn note(
        &mut self,
        side: Side,
        table: u32,
        constraint: u32,
        changed: u32,
        values: Vec<Datum>,
        bytes: Vec<u8>,
    ) -> SqlResult<()> {
        match self.known.entry((side, constraint, bytes)) {
            Entry::Occupied(known) => self.owed[*known.get()].1 = false,
            Entry::Vacant(new) => {
                let owed = Owed { side, table, constraint, changed, values };
                let bytes = bytes_of_key(&owed);
                if self.owed_bytes + bytes > KEYS_MAX_BYTES {
                    return Err(SqlError::new(SqlState::OutOfMemory, "out of memory")
                        .with_detail("The keys of deferred constraints take too much.")
                        .with_hint("Commit more often, or SET CONSTRAINTS … IMMEDIATE."));
                }
                self.owed_bytes += bytes;
                new.insert(self.owed.len());
                self.owed.push((Arc::new(owed), false));
            }
        }
        Ok(())
    }

    /// What is owed of these constraints, or of all.
    pub(crate) fn due(&self, of: Option<&[u32]>) -> Vec<Arc<Owed>> {
        let due = self.owed.iter().filter(|(owed, held)| !held && is_among(of, owed.constraint));
        due.map(|(owed, _)| owed.clone()).collect()
    }

    /// All that was due has held.
    pub(crate) fn settled(&mut self, of: Option<&[u32]>) {
        for (owed, held) in &mut self.owed {
            *held |= is_among(of, owed.constraint);
        }
    }

    /// # Errors
    /// 55006 where changed rows of a table are yet to be looked at: the command `verb` must not change what they mean.
    pub(crate) fn check_settled(&self, table: u32, name: &str, verb: &str) -> SqlResult<()> {
        let of = |stage: Stage| self.triggers.iter().any(|(owed, now)| owed.table == table && *now == stage);
        if of(Stage::Firing) {
            let message = format!("cannot {verb} \"{name}\" because it is being used by active queries in this session");
            return Err(SqlError::new(SqlState::ObjectInUse, message));
        }
        let keys = self.owed.iter().any(|(owed, held)| !held && owed.changed == table);
        if !keys && !of(Stage::Owed) {
            return Ok(());
        }
        let message = format!("cannot {verb} \"{name}\" because it has pending trigger events");
        Err(SqlError::new(SqlState::ObjectInUse, message))
    }
}

fn bytes_of(owed: &OwedTrigger) -> usize {
    size_of::<OwedTrigger>() + owed.old.iter().chain(&owed.new).map(Datum::heap_bytes).sum::<usize>()
}

/// Of its values and of about as many bytes of the key.
fn bytes_of_key(owed: &Owed) -> usize {
    let values: usize = owed.values.iter().map(|value| size_of::<Datum>() + value.heap_bytes()).sum();
    size_of::<Owed>() + 2 * values
}

fn is_among(of: Option<&[u32]>, constraint: u32) -> bool {
    of.is_none_or(|oids| oids.contains(&constraint))
}

#[cfg(test)]
mod tests {
    use catalog::ReferentialAction;

    use super::*;

    fn key(deferrable: bool, initially_deferred: bool) -> ForeignKey {
        ForeignKey {
            oid: 7,
            name: "k".into(),
            columns: Vec::new(),
            referenced_table: 1,
            referenced_columns: Vec::new(),
            on_delete: ReferentialAction::NoAction,
            on_update: ReferentialAction::NoAction,
            validated: true,
            deferrable,
            initially_deferred,
        }
    }

    fn note(deferred: &mut Deferred, value: i64) {
        deferred.note(Side::Referring, 2, 7, 2, vec![Datum::Int(value)], value.to_be_bytes().to_vec()).unwrap();
    }

    #[test]
    fn what_set_constraints_says_last_counts() {
        let mut deferred = Deferred::default();
        assert!(deferred.puts_off(&key(true, true)) && !deferred.puts_off(&key(true, false)));
        deferred.set(Some(&[7]), true);
        assert!(deferred.puts_off(&key(true, false)) && !deferred.puts_off(&key(false, false)));
        deferred.set(None, false);
        assert!(!deferred.puts_off(&key(true, true)));
    }

    #[test]
    fn owed_until_settled() {
        let mut deferred = Deferred::default();
        note(&mut deferred, 1);
        let mark = deferred.mark();
        note(&mut deferred, 1);
        note(&mut deferred, 2);
        assert_eq!(deferred.due(None).len(), 2);
        assert!(deferred.check_settled(2, "t", "DROP TABLE").is_err());
        deferred.settled(Some(&[8]));
        assert_eq!(deferred.due(None).len(), 2);
        deferred.settled(None);
        assert!(deferred.due(None).is_empty() && deferred.check_settled(2, "t", "DROP TABLE").is_ok());
        note(&mut deferred, 2);
        assert_eq!(deferred.due(Some(&[7])).len(), 1);
        // The row that made the first hold may have gone with the savepoint.
        deferred.rollback_to(&mark);
        let due = deferred.due(None);
        assert!(matches!(&due[..], [owed] if owed.values == [Datum::Int(1)]));
    }

    /// fired-once
    #[test]
    fn a_trigger_is_owed_again_when_what_it_did_is_rolled_back() {
        let mut deferred = Deferred::default();
        let note = |deferred: &mut Deferred, trigger| {
            deferred.note_trigger(2, trigger, TriggerEvent::Insert, None, Some(Datum::Int(1))).unwrap();
        };
        let due = |deferred: &mut Deferred, of: Option<&[u32]>| -> Vec<u32> {
            let mut found = Vec::new();
            while let Some((at, owed)) = deferred.begin_trigger(of, 0) {
                assert!(deferred.check_settled(2, "t", "TRUNCATE").is_err(), "not while one is fired");
                deferred.end_trigger(at);
                found.push(owed.trigger);
            }
            found
        };
        note(&mut deferred, 7);
        assert_eq!(due(&mut deferred, Some(&[8])), Vec::<u32>::new());
        assert!(deferred.check_settled(2, "t", "TRUNCATE").is_err());
        let first = deferred.mark();
        note(&mut deferred, 8);
        let second = deferred.mark();
        assert_eq!(due(&mut deferred, Some(&[7])), [7]);
        assert_eq!(due(&mut deferred, None), [8]);
        assert!(deferred.check_settled(2, "t", "TRUNCATE").is_ok());
        // Both were fired behind the second mark, and one was not there yet at the first.
        deferred.rollback_to(&second);
        assert_eq!(due(&mut deferred, None), [7, 8]);
        let third = deferred.mark();
        deferred.rollback_to(&third);
        assert_eq!(due(&mut deferred, None), Vec::<u32>::new(), "fired before the mark");
        deferred.rollback_to(&first);
        assert_eq!(due(&mut deferred, None), [7]);
        deferred.start_over();
        assert!(deferred.is_empty());
    }

    #[test]
    fn deferred_keys_are_bounded() {
        let mut deferred = Deferred::default();
        let mark = deferred.mark();
        let value = Datum::text("x".repeat(KEYS_MAX_BYTES / 8));
        let mut note = |key: u8| deferred.note(Side::Rule, 2, 7, 2, vec![value.clone()], vec![key]);
        assert!((0..3).all(|key| note(key).is_ok()));
        assert!(note(2).is_ok(), "it is known");
        assert_eq!(note(3).unwrap_err().code(), SqlState::OutOfMemory);
        deferred.rollback_to(&mark);
        assert_eq!(deferred.owed_bytes, 0);
    }

    #[test]
    fn rows_of_deferred_triggers_are_bounded() {
        let mut deferred = Deferred::default();
        let row = Datum::text("x".repeat(TRIGGERS_MAX_BYTES / 4));
        let mut note = || deferred.note_trigger(2, 7, TriggerEvent::Delete, Some(row.clone()), None);
        assert!((0..3).all(|_| note().is_ok()));
        assert_eq!(note().unwrap_err().code(), SqlState::OutOfMemory);
    }
}
