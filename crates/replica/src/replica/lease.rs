//! Who may serve: the lease that a term of leadership brings, and what begins anew with it (*one-leaseholder*).

use std::sync::atomic::Ordering;

use hlc::Timestamp;
use keys::{ReplicaId, Term};
use planted::Bug;
use raft::Lease;

use crate::{api::KvError, kept_locks, replica::Replica};

/// A lease with time left.
#[derive(Clone, Copy)]
pub(crate) struct HeldLease {
    pub term: Term,
    pub start: Timestamp,
    pub expiration: Timestamp,
}

impl Replica {
    /// Whether this replica may serve now.
    #[must_use]
    pub fn is_leaseholder(&self) -> bool {
        matches!(self.group.lease(), Lease::Held { expiration, .. } if self.deps.clock.peek() < expiration)
    }

    /// The lease, while the range serves: *frozen-serves-nothing*.
    pub(crate) fn lease(&self) -> Result<HeldLease, KvError> {
        let lease = self.held_lease()?;
        match self.machine.serves_above() {
            // Merges raise it under a lease.
            Some(low_water) => Ok(HeldLease { start: lease.start.max(low_water), ..lease }),
            None => Err(self.not_leaseholder(None)),
        }
    }

    /// The lease, also of a frozen range.
    pub(crate) fn held_lease(&self) -> Result<HeldLease, KvError> {
        match self.group.lease() {
            Lease::Held { term, start, expiration }
                if self.deps.clock.peek() < expiration || planted::is_on(Bug::LeaseOutlived) =>
            {
                // The range this one was split from served its keys before the first lease here.
                let start = start.max(self.machine.low_water());
                if self.lease_term.load(Ordering::Acquire) < term.get() {
                    self.begin_lease(term, start)?;
                }
                Ok(HeldLease { term, start, expiration })
            }
            Lease::Held { .. } => Err(self.not_leaseholder(None)),
            Lease::NotHeld { leader } => Err(self.not_leaseholder(leader)),
        }
    }

    /// A lease begins: what the last leaseholder served is not known here, so everything up to its end counts as
    /// read, and every lock as unknown, save those that are kept.
    fn begin_lease(&self, term: Term, start: Timestamp) -> Result<(), KvError> {
        let _guard = self.new_lease.lock();
        if self.lease_term.load(Ordering::Acquire) >= term.get() {
            return Ok(());
        }
        let span = self.descriptor().map(|descriptor| descriptor.span());
        let kept = span.map_or(Ok(Vec::new()), |span| kept_locks::load(&self.deps.engine, &span));
        let kept = kept.map_err(|error| self.storage_error(error))?;
        let is_of_split = !self.machine.low_water().is_min();
        let is_lost = planted::is_on(Bug::ReadsLostWithLease) || is_of_split && planted::is_on(Bug::ReadsLostInSplit);
        if !is_lost {
            self.cache.bump_low_water(start);
        }
        self.locks.clear();
        // *prepared-keeps-locks*
        self.kept.begin(&self.locks, kept);
        self.looks.clear();
        self.counters.clear();
        self.registry.restart(self.deps.clock.now().wall_ns());
        self.lease_term.store(term.get(), Ordering::Release);
        tracing::info!(range = %self.range_id, %term, "lease begins");
        Ok(())
    }

    pub(crate) fn not_leaseholder(&self, leader: Option<ReplicaId>) -> KvError {
        let hint = match (leader, self.descriptor()) {
            (Some(leader), Some(descriptor)) if leader != self.replica_id => descriptor.replica(leader).copied(),
            _ => None,
        };
        KvError::NotLeaseholder { range_id: self.range_id, hint }
    }
}
