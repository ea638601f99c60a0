//! The problem: thousands of ranges replicate on the same few stores. Each needs a log, elections and a leader that
//! may serve reads alone; together they must not cost a heartbeat, a timer or a sync each.
//!
//! The idea: openraft runs each group with all of its timers off. Logs share one writer (`storage::log`). Liveness is
//! the stores', not the groups': stores exchange promises, and a leader's lease is the promise of a quorum of stores
//! not to vote against it while it lasts.
//!
//! Read in this order: `promises` (what stores promise), `support` (how), `group` (what a group makes of it), `lease`
//! and `elections` (the leader's and the followers' side), `members`, `node` (messages), then the bindings to openraft: `types`, `codec`,
//! `sound`, `log_storage`, `machine`, `network`, `pipeline`,
//! `snapshots`.
//!
//! **Invariants**: *promise-never-broken*, *epoch-monotonic* (`promises`), *promise-durable-before-answer*,
//! *restart-new-epoch* (`support`), *one-leaseholder*, *release-before-yield*, *nothing-left-behind*,
//! *failure-fences* (`group`), *peers-fence-nobody* (`sound`),
//! *one-configuration-behind* (`lease`),
//! *log-opened-once*: a group takes what the log had of its range when the store was started, and keeps its vote and
//! position itself from then on; a second one over the same log would have forgotten both, and could vote again.
//!
//! Deliberately left out: what commands mean, and where replicas should be.

mod aside;
mod promises;
mod support;
mod quorum;
mod group;
mod lease;
mod elections;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod members;
mod node;
mod types;
mod codec;
mod sound;
mod log_storage;
mod machine;
mod network;
mod pipeline;
mod snapshots;

pub use aside::blocking;
pub use group::{ChangeError, Group, GroupStatus, ProposeError};
pub use lease::Lease;
pub use support::{LivenessConfig, PeerSupport, StoreLiveness};
pub use machine::{Admitted, ApplyError, Committed, CommittedPayload, SnapshotSource, StateMachine};
pub use node::{GroupOptions, OpenError, RaftDeps, RaftNode};
pub use types::{Applied, LogPosition, initial_membership};

#[cfg(test)]
mod tests;
