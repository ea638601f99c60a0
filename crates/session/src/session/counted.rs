//! What a statement has cost is counted once it has ended: *counted-once*.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use types::{SqlResult, SqlState};

use super::{Completion, Session, attempts::Run};
use crate::{
    plan_cache::Statement,
    statistics::{Changed, Ended, Entry, Parameters, Whose, fingerprint},
};

/// A statement that goes on after what has begun it: COPY FROM.
pub(crate) struct Counting {
    entry: Arc<Entry>,
    began_ns: u64,
}

impl Session {
    /// A statement has ended, or waits for the data of its COPY.
    pub(super) fn count(&mut self, run: &Run<'_>, began_ns: u64, outcome: &mut SqlResult<Completion>) {
        // Not what the node runs by itself.
        if self.pid == 0 || self.is_own {
            return;
        }
        let ended = match outcome {
            Ok(Completion::CopyIn(copy)) => {
                copy.counting = Some(Counting { entry: self.entry_of(run.statement, run.text.is_some()), began_ns });
                return;
            }
            Ok(Completion::Empty) => return,
            Ok(Completion::Done(tag) | Completion::CopyOut(tag)) => Ended::by_tag(tag),
            // The rest is counted as it is fetched.
            Ok(Completion::Suspended) => Ended::Done { what: Changed::Returned, rows: run.limit as u64 },
            Err(error) => Ended::Failed { is_deadlock: error.code() == SqlState::DeadlockDetected },
        };
        let took_ns = self.engine.clock.physical_now_ns().saturating_sub(began_ns);
        let at_hand = run.statement.entry.load();
        // A statement that is prepared outlives SET ROLE.
        let user = self.environment().user_id;
        let own = at_hand.as_deref().filter(|entry| entry.user == user);
        let find = || self.entry_of(run.statement, run.text.is_some());
        self.engine.statistics.note(&self.counters, own, find, took_ns, ended);
    }

    /// More rows of a statement that was counted when it gave its first.
    pub(crate) fn count_more_rows(&self, statement: &Statement, rows: u64) {
        if let Some(entry) = statement.entry.load_full() {
            self.engine.statistics.note_rows(&self.counters, &entry, rows);
        }
    }

    /// A COPY FROM has ended.
    pub(super) fn count_copy(&self, counting: Option<Counting>, outcome: &SqlResult<String>) {
        let Some(Counting { entry, began_ns }) = counting else { return };
        let ended = match outcome {
            Ok(tag) => Ended::by_tag(tag),
            Err(error) => Ended::Failed { is_deadlock: error.code() == SqlState::DeadlockDetected },
        };
        let took_ns = self.engine.clock.physical_now_ns().saturating_sub(began_ns);
        let find = || {
            let whose = Whose { database: entry.database, user: entry.user };
            self.engine.statistics.entry(whose, &entry.text)
        };
        self.engine.statistics.note(&self.counters, Some(&entry), find, took_ns, ended);
    }

    /// The entry of a statement, which keeps it at hand.
    fn entry_of(&self, statement: &Statement, is_template: bool) -> Arc<Entry> {
        // A text without parameters has the same fingerprint either way.
        let parameters = if is_template { Parameters::Renumbered } else { Parameters::Kept };
        let whose = Whose { database: self.database, user: self.environment().user_id };
        let entry = self.engine.statistics.entry(whose, &fingerprint(&statement.text, parameters));
        statement.entry.store(Some(entry.clone()));
        entry
    }

    /// A transaction has ended.
    pub(super) fn count_end(&self, has_committed: bool) {
        // As for statements.
        if self.pid == 0 || self.is_own {
            return;
        }
        let counter = if has_committed { &self.counters.commits } else { &self.counters.rollbacks };
        counter.fetch_add(1, Relaxed);
    }
}
