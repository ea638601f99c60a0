//! LISTEN, UNLISTEN and NOTIFY: collected while their transaction runs, done when it commits.

use std::sync::Arc;

use bytes::Bytes;
use hlc::Timestamp;
use indexmap::IndexSet;
use types::{SqlError, SqlResult};

use super::{Failure, Session};
use crate::notify::{self, Act, Listener, Notification};

/// How long a session waits for its own notifications before it is answered: a commit of another may be in the way.
const OWN_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What has been made ready for a commit.
pub(super) struct Staged {
    before: IndexSet<String>,
    after: IndexSet<String>,
    has_sent: bool,
    /// It listens to some of what it has sent.
    hears_itself: bool,
}

impl Session {
    /// What the client of this session is to be told of.
    #[must_use]
    pub fn listener(&self) -> Arc<Listener> {
        self.notify.listener.clone()
    }

    /// NOTIFY.
    pub(super) fn send_notification(&mut self, channel: &str, payload: &str) -> SqlResult<()> {
        notify::check(channel, payload)?;
        self.open_for_notify();
        self.notify.pending.send(channel, payload);
        Ok(())
    }

    /// LISTEN and UNLISTEN.
    pub(super) fn change_channels(&mut self, act: Act) {
        self.open_for_notify();
        self.notify.pending.act(act);
    }

    /// They take effect with the end of a transaction.
    fn open_for_notify(&mut self) {
        if self.block.is_none() {
            self.open_block(false);
        }
    }

    /// # Errors
    /// 0A000 in a transaction that is to be prepared.
    pub(super) fn check_no_notify(&self) -> SqlResult<()> {
        if !self.notify.pending.is_empty() {
            let message = "cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY";
            return Err(SqlError::not_supported(message));
        }
        Ok(())
    }

    /// Before the commit: the hub gives this session what commits from now on, and what the transaction has sent becomes
    /// part of it.
    pub(super) async fn stage_notify(&mut self) -> Result<Option<Staged>, Failure> {
        if !self.notify.pending.is_used() {
            return Ok(None);
        }
        let (acts, sent) = (self.notify.pending.acts(), self.notify.pending.sent());
        let listener = self.notify.listener.clone();
        let before = listener.channels();
        let mut after = before.clone();
        for act in acts {
            match act {
                Act::Listen(channel) => {
                    after.insert(channel);
                }
                Act::Unlisten(channel) => {
                    after.shift_remove(&channel);
                }
                Act::UnlistenAll => after.clear(),
            }
        }
        let Some(block) = &mut self.block else { return Ok(None) };
        if !sent.is_empty() && block.txn.is_in_past() {
            return Err(Failure::Sql(exec::read_only_error("NOTIFY")));
        }
        let rows = sent.iter().map(|sent| Bytes::from(Notification::encode(self.pid, &sent.0, &sent.1))).collect();
        block.txn.notify(self.database, rows);
        if after.iter().any(|channel| !before.contains(channel)) {
            // While it waits for what others commit, it can be cancelled.
            tokio::select! {
                biased;
                outcome = self.engine.hub.join(self.database, &listener) => outcome.map_err(Failure::Kv)?,
                error = self.cancel.cancelled() => return Err(error.into()),
            }
            listener.set_channels(before.union(&after).cloned().collect());
        }
        let hears_itself = sent.iter().any(|sent| after.contains(&sent.0));
        Ok(Some(Staged { before, after, has_sent: !sent.is_empty(), hears_itself }))
    }

    /// The transaction did not commit.
    pub(super) fn unstage_notify(&self, staged: Option<Staged>) {
        if let Some(staged) = staged {
            self.listen_to(staged.before);
        }
    }

    /// The transaction has committed.
    pub(super) async fn finish_notify(&mut self, staged: Option<Staged>, commit_ts: Timestamp) {
        let Some(staged) = staged else { return };
        if staged.before != staged.after || !staged.after.is_empty() {
            self.listen_to(staged.after);
        }
        if !staged.has_sent {
            return;
        }
        let hub = self.engine.hub.clone();
        hub.committed(self.database);
        if staged.hears_itself {
            // As in PostgreSQL, its client is told with the answer.
            let caught_up = tokio::time::timeout(OWN_PATIENCE, hub.catch_up(self.database, commit_ts)).await;
            if !matches!(caught_up, Ok(Ok(()))) {
                tracing::debug!(pid = self.pid, "own notifications come later");
            }
        }
    }

    fn listen_to(&self, channels: IndexSet<String>) {
        let listener = &self.notify.listener;
        let is_over = channels.is_empty();
        listener.set_channels(channels);
        if is_over {
            self.engine.hub.leave(self.database, listener);
        }
    }
}
