//! The problem: rows must outlive the cluster that holds them, and copying a database while it is used takes longer than any
//! connection, or any node, can be counted on.
//!
//! The idea: a copy is made by a *job*, a record in the cluster that says what is to be done and how far that is. One node
//! at a time coordinates it under a lease; when the node is gone another goes on from the last checkpoint. A backup reads
//! all rows as of one time, which costs no writer anything, and lists what it wrote in a manifest, last of all. A restore
//! writes rows under ids that nobody knows and makes them known in one transaction, last of all.
//!
//! ```text
//!  BACKUP ─▶ job ─▶ export ─▶ files, then MANIFEST      RESTORE ─▶ job ─▶ import ─▶ rows, then descriptors
//!                     │ as of one time                                      │ at one time, under new ids
//!                     ▼                                                     ▼
//!                  ranges                                                ranges
//! ```
//! Read in this order: [`jobs`], `location`, `envelope`, `blocks`, `manifest`, `export`, `chain`, `import`, `large_objects`.
//!
//! **Invariants**: *one-coordinator* and *ended-once* ([`jobs`]); *manifest-last* (`export`); *published-last* and
//! *loaded-before-published* (`import`); *newest-layer-wins* (`chain`); *unseen-until-published* (`large_objects`).
//!
//! Deliberately left out: schedules, and keys of key management services.

mod blocks;
mod chain;
mod envelope;
mod export;
mod import;
pub mod jobs;
mod large_objects;
mod location;
mod manifest;
mod select;
mod stamp;
mod tasks;

pub use chain::{
    BackupRef, ObjectLine, Verified, check_location, find_backup, list_backups, plan_layer, show_backup, verify_backup,
};
pub use jobs::{FoundJob, Job, JobKind, JobStatus, NewJob, Registry, RegistryOptions, UnreadableJob, Verb};
pub use envelope::{FileKey, new_key};
pub use tasks::{BackupTask, RestoreTarget, RestoreTask, TableName, Target};
pub use location::without_secrets;
pub use stamp::backup_time;
