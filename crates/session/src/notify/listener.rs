//! What waits for a session that listens.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indexmap::IndexSet;
use parking_lot::Mutex;
use tokio::sync::Notify;
use types::{SqlError, SqlResult, SqlState};

use super::Notification;

/// A session whose queue is fuller is ended: its client does not read, or stays in a transaction.
pub(crate) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// One session's channels, and its notifications until its client is told of them.
#[derive(Default)]
pub struct Listener {
    inbox: Mutex<Inbox>,
    /// There is something in the queue, or the session is to end.
    has_mail: AtomicBool,
    arrived: Notify,
}

#[derive(Default)]
struct Inbox {
    channels: IndexSet<String>,
    queue: VecDeque<Arc<Notification>>,
    bytes: usize,
    /// *none-lost*: why the session must end.
    lost: Option<SqlError>,
}

impl Listener {
    /// In the order in which it began to listen to them.
    #[must_use]
    pub fn channels(&self) -> IndexSet<String> {
        self.inbox.lock().channels.clone()
    }

    pub(crate) fn set_channels(&self, channels: IndexSet<String>) {
        self.inbox.lock().channels = channels;
    }

    pub(crate) fn is_listening(&self) -> bool {
        !self.inbox.lock().channels.is_empty()
    }

    /// How much of its queue is full.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.inbox.lock().bytes
    }

    pub(crate) fn push(&self, notification: &Arc<Notification>) {
        let mut inbox = self.inbox.lock();
        if inbox.lost.is_some() || !inbox.channels.contains(&notification.channel) {
            return;
        }
        inbox.bytes += notification.bytes();
        inbox.queue.push_back(notification.clone());
        if inbox.bytes > QUEUE_BYTES_MAX {
            drop(inbox);
            let message = "too many notifications are waiting for this session";
            return self.lose(SqlError::new(SqlState::ProgramLimitExceeded, message).with_hint(
                "The client must read what it is sent, and must not stay in a transaction while it listens.",
            ));
        }
        drop(inbox);
        self.has_mail.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    /// The session ends with this error, as soon as it waits for its client.
    pub(crate) fn lose(&self, error: SqlError) {
        let mut inbox = self.inbox.lock();
        (inbox.queue, inbox.bytes) = (VecDeque::new(), 0);
        inbox.lost = Some(error);
        drop(inbox);
        self.has_mail.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    /// What its client has not been told of.
    ///
    /// # Errors
    /// Why the session must end.
    pub fn take(&self) -> SqlResult<Vec<Arc<Notification>>> {
        if !self.has_mail.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let mut inbox = self.inbox.lock();
        if let Some(error) = &inbox.lost {
            return Err(error.clone());
        }
        self.has_mail.store(false, Ordering::Release);
        inbox.bytes = 0;
        // As in PostgreSQL, of channels that it does not listen to any more it hears nothing.
        let queue = std::mem::take(&mut inbox.queue);
        Ok(queue.into_iter().filter(|notification| inbox.channels.contains(&notification.channel)).collect())
    }

    /// # Errors
    /// Why the session must end.
    pub fn check(&self) -> SqlResult<()> {
        if !self.has_mail.load(Ordering::Acquire) {
            return Ok(());
        }
        self.inbox.lock().lost.clone().map_or(Ok(()), Err)
    }

    /// Waits until there is something to tell the client of, which it may be only outside of a block, or the session
    /// must end.
    pub async fn arrived(&self, in_block: bool) {
        loop {
            if self.has_mail.load(Ordering::Acquire) && (!in_block || self.check().is_err()) {
                return;
            }
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(channel: &str, bytes: usize) -> Arc<Notification> {
        Arc::new(Notification { pid: 1, channel: channel.into(), payload: "x".repeat(bytes) })
    }

    #[test]
    fn a_full_queue_ends_the_session() {
        let listener = Listener::default();
        listener.push(&notification("a", 1));
        assert!(listener.take().unwrap().is_empty(), "it does not listen");
        listener.set_channels(IndexSet::from(["a".to_owned(), "b".to_owned()]));
        listener.push(&notification("a", 1));
        listener.push(&notification("b", 1));
        listener.set_channels(IndexSet::from(["b".to_owned()]));
        assert_eq!(listener.take().unwrap(), [notification("b", 1)]);
        assert_eq!(listener.queued_bytes(), 0);
        while listener.check().is_ok() {
            listener.push(&notification("b", 1 << 20));
        }
        assert_eq!(listener.take().unwrap_err().code(), SqlState::ProgramLimitExceeded);
        assert_eq!(listener.take().unwrap_err().code(), SqlState::ProgramLimitExceeded, "and for good");
    }
}
