//! The problem: a test suite that finds nothing may be a suite that sees nothing.
//!
//! The idea: bugs that are known to be bugs, each one line or few at the place of the protocol that it breaks, behind a
//! switch. `cargo xtask planted` turns them on one at a time and demands that the suite sees each.
//!
//! Without the feature `switch` [`is_on`] is a constant *false*: the compiler drops what it guards, and no build that is
//! shipped contains a planted bug. With it, the environment variable `QUORATE_PLANTED` names the one that is on. A build
//! without debug assertions (the release profile) refuses the feature.

#[cfg(all(feature = "switch", not(debug_assertions)))]
compile_error!("planted bugs are not for builds without debug assertions");

/// The variable that names the bug that is on.
pub const VARIABLE: &str = "QUORATE_PLANTED";

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $bug:ident = $name:literal in $place:literal;)+) => {
        /// A bug that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $what])+ $bug,)+
        }

        impl Bug {
            pub const ALL: &[Self] = &[$(Self::$bug),+];

            /// What switches it on.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => $name),+ }
            }

            /// The function it is planted in.
            #[must_use]
            pub const fn place(self) -> &'static str {
                match self { $(Self::$bug => $place),+ }
            }

            /// What it does, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$bug => concat!($($what),+)),+ }
            }
        }
    };
}

bugs! {
    /// Recovery takes an earlier write of the same key for the one that was staged.
    SequenceIgnored = "sequence-ignored" in "replica: Evaluator::query_intent";
    /// A write over an intent of its own transaction does not go above reads.
    ReadsUnderOwnIntent = "reads-under-own-intent" in "replica: Evaluator::raise_write_ts";
    /// A refusal refutes a staged commit though the write had landed before.
    LandedRefuted = "landed-refuted" in "kv: Txn::refutes";
    /// What was cleared is read below the time of clearing as if it had never been there.
    ClearedRead = "cleared-read" in "replica: Replica::check_not_collected";
    /// A version counts as written at its own timestamp, not when it was.
    LocalTimeIgnored = "local-time-ignored" in "storage: ReadOptions::is_uncertain";
    /// Reads are not in the timestamp cache.
    ReadsForgotten = "reads-forgotten" in "replica: Replica::remember_reads";
    /// A scan remembers the rows it found and not the gaps between them.
    GapsForgotten = "gaps-forgotten" in "replica: Evaluator::scan";
    /// A new leaseholder takes what the last one served for unread.
    ReadsLostWithLease = "reads-lost-with-lease" in "replica: Replica::begin_lease";
    /// The right half of a split takes what was served before for unread.
    ReadsLostInSplit = "reads-lost-in-split" in "replica: Replica::begin_lease";
    /// A transaction moves up without looking whether its reads still hold there.
    RefreshSkipped = "refresh-skipped" in "kv: Txn::refresh";
    /// The same for the refresh that the commit makes at its range.
    CommitRefreshSkipped = "commit-refresh-skipped" in "replica: Evaluator::refresh_for_commit";
    /// A read takes what other clocks wrote shortly above it for later.
    UncertaintyIgnored = "uncertainty-ignored" in "replica: Replica::uncertainty";
    /// A one-phase commit whose answer was lost is sent again as if nothing had happened.
    LostReplyRepeated = "lost-reply-repeated" in "kv: Db::digest";
    /// A transaction commits though its record says that it was aborted.
    AbortIgnored = "abort-ignored" in "replica: Evaluator::end_txn";
    /// A staged transaction is taken for committed without a look at its writes.
    StagedTakenForCommitted = "staged-taken-for-committed" in "replica: Replica::end_of";
    /// A lease is served after it ran out.
    LeaseOutlived = "lease-outlived" in "raft: GroupInner::lease, replica: Replica::lease";
    /// A vote is given without withdrawing the promise to the leader, whose lease goes on resting on it.
    PromiseBroken = "promise-broken" in "raft: GroupInner::may_vote_for";
    /// The log is acknowledged before it is synced.
    SyncSkipped = "sync-skipped" in "storage: Writer::write";
    /// Garbage collection also removes what a reader above its threshold sees.
    CollectedTooMuch = "collected-too-much" in "storage: Engine::gc_span";
    /// Both members of a deadlock are ended.
    DeadlockEndsBoth = "deadlock-ends-both" in "replica: Replica::push_holder";
    /// An update leaves the old entries of secondary indexes behind.
    IndexEntryLeft = "index-entry-left" in "exec: TableWriter::update";
}

/// Whether a bug is switched on.
#[cfg(not(feature = "switch"))]
#[inline(always)]
#[must_use]
pub const fn is_on(_bug: Bug) -> bool {
    false
}

/// Whether a bug is switched on.
#[cfg(feature = "switch")]
#[must_use]
pub fn is_on(bug: Bug) -> bool {
    static ON: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    *ON.get_or_init(named) == Some(bug)
}

/// An unknown name ends the process: a run in which nothing was planted must not count as one in which nothing was seen.
#[cfg(feature = "switch")]
fn named() -> Option<Bug> {
    let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
    let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
    if bug.is_none() {
        eprintln!("{VARIABLE}: there is no bug {name:?}");
        std::process::exit(2);
    }
    bug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Bug::ALL.len());
    }
}
