//! What the sessions of a node are doing, for `pg_stat_activity`, and how one session stops another.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use exec::{CancelFlag, CancelReason};
use keys::TxnId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    access::Client,
    session::TransactionStatus,
    statistics::{Parameters, fingerprint},
};

/// The sessions of a node, by process number.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<BTreeMap<i32, Arc<Activity>>>,
}

/// One session as others see it.
pub struct Activity {
    pub(crate) pid: i32,
    pub(crate) database: u32,
    pub(crate) database_name: String,
    /// The user that has connected.
    pub(crate) user: String,
    pub(crate) client: Client,
    /// Microseconds since 2000, as all times here.
    pub(crate) began: i64,
    cancel: CancelFlag,
    is_ending: AtomicBool,
    ending: Notify,
    /// Its transaction has stopped what others do, which is not to be done twice.
    has_signalled: AtomicBool,
    state: Mutex<State>,
}

/// What changes from statement to statement.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub application: String,
    /// What it runs, or has run last.
    pub text: Option<Arc<str>>,
    pub is_active: bool,
    pub status: Option<TransactionStatus>,
    pub transaction_began: Option<i64>,
    pub statement_began: Option<i64>,
    pub changed: i64,
    /// The open transaction, as ranges know it.
    pub txn: Option<TxnId>,
}

/// A session as the console shows it. Times are microseconds since 2000.
#[derive(Clone, Debug)]
pub struct SessionRow {
    pub pid: i32,
    pub database: String,
    pub user: String,
    pub application: String,
    pub client: Option<std::net::SocketAddr>,
    pub state: &'static str,
    /// What it runs, or has run last, without its literals.
    pub query: String,
    pub began: i64,
    pub transaction_began: Option<i64>,
    pub statement_began: Option<i64>,
    pub changed: i64,
    pub txn: Option<TxnId>,
}

impl State {
    /// As `pg_stat_activity` has it.
    pub fn name(&self) -> &'static str {
        match self.status {
            _ if self.is_active => "active",
            Some(TransactionStatus::InBlock) => "idle in transaction",
            Some(TransactionStatus::Failed) => "idle in transaction (aborted)",
            Some(TransactionStatus::Idle) | None => "idle",
        }
    }
}

/// A session's place among the others, given up when it is dropped.
pub(crate) struct Registered {
    sessions: Arc<Sessions>,
    pub activity: Arc<Activity>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.sessions.open.lock();
        if open.get(&self.activity.pid).is_some_and(|known| Arc::ptr_eq(known, &self.activity)) {
            open.remove(&self.activity.pid);
        }
    }
}

impl Sessions {
    /// Adds a session. One without a process number is the node's own, and is not seen.
    pub(crate) fn register(
        self: &Arc<Self>,
        pid: i32,
        database: (u32, &str),
        user: &str,
        client: Client,
        now: i64,
        cancel: CancelFlag,
    ) -> Registered {
        let activity = Arc::new(Activity {
            pid,
            database: database.0,
            database_name: database.1.to_owned(),
            user: user.to_owned(),
            client,
            began: now,
            cancel,
            is_ending: AtomicBool::new(false),
            ending: Notify::new(),
            has_signalled: AtomicBool::new(false),
            state: Mutex::new(State { changed: now, ..State::default() }),
        });
        if pid != 0 {
            self.open.lock().insert(pid, activity.clone());
        }
        Registered { sessions: self.clone(), activity }
    }

    /// How many sessions a user has.
    pub(crate) fn count_of(&self, user: &str) -> usize {
        self.open.lock().values().filter(|activity| activity.user == user).count()
    }

    pub(crate) fn get(&self, pid: i32) -> Option<Arc<Activity>> {
        self.open.lock().get(&pid).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Activity>> {
        self.open.lock().values().cloned().collect()
    }

    /// All sessions of clients, by process number.
    #[must_use]
    pub fn rows(&self) -> Vec<SessionRow> {
        self.all().iter().map(|activity| activity.row()).collect()
    }

    /// Those with an open transaction.
    #[must_use]
    pub fn rows_in_transactions(&self) -> Vec<SessionRow> {
        let is_open = |activity: &&Arc<Activity>| activity.state.lock().txn.is_some();
        // It may have ended since.
        let rows = self.all();
        rows.iter().filter(is_open).map(|activity| activity.row()).filter(|row| row.txn.is_some()).collect()
    }

    /// How many sessions of clients there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// The sessions with an open transaction: process numbers and transactions.
    #[must_use]
    pub fn transactions(&self) -> Vec<(i32, TxnId)> {
        let open = self.open.lock();
        open.values().filter_map(|activity| Some((activity.pid, activity.state.lock().txn?))).collect()
    }
}

impl Activity {
    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// The fingerprint of its statement costs about as much as reading the text.
    fn row(&self) -> SessionRow {
        let state = self.state();
        SessionRow {
            pid: self.pid,
            database: self.database_name.clone(),
            user: self.user.clone(),
            client: self.client.address,
            state: state.name(),
            query: fingerprint(state.text.as_deref().unwrap_or_default(), Parameters::Kept),
            application: state.application,
            began: self.began,
            transaction_began: state.transaction_began,
            statement_began: state.statement_began,
            changed: state.changed,
            txn: state.txn,
        }
    }

    /// A statement begins.
    pub(crate) fn begin(&self, text: &Arc<str>, now: i64) {
        let mut state = self.state.lock();
        state.text = Some(text.clone());
        state.is_active = true;
        state.statement_began = Some(now);
        state.changed = now;
        state.transaction_began.get_or_insert(now);
    }

    /// The session's transaction from now on.
    pub(crate) fn in_transaction(&self, txn: TxnId) {
        self.state.lock().txn = Some(txn);
    }

    /// The session waits for its client.
    pub(crate) fn rest(&self, status: TransactionStatus, application: &str, now: i64) {
        let mut state = self.state.lock();
        state.is_active = false;
        state.status = Some(status);
        state.changed = now;
        if status == TransactionStatus::Idle {
            (state.transaction_began, state.txn) = (None, None);
            self.has_signalled.store(false, Ordering::Relaxed);
        }
        if state.application != application {
            application.clone_into(&mut state.application);
        }
    }

    pub(crate) fn note_signal(&self) {
        self.has_signalled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_signalled(&self) -> bool {
        self.has_signalled.load(Ordering::Relaxed)
    }

    /// Stops the statement that runs now.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel(CancelReason::Request);
    }

    /// Ends the session: the statement that runs, and the connection.
    pub(crate) fn terminate(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.cancel.cancel(CancelReason::Request);
        self.ending.notify_one();
    }

    /// Whether another session has ended this one.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Waits until another session ends this one.
    pub async fn ended(&self) {
        while !self.is_ending() {
            self.ending.notified().await;
        }
    }
}
