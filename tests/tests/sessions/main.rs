//! Sessions beside each other and beside DDL.

mod backup;
mod backup_parts;
mod bulk;
mod composite_types;
mod domains;
mod drain;
mod inverted;
mod notify;
mod others;
mod partitions;
mod plan_reuse;
mod privileges;
mod range_types;
mod ranges;
mod replays;
mod routines;
mod audit;
mod row_security;
mod rules;
mod snapshots;
mod temporary;
mod transactions;
mod two_phase;
mod user_types;
mod views;
mod zones;
