//! The problem: a node holds many replicas that come and go, grow and must be looked after, while no range knows of
//! any other.
//!
//! The idea: the store owns the engine, the log and the replicas, hands batches to the replica they name, and runs
//! the queues that split, replicate and tidy up. What must survive is in the engine or beside the log, so that
//! opening a store is the same as resuming it.
//!
//! ```text
//! Store ── replicas by range ── Replica ── Group (raft) ── Machine ──▶ Engine
//!   ├── queues: split, merge, replicate, repair, publish, gc
//!   ├── checks: are the replicas there that ranges count on, and are those here counted on
//!   ├── consistency: do the replicas of a range have the same bytes
//!   ├── log_cuts: how much log is kept
//!   └── nodes: who is where (hello, every two seconds)
//! ```
//!
//! **Invariants**
//! - *replica-id-fresh*: a replica's number is durable before the replica is opened, and never falls.
//! - *gone-stays-gone*: that a replica has left is durable before anything of it goes, and it is not opened again, by
//!   whatever message, note or split comes later.
//! - *removed-is-final*: a descriptor that was agreed on and does not name a replica whose number is below its next one
//!   says that this replica has left for good, however old the descriptor is.
//! - *no-overlap*: the replicas of a store never overlap, what is fenced, cleared or coming included; a snapshot that
//!   would make them waits.
//!
//! - *majority-stays*, *one-index* and *fenced-for-good*: see `consistency`.
//! - *log-after-flush*, *merged-state-stays* and *kept-for-its-merge*: see `store/merges.rs`.

mod allocator;
mod checks;
mod clocks;
mod consistency;
mod encryption;
mod log_cuts;
mod members;
mod merge_queue;
mod nodes;
mod placement;
mod queues;
mod store;
mod work;
mod zones;

pub use clocks::keep_clock;
pub use consistency::{CheckOutcome, CheckReport};
pub use merge_queue::Unmerged;
pub use nodes::{NodeInfo, NodeParts, Nodes, nodes_from_bytes, nodes_to_bytes};
pub use store::{Protections, Store, StoreConfig, StoreError, StoreOptions, WeakStore};
pub use work::{Work, WorkCount, WorkKind, WorkRow};
