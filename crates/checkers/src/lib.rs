//! The problem: a database's isolation and durability show only in what many clients saw together, and a person cannot
//! read ten thousand transactions.
//!
//! The idea: what clients saw is data ([`history`]: operations with their invocation, their outcome and real time), and a
//! checker is a function from it to named anomalies with their evidence ([`verdict`]). Nothing here does I/O; the test
//! kit, the developer commands and `quorate workload` all use these same checkers.
//!
//! - [`list_append`]: transactions over lists; a read shows the order of all writes before it, so that dependencies are
//!   known and cycles among them ([`graph`]) are anomalies by Adya's names.
//! - [`rw_register`]: the same over registers with unique writes, whose order is only partly known.
//! - [`linearizable`]: single operations on a key, by search for an order.
//! - [`judges`]: bank, long fork, write skew, monotonic, sequential, sets, counter.
//!
//! **Invariants**
//! - *no false alarm*: every anomaly is a contradiction that no correct execution produces; a guess is never an edge.
//! - *unknown is not ok*: a search that ran out of its budget is reported as undecided, never as passed.
//!
//! Papers: Adya, "Weak Consistency" (1999); Kingsbury and Alvaro, "Elle" (2020); Wing and Gong (1993); Lowe, "Testing for
//! linearizability" (2017).

pub mod graph;
pub mod history;
pub mod judges;
pub mod linearizable;
pub mod list_append;
pub mod rw_register;
pub mod verdict;

pub use history::{Event, EventKind, Malformed, Operation, Outcome};
pub use verdict::{Anomaly, Verdict};
