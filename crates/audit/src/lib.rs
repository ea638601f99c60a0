//! The audit log of a node: who came and went, who was not let in, which statements changed objects, roles, privileges
//! or settings, and who read or wrote the tables that rules choose, each as a line of JSON.
//!
//! ```text
//!  audit-00000000000000000001.log ──▶ audit-00000000000000004711.log ──▶ audit.log      (by their first line's number)
//!        each line: {"seq":…,"time":…,"event":…, … ,"chain":"sha256(chain of the line before, this line without it)"}
//! ```
//! **Invariant (chained):** each line names the one before it, across files and restarts, so that [`verify`] tells where a
//! line was changed, taken out or put in. The chain has no secret: who can write the files can chain other lines anew, or
//! take the last ones away. That is found by who has kept a line's number and chain elsewhere ([`Mark`]).
//!
//! **Invariant (told-before-forgotten):** a line that cannot be written is kept, or counted and told of by the next line
//! that can be ([`OnFailure`]).

mod chain;
mod event;
mod log;
mod redact;
mod rules;
mod verify;

pub use event::{Event, Kind};
pub use log::{AuditError, AuditLog, OnFailure, Settings};
pub use redact::{is_of_setting, is_worth_a_look, kind_of, may_hide_password, redact};
pub use rules::{Access, RuleError, Rules, TableName, Whom};
pub use verify::{Fault, Mark, NoMark, Verified, verify, verify_with};
