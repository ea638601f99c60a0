//! The problem: whether a cluster keeps its promises is worth knowing of one's own cluster, under one's own faults, and not
//! only in the tests of its makers.
//!
//! The idea: clients run a workload against any server that speaks PostgreSQL's protocol, write down what each of them asked
//! and got ([`record`]), and a checker of [`checkers`] judges that in the end ([`run`]). Each workload ([`Kind`], one file
//! in `kinds`) looks for what others do not show. [`tpcc`] is judged by its consistency conditions instead.
//!
//! **Invariants**
//! - *own-schema*: all tables lie in the schema `workload`, which is made here, marked, and refused when it is somebody
//!   else's ([`schema`]).
//! - *unknown-stays-unknown*: an operation whose connection broke after its commit was sent, or that was answered with 40003,
//!   is of unknown outcome, and so is every operation of its session until it has connected anew ([`session`]).
//!
//! Deliberately left out: faults. Whoever runs this breaks the cluster by other means meanwhile.

mod kinds;
pub mod failure;
pub mod record;
pub mod run;
pub mod schema;
pub mod session;
pub mod tpcc;

pub use failure::{Failure, Outcome};
pub use kinds::{Kind, Mix};
pub use run::{Finished, Options, run};
