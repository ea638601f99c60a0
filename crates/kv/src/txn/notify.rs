//! Notifications of a transaction: rows whose keys bear the time at which it commits, so that readers need only look at
//! what is recent.
//!
//! The keys are chosen when the transaction is about to commit. A leaseholder refuses one whose time is too long ago by its
//! clock (`KeyTooOld`): then others are chosen, each time further ahead, so that a slow commit ends all the same.
//!
//! A leaseholder also writes them no lower than its clock of now. In the command that commits the transaction that is
//! harmless as long as the command can move its reads up there by itself. Otherwise they are *laid* as intents before, which
//! do not move any more, and the transaction commits above them. So they are where they are more than one command holds.
//!
//! **Invariant (notified-once):** of each notification one key is put and not deleted when the transaction commits.

use bytes::Bytes;
use keys::{Key, keyspace};
use replica::api::{KvError, RetryReason};

use super::{Txn, commit::MAX_AT_COMMIT_BYTES, group::Group};
use crate::{db::SendError, error::Error};

/// Keys are chosen anew so often before the transaction is given up: the last lie a day ahead.
const MAX_TOO_OLD: u32 = 17;
/// As where a buffer is written out.
const MAX_AMBIGUOUS: usize = 5;

pub(super) struct Notifications {
    database: u32,
    rows: Vec<Bytes>,
    /// What they are written under now; none before the first attempt to commit.
    keys: Vec<Key>,
    /// They are intents.
    is_laid: bool,
    too_old: u32,
}

impl Txn {
    /// Notifications of a database that become visible when the transaction commits: the last that is done before. They
    /// take the place of those of a call before.
    pub fn notify(&mut self, database: u32, rows: Vec<Bytes>) {
        debug_assert!(rows.is_empty() || !self.read_only, "a transaction in the past does not write");
        self.forget_notifications();
        if !rows.is_empty() {
            let keys = Vec::with_capacity(rows.len());
            self.notifications = Some(Box::new(Notifications { database, rows, keys, is_laid: false, too_old: 0 }));
        }
    }

    fn forget_notifications(&mut self) {
        let Some(old) = self.notifications.take() else { return };
        self.withdraw(&old.keys);
    }

    /// *notified-once*: what may be an intent is deleted.
    fn withdraw(&mut self, keys: &[Key]) {
        for key in keys {
            if self.intents.is_empty() {
                self.buffer.forget(key);
            } else {
                self.delete(key.clone());
            }
        }
    }

    /// Puts them under keys of now.
    pub(super) fn place_notifications(&mut self) {
        let Some(mut notifications) = self.notifications.take() else { return };
        let old = std::mem::take(&mut notifications.keys);
        self.withdraw(&old);
        let ahead_ns = ((1_u64 << notifications.too_old) - 1) * 1_000_000_000;
        let time_ns = self.db.clock().now().wall_ns().saturating_add(ahead_ns);
        notifications.is_laid = false;
        for (n, row) in (0..).zip(&notifications.rows) {
            let key = keyspace::notification(notifications.database, time_ns, self.meta.id, n);
            notifications.keys.push(key.clone());
            self.put(key, row.clone());
        }
        self.notifications = Some(notifications);
    }

    /// After a refusal: whether it was for the time in their keys, which have others now.
    pub(super) fn place_notifications_again(&mut self, error: &KvError) -> bool {
        let KvError::Retry { reason: RetryReason::KeyTooOld, .. } = error else { return false };
        match &mut self.notifications {
            Some(notifications) if notifications.too_old < MAX_TOO_OLD => notifications.too_old += 1,
            Some(_) | None => return false,
        }
        self.place_notifications();
        true
    }

    /// Whether they must be intents before the transaction can commit what goes to these ranges.
    pub(super) fn must_lay_notifications(&self, groups: &[Group]) -> bool {
        if self.notifications.as_ref().is_none_or(|notifications| notifications.is_laid) {
            return false;
        }
        let is_small = self.buffer.bytes() <= MAX_AT_COMMIT_BYTES;
        let is_one_phase = match groups {
            [group] => self.intents.is_empty() && self.reads.lie_in(&group.range.descriptor.span()),
            _ => false,
        };
        !(is_one_phase && is_small)
    }

    pub(super) async fn lay_notifications(&mut self) -> Result<(), Error> {
        let span = keyspace::all_notifications();
        let mut ambiguous = 0;
        loop {
            let groups = self.group_writes_in(Some(&span)).await?;
            match self.write_intents(groups).await.map_err(|error| self.doom(error)) {
                Ok(()) => break,
                Err(SendError::Reroute) => {}
                Err(SendError::Kv(KvError::Ambiguous { .. })) if ambiguous < MAX_AMBIGUOUS => ambiguous += 1,
                // Of these writes that is true, not of the transaction: nothing has asked for its commit.
                Err(SendError::Kv(KvError::Ambiguous { reason })) => return Err(Error::Unavailable { reason }),
                Err(SendError::Kv(error)) if self.place_notifications_again(&error) => {}
                Err(SendError::Kv(KvError::Retry { reason, to })) => self.move_up(reason, to).await?,
                Err(SendError::Kv(error)) => return Err(error.into()),
            }
        }
        drop(self.buffer.take(&span));
        if let Some(notifications) = &mut self.notifications {
            notifications.is_laid = true;
        }
        Ok(())
    }
}
