//! Foreign keys that are looked at when the transaction commits: DEFERRABLE, and put off by INITIALLY DEFERRED or SET
//! CONSTRAINTS.
//!
//! What a statement would have asked at its end is noted here and asked of the rows that are there when it is due
//! ([`settle_deferred`](crate::foreign::settle_deferred)). A key noted by what was rolled back since, or by a row that has
//! changed again, owes nothing by then: no row refers to it.
//!
//! **Invariant (owed-until-settled):** what was put off stays owed until it was looked at and held, what was noted was
//! rolled back, or the transaction has ended. What held may not hold any more after ROLLBACK TO SAVEPOINT: it is owed
//! again.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use catalog::ForeignKey;
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
}

#[derive(Debug)]
pub(crate) struct Owed {
    pub side: Side,
    /// The table of the foreign key.
    pub table: u32,
    pub constraint: u32,
    /// The table whose rows have changed.
    changed: u32,
    pub values: Vec<Datum>,
}

/// What the transaction has put off.
#[derive(Debug, Default)]
pub struct Deferred {
    modes: Modes,
    /// Each with whether it has held when it was looked at.
    owed: Vec<(Arc<Owed>, bool)>,
    /// Where it is among `owed`: by side, constraint and key.
    known: FxHashMap<(Side, u32, Vec<u8>), usize>,
}

/// What ROLLBACK TO goes back to.
#[derive(Clone, Debug)]
pub struct DeferredMark {
    modes: Modes,
    owed: usize,
}

impl Deferred {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    #[must_use]
    pub fn mark(&self) -> DeferredMark {
        DeferredMark { modes: self.modes.clone(), owed: self.owed.len() }
    }

    pub fn rollback_to(&mut self, mark: &DeferredMark) {
        self.modes.clone_from(&mark.modes);
        self.owed.truncate(mark.owed);
        self.owed.iter_mut().for_each(|(_, held)| *held = false);
        self.known.retain(|_, at| *at < mark.owed);
    }

    /// The transaction starts over; what SET CONSTRAINTS said before its first change still holds.
    pub fn start_over(&mut self) {
        self.owed.clear();
        self.known.clear();
    }

    /// The transaction has ended.
    pub fn clear(&mut self) {
        if !self.owed.is_empty() || self.modes.all.is_some() || !self.modes.named.is_empty() {
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
        let said = || self.modes.named.get(&key.oid).copied().or(self.modes.all);
        key.deferrable && said().unwrap_or(key.initially_deferred)
    }

    /// Notes a key of a constraint of `table`, because rows of `changed` have changed; `bytes` are the key's.
    pub(crate) fn note(
        &mut self,
        side: Side,
        table: u32,
        constraint: u32,
        changed: u32,
        values: Vec<Datum>,
        bytes: Vec<u8>,
    ) {
        match self.known.entry((side, constraint, bytes)) {
            Entry::Occupied(known) => self.owed[*known.get()].1 = false,
            Entry::Vacant(new) => {
                new.insert(self.owed.len());
                self.owed.push((Arc::new(Owed { side, table, constraint, changed, values }), false));
            }
        }
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
        if self.owed.iter().all(|(owed, held)| *held || owed.changed != table) {
            return Ok(());
        }
        let message = format!("cannot {verb} \"{name}\" because it has pending trigger events");
        Err(SqlError::new(SqlState::ObjectInUse, message))
    }
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
        deferred.note(Side::Referring, 2, 7, 2, vec![Datum::Int(value)], value.to_be_bytes().to_vec());
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
}
