//! The problem: a connection is a long conversation: settings, prepared statements and a transaction outlive each
//! statement, and a statement that loses a race should cost the client nothing.
//!
//! The idea: a [`Session`] runs one statement after another against the newest catalog, and runs a statement again when
//! its transaction lost and nothing has been answered. What goes to the client goes through a [`Sink`].
//!
//! **Invariants**: *commit-order*, *none-lost* (`notify`), *answered-once* (`session`), *answered-as-replayed* (`session/replay.rs`), *same-scope-same-plan*
//! (`plan_cache`).
//!
//! Deliberately left out: bytes on the wire.

mod access;
mod activity;
mod cluster;
mod copy;
#[cfg(feature = "fuzzing")]
pub use copy::fuzzing;
mod cursor;
mod environment;
mod explain;
mod host;
mod notify;
mod plan_cache;
mod portal;
mod prepared;
mod routine;
mod session;
mod session_tables;
mod settings;
mod sink;
mod statistics;
mod template;
mod text_size;

pub use access::{Access, Client, ConnectionLimits, NEWEST_PATIENCE, Tls};
pub use activity::{Activity, SessionRow, Sessions};
pub use cluster::{Cluster, RowLock, SessionOf};
pub use copy::{CopyIn, CopyRows, binary_value, text_value};
pub use exec::server_files::ServerFiles;
pub use exec::{CancelFlag, CancelReason, NodeMemory};
pub use notify::{Hub, Listener, Notification};
pub use plan_cache::{PlanCache, PlanCacheMetrics, QueryStatement, Statement, Statements};
/// Microseconds since 2000.
#[must_use]
pub fn now_micros(clock: &hlc::Clock) -> i64 {
    host::SessionHost::now_micros(clock)
}

pub use portal::{Formats, Portal};
pub use prepared::yields_rows;
pub use session::{Completion, Ending, Engine, FunctionOfOid, Prepared, ReplayMetrics, Session, TransactionStatus, drop_leftovers, keep_statistics, set_first_password};
pub use settings::Settings;
pub use sink::{Severity, Sink};
pub use statistics::{BUCKETS, StatementRow, StatementStatistics, Totals, quantile_ms};
