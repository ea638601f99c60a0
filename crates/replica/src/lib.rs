//! The problem: a range must look like one machine that never forgets, while it is three that may die, and whoever
//! changes it must be alone with what it changes for exactly as long as that matters.
//!
//! The idea: the leaseholder alone evaluates. It orders requests by latches and locks, turns them into bytes, and has
//! the bytes agreed on; every replica applies the same bytes in the same order.
//!
//! Read in this order: [`api`] (what can be asked), `replica` (the path of a batch), `evaluate` (what requests mean),
//! `command`, `machine` and `commits` (what is replicated, applied and remembered), `admin` (splits and members), [`merge`], `load` (what splits by load go by).
//!
//! **Invariants**: *one-range* and *error-means-nothing* ([`api`]), *write-above-read*, *write-above-write* and
//! *evaluate-is-pure* (`evaluate`), *latches-until-known*, *one-leaseholder* and *reads-remembered* (`replica`),
//! *lease-named* (`command`), *applied-with-data*, *generation-by-one* and *split-alone* (`machine`).
//!
//! Deliberately left out: other ranges, which it reaches through [`Outbound`] alone; closed timestamps.

mod admin;
pub mod api;
mod cleared;
mod command;
mod commits;
mod counters;
mod evaluate;
mod host;
mod kept_locks;
mod load;
mod machine;
pub mod merge;
mod outbound;
mod replica;
mod state;
mod txn_record;

pub use command::{Command, Effect, Frozen, Merge};
pub use concurrency::BULK_MIN;
pub use host::{Inheritance, ReplicaHost, RightHalf};
pub use load::{SplitByLoad, Unsplittable};
pub use machine::{FIRST_INDEX, FIRST_TERM, Machine, first_applied};
pub use outbound::Outbound;
pub use replica::{Replica, ReplicaDeps, ReplicaMetrics};
pub use state::{is_own_record, local_spans, merged_ranges, put_new_range, stored_range, stored_ranges};
pub use txn_record::TXN_EXPIRY;
