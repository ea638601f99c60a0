//! Snapshots that do not move: exported to other transactions, imported from them, or free of uncertainty from the start.
//!
//! The problem: a snapshot at `t` may have to move when a version turns up that another node's clock put above `t`, and
//! that may have been acknowledged before the transaction began. Whoever shares a snapshot with others cannot move it, and
//! whoever must never be told to start again must not need to. The idea: wait until all that may have been acknowledged
//! before lies at or below the snapshot. That takes as long as clocks may be apart, once.

use std::time::Duration;

use hlc::Timestamp;

use super::{Isolation, Txn};
use crate::error::Error;

impl Txn {
    /// Whether its snapshot stays what it is until it ends.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Whether it reads the past, and writes nothing.
    #[must_use]
    pub fn is_in_past(&self) -> bool {
        self.read_only
    }

    #[must_use]
    pub fn has_savepoints(&self) -> bool {
        self.open_savepoints > 0
    }

    /// Takes a snapshot that no version can turn out to be missing from, and stays with it.
    ///
    /// # Errors
    /// `Retry` when what was read before does not hold there.
    pub async fn fix_snapshot(&mut self) -> Result<(), Error> {
        if !self.is_fixed {
            self.settle_uncertainty().await?;
            self.is_fixed = true;
        }
        Ok(())
    }

    /// The snapshot, for other transactions to read in. It stays, save at READ COMMITTED, where the next statement has
    /// another.
    ///
    /// # Errors
    /// As [`Txn::fix_snapshot`].
    pub async fn export_snapshot(&mut self) -> Result<Timestamp, Error> {
        match self.isolation() {
            Isolation::ReadCommitted if !self.is_fixed => self.settle_uncertainty().await?,
            Isolation::ReadCommitted => {}
            Isolation::RepeatableRead | Isolation::Serializable => self.fix_snapshot().await?,
        }
        Ok(self.read_ts)
    }

    /// Reads in a snapshot that another transaction has exported, as soon as the clock here has come to it. Before anything
    /// is read; false when something was.
    pub async fn import_snapshot(&mut self, ts: Timestamp) -> bool {
        if self.has_effects() || self.has_read() || self.loads.is_some() {
            return false;
        }
        self.wait_for(ts).await;
        self.read_ts = ts;
        self.meta.write_ts = ts;
        // The exporter has waited.
        self.uncertainty_limit = ts;
        self.is_fixed = true;
        true
    }

    async fn settle_uncertainty(&mut self) -> Result<(), Error> {
        self.ensure_open()?;
        let to = self.uncertainty_limit.max(self.meta.write_ts);
        self.wait_for(to).await;
        if to > self.read_ts {
            self.refresh(to).await?;
        }
        self.uncertainty_limit = to;
        Ok(())
    }

    /// Nothing is read above the clock.
    async fn wait_for(&self, ts: Timestamp) {
        loop {
            let now = self.db.clock().now();
            if now >= ts {
                return;
            }
            tokio::time::sleep(Duration::from_nanos(ts.wall_ns().saturating_sub(now.wall_ns()).max(1_000))).await;
        }
    }
}
