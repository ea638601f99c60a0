//! Draining a node by command: it serves no more, and its process stays until it is ended.
//!
//! ```text
//! asked ─▶ Clients: no new sessions, /health is 503, open ones get so long
//!       ─▶ Leases:  jobs stop, leases go to other nodes, again and again for a while
//!       ─▶ Done:    the leases that are left are counted; those that come back are given away until the process ends
//! ```
//!
//! The steps are those of a node that stops ([`Node::stop`](crate::Node::stop)). A drained node stays a member with its
//! replicas: they follow, vote and can be caught up from. Started again, it serves as before.
//!
//! It is refused where leases would have nowhere to go: a range of which no other live node has a replica would only move
//! its clients from one refusal to another.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use backup::Registry;
use parking_lot::Mutex;
use pgserver::PgServer;
use serde::{Deserialize, Serialize};
use store::Store;
use tokio::{sync::watch, time::Instant};

/// The longest that sessions are waited for.
const PATIENCE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a drained node looks whether it leads anything again.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(1);
/// For how long leases that are still here, or come back, are given away again.
const LEASES_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainPhase {
    /// Open sessions may finish their transactions.
    Clients,
    Leases,
    Done,
}

/// How far a node has come with its drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    pub phase: DrainPhase,
    /// Of SQL; those that are left in the end are served until the process ends.
    pub sessions: u64,
    pub leases: u64,
}

/// What of SQL is drained. It keeps nothing alive.
pub(crate) struct Clients {
    pub sql: Weak<PgServer>,
    pub jobs: Weak<Registry>,
    pub ready: watch::Sender<bool>,
}

/// The drain of a node, if one was asked for.
#[derive(Default)]
pub(crate) struct Drain {
    phase: Mutex<Option<DrainPhase>>,
    /// None while the node starts, and where there is no SQL.
    clients: OnceLock<Clients>,
}

impl Drain {
    /// SQL is served from now on.
    pub fn serve(&self, clients: Clients) {
        let _first = self.clients.set(clients);
    }

    /// Begins to drain, unless that has begun.
    ///
    /// # Errors
    /// What is in the way.
    pub fn begin(self: &Arc<Self>, store: &Store, patience: Duration) -> Result<DrainStatus, String> {
        let mut phase = self.phase.lock();
        if phase.is_none() {
            let stranded = store.leases_without_heir();
            if stranded > 0 {
                return Err(format!(
                    "no other live node has a replica of {stranded} of the ranges it leads: nobody could take their leases"
                ));
            }
            tracing::info!("draining, as an operator asked");
            *phase = Some(DrainPhase::Clients);
            tokio::spawn(self.clone().run(store.clone(), patience.min(PATIENCE_MAX)));
        }
        let phase = phase.unwrap_or(DrainPhase::Clients);
        let sql = self.clients.get().and_then(|clients| clients.sql.upgrade());
        let sessions = sql.map_or(0, |sql| sql.connections() as u64);
        Ok(DrainStatus { phase, sessions, leases: store.leases() })
    }

    async fn run(self: Arc<Self>, store: Store, patience: Duration) {
        if let Some(clients) = self.clients.get() {
            clients.ready.send_replace(false);
            if let Some(sql) = clients.sql.upgrade() {
                sql.drain(patience).await;
            }
            if let Some(jobs) = clients.jobs.upgrade() {
                jobs.stop();
            }
        }
        *self.phase.lock() = Some(DrainPhase::Leases);
        let until = Instant::now() + LEASES_PATIENCE;
        while !store.is_stopping() && Instant::now() < until {
            store.drain().await;
            if store.leases() == 0 {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        *self.phase.lock() = Some(DrainPhase::Done);
        tracing::info!(leases = store.leases(), "drained");
        // Elected again, where others fail: it looks after no range any more, so it is not to keep them.
        let store = store.downgrade();
        loop {
            tokio::time::sleep(LOOK_AGAIN_EVERY).await;
            let Some(store) = store.upgrade().filter(|store| !store.is_stopping()) else { return };
            if store.leases() > 0 {
                store.drain().await;
            }
        }
    }
}
